"""The command as a user starts it: resuming after it was stopped or killed, several processes, mistakes."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from nucseg_jax import devices
from nucseg_jax.config.names import PIPELINES
from nucseg_jax.runs.loading import load_model
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training import train
from tests.several_processes import outputs_of, started_together

STEPS = 40
OPTIONS = {
    "batch_size": 8,
    "num_steps": STEPS,
    "log_every": 1,
    "model.width": 1 / 16,
    "data.crop_size": 32,
    "checkpoint.every": 10,
}


def command(workdir: Path, data_dir: Path, *arguments: str) -> list[str]:
    overrides = [f"--config.{key}={value}" for key, value in OPTIONS.items()]
    base = [sys.executable, "-m", "nucseg_jax.main", "--config", "configs/demo.py"]
    return [*base, *overrides, f"--config.data.dir={data_dir}", f"--workdir={workdir}", *arguments]


def digest_of(output: str) -> str:
    last = output.strip().splitlines()[-1]
    match = re.fullmatch(r"params sha256 ([0-9a-f]{64})", last)
    assert match, last
    return match[1]


def ended_at(step: int, number: signal.Signals, workdir: Path, data_dir: Path) -> tuple[int, str]:
    """Train until a step is logged, then send a signal: the exit status, and what was printed."""
    log = workdir / "metrics.jsonl"
    with subprocess.Popen(
        command(workdir, data_dir), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline = time.monotonic() + 240
        while process.poll() is None and time.monotonic() < deadline:
            if log.exists() and f'"step": {step},' in log.read_text():
                break
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(), process.communicate()[0]


@pytest.mark.slow
def test_a_run_that_is_stopped_and_killed_resumes_to_the_same_bits(
    tiny_config: ConfigDict, tiny_dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    status, output = ended_at(13, signal.SIGTERM, run, tiny_dataset)
    assert status == 143, output
    saved = re.search(r"step (\d+) is saved: the same command goes on from there", output)
    assert saved and 13 <= int(saved[1]) < 20, output
    assert (run / "checkpoints" / saved[1]).is_dir(), "a checkpoint between those that are due"

    status, output = ended_at(23, signal.SIGKILL, run, tiny_dataset)
    assert status == -signal.SIGKILL, "the run ended before it could be killed"
    assert f"steps {saved[1]} to 40" in output
    assert not (run / "checkpoints" / str(STEPS)).exists()

    resumed = subprocess.run(command(run, tiny_dataset), check=True, capture_output=True, text=True)
    assert re.search(rf"steps ({saved[1]}|20) to 40", resumed.stdout), resumed.stdout
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1)), "the log has no gap, and no step twice"

    tiny_config.update_from_flattened_dict(OPTIONS)
    whole = parameter_digest(train.train(tiny_config, tmp_path / "whole").params)
    assert digest_of(resumed.stdout) == whole


@pytest.mark.slow
@pytest.mark.parametrize("pipeline", PIPELINES)
def test_two_processes_train_together_as_one_would(
    pipeline: str, tiny_config: ConfigDict, tiny_dataset: Path, tmp_path: Path
) -> None:
    """Two processes of four devices each against one process of eight."""
    options = ["--distributed", "--config.num_steps=1", f"--config.data.pipeline={pipeline}"]
    processes = started_together(command(tmp_path / "run", tiny_dataset, *options), devices=4)
    outputs = outputs_of(processes, timeout_s=240)
    assert [p.returncode for p in processes] == [0, 0], outputs
    assert "on 8 device(s)" in outputs[0] and "device(s)" not in outputs[1]
    assert digest_of(outputs[0])
    assert len(list((tmp_path / "run" / "eval").rglob("scores.json"))) == 1

    tiny_config.update_from_flattened_dict(OPTIONS | {"num_steps": 1})
    alone = train.train(tiny_config, tmp_path / "alone").params
    together = load_model(tmp_path / "run", devices.make_mesh()).params
    for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        # Sums over devices round otherwise across processes; what a batch norm takes out again rounds most.
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3 * float(np.abs(b).max()))


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_all_go_on_from_the_checkpoint(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    base = command(tmp_path, tiny_dataset, "--distributed")
    processes = started_together(base, devices=1)
    log, deadline = tmp_path / "metrics.jsonl", time.monotonic() + 240
    while time.monotonic() < deadline and not (log.exists() and '"step": 13,' in log.read_text()):
        assert all(process.poll() is None for process in processes), outputs_of(processes, timeout_s=1)
        time.sleep(0.01)
    processes[1].kill()
    killed = time.monotonic()
    output, _ = outputs_of(processes, timeout_s=60)
    assert time.monotonic() - killed < 60  # JAX alone takes 100 s to notice
    assert processes[0].returncode == 1 and "Traceback" not in output, output
    assert "error: process 0 of 2: another process of this training has ended" in output
    again = started_together(base, devices=1)
    outputs = outputs_of(again, timeout_s=240)
    assert [process.returncode for process in again] == [0, 0], outputs
    assert "steps 10 to 40" in outputs[0]


@pytest.mark.slow
def test_a_batch_that_the_processes_cannot_share_is_one_line_each(tiny_dataset: Path, tmp_path: Path) -> None:
    arguments = ["--distributed", "--config.batch_size=7"]
    processes = started_together(command(tmp_path, tiny_dataset, *arguments), devices=2)
    outputs = outputs_of(processes, timeout_s=120)
    assert [process.returncode for process in processes] == [2, 2], outputs
    for output in outputs:
        assert "Traceback" not in output and "batch_size" in output.partition("error: ")[2], output


@pytest.mark.parametrize(
    ("argument", "code", "message"),
    [
        ("--config.optim.learning_rat=1", 2, r"learning_rat: there is no such setting\. Did you mean optim"),
        ("--config=configs/nothing.py", 2, "configs/nothing.py: no such file"),
        ("--mode=eval", 2, "no checkpoint in .*train first"),
        pytest.param("--config.optim.learning_rate=1e30", 1, "training has diverged", marks=pytest.mark.slow),
    ],
)
def test_a_mistake_is_one_line(
    argument: str, code: int, message: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    result = subprocess.run(
        command(tmp_path / "none", tiny_dataset, argument), check=False, capture_output=True, text=True
    )
    assert result.returncode == code
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and re.search(message, errors[0]), result.stderr
    assert "Traceback" not in result.stderr, result.stderr
