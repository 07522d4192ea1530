"""SIGTERM to one of several processes that train together."""

import signal
import time
from pathlib import Path

import jax
import numpy as np

from nucseg_jax import devices
from nucseg_jax.runs.loading import load_model
from tests.several_processes import outputs_of, started_together
from tests.test_main import STEPS, command


def run(workdir: Path, data_dir: Path, stop_at: int | None = None) -> tuple[list[int], list[str]]:
    """Train with two processes; at a step, the second is asked to stop: exit statuses, what was printed."""
    processes = started_together(command(workdir, data_dir, "--distributed"), devices=1)
    log = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while stop_at is not None and time.monotonic() < deadline:
        if log.exists() and f'"step": {stop_at},' in log.read_text():
            processes[1].send_signal(signal.SIGTERM)
            break
        time.sleep(0.01)
    outputs = outputs_of(processes, timeout_s=240)
    return [process.returncode for process in processes], outputs


def steps_saved(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())


def test_both_save_one_checkpoint_and_go_on_from_there(tiny_dataset: Path, tmp_path: Path) -> None:
    statuses, outputs = run(tmp_path / "stopped", tiny_dataset, stop_at=13)
    assert statuses == [143, 143], outputs
    (last,) = steps_saved(tmp_path / "stopped")[-1:]
    assert 13 <= last < 20 and f"step {last} is saved" in outputs[0], outputs
    for name in ("stopped", "whole"):
        statuses, outputs = run(tmp_path / name, tiny_dataset)
        assert statuses == [0, 0], outputs
        assert steps_saved(tmp_path / name)[-1] == STEPS
    mesh = devices.make_mesh()
    stopped, whole = (load_model(tmp_path / name, mesh).params for name in ("stopped", "whole"))
    for a, b in zip(jax.tree.leaves(stopped), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)
