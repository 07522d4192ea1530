"""Two processes of four devices train as one of eight: in cycles, killed, resumed, of both forms of data."""

import json
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import demo
from nucseg_jax import data, devices
from nucseg_jax.data import packed
from nucseg_jax.evaluation.evaluate import evaluate
from nucseg_jax.runs.loading import load_model
from nucseg_jax.training import train
from tests.several_processes import outputs_of, started_together
from tests.test_main import OPTIONS, command

CYCLES = {
    "num_steps": 6,
    "num_epochs": 6,
    "checkpoint.every": 2,
    "self_correction.cycles": 2,
    "self_correction.cycle_epochs": 2,
    "self_correction.warmup_epochs": 1,
    # A tenth of the demo's: where weights change much at each step, what is rounded otherwise grows fast.
    "optim.learning_rate": 0.005,
}
"""Two ordinary steps and two cycles of two."""

TOLERANCE, FLOOR = 0.01, 1e-4
"""Of the largest value of each parameter and batch statistic, and for those that are almost 0.

Sums over devices round otherwise across processes, and training makes more of that: losses differed by 1e-7
of their value at the first step, and by 5e-4 at the fifth. In the end biases of batch norms, of 2e-4 at most,
differed by 2e-5, batch statistics by 0.24 %, labels by 0.014, and 0.3 % of the pixels in their class.
"""


@pytest.fixture(scope="module")
def alone(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, with its scores."""
    config = demo.get_config()
    config.update_from_flattened_dict(OPTIONS | CYCLES | {"data.dir": str(tiny_dataset)})
    workdir = tmp_path_factory.mktemp("alone")
    train.train(config, workdir)
    evaluate(config, workdir)
    return workdir


def killed_after(step: int, processes: list[subprocess.Popen[str]], workdir: Path) -> None:
    """Kill all processes as soon as they have written the checkpoint of a step."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not (workdir / "checkpoints" / str(step)).is_dir():
        assert all(process.poll() is None for process in processes), outputs_of(processes, timeout_s=1)
        time.sleep(0.01)
    for process in processes:
        process.kill()
    outputs = outputs_of(processes, timeout_s=60)
    # The second may see that the first has gone before its own turn comes.
    assert processes[0].returncode == -signal.SIGKILL and processes[1].returncode != 0, outputs


def labels_of(workdir: Path) -> dict[str, np.ndarray]:
    """The refined labels of the last cycle by image, float32[H,W,C]."""
    files = sorted((workdir / "labels/cycle_2").iterdir())
    return {file.name: np.float32(np.load(file)["soft_classes"]) for file in files}


def losses_of(workdir: Path) -> dict[int, float]:
    """By step, each of which is logged once."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, 7))
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def scores_of(workdir: Path) -> dict[str, float]:
    (file,) = workdir.glob("eval/*/step_6/scores.json")
    return json.loads(file.read_text())["network"]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "pipeline"), [("packed", "resident"), ("tfds", "tfdata")])
def test_cycles_that_are_killed_and_resumed_end_as_those_of_one_process(
    form: str, pipeline: str, alone: Path, tiny_config: ConfigDict, tiny_dataset: Path, tmp_path: Path
) -> None:
    root, run = tiny_dataset, tmp_path / "run"
    if form == "packed":
        root = tmp_path / "packed"
        dataset = data.load(tiny_config.data)
        packed.write(dataset, root / dataset.name, overwrite=False)
    options = [f"--config.{key}={value}" for key, value in CYCLES.items()]
    both = command(run, root, *options, f"--config.data.pipeline={pipeline}", "--distributed")

    killed_after(4, started_together(both, devices=4), run)
    assert not (run / "checkpoints/6").exists() and not (run / "eval").exists()

    again = started_together(both, devices=4)
    outputs = outputs_of(again, timeout_s=240)
    assert [process.returncode for process in again] == [0, 0], outputs
    assert "steps 4 to 6 of batch 8 on 8 device(s)" in outputs[0], outputs

    assert losses_of(run) == {step: pytest.approx(x, rel=5e-3) for step, x in losses_of(alone).items()}
    mesh = devices.make_mesh()
    found, expected = (load_model(folder, mesh).weights for folder in (run, alone))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * float(np.abs(b).max()) + FLOOR)
    labels, of_one = labels_of(run), labels_of(alone)
    assert labels.keys() == of_one.keys() and len(labels) == 3
    for name, label in labels.items():
        np.testing.assert_allclose(label, of_one[name], rtol=0, atol=0.03)
        assert np.mean(label.argmax(-1) == of_one[name].argmax(-1)) > 0.98
    scores, scores_of_one = scores_of(run), scores_of(alone)
    for name in ("dice", "dice_pooled", "aji"):
        assert scores[name] == pytest.approx(scores_of_one[name], abs=0.02)
