"""SIGTERM: to one of several processes that train together, to a preparation, to a prediction."""

import signal
import time
from pathlib import Path

import jax
import numpy as np
import tifffile

from data_prep import synthetic
from nucseg_jax import devices
from nucseg_jax.runs.loading import load_model
from tests.drawn_tissue import tissue
from tests.nightly.processes import finished, marked_by, python, stopped
from tests.several_processes import outputs_of, started_together
from tests.test_main import STEPS, command
from tests.untrained import write_run


def run(workdir: Path, data_dir: Path, stop_at: int | None = None) -> tuple[list[int], list[str]]:
    """Train with two processes; at a step, the second is asked to stop: exit statuses, what was printed."""
    processes = started_together(command(workdir, data_dir, "--distributed"), devices=1)
    log = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 240
    while stop_at is not None and time.monotonic() < deadline:
        assert all(process.poll() is None for process in processes), outputs_of(processes, timeout_s=1)
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
    assert 13 <= last < STEPS and f"step {last} is saved" in outputs[0], outputs
    for name in ("stopped", "whole"):
        statuses, outputs = run(tmp_path / name, tiny_dataset)
        assert statuses == [0, 0], outputs
        assert steps_saved(tmp_path / name)[-1] == STEPS
    mesh = devices.make_mesh()
    stopped, whole = (load_model(tmp_path / name, mesh).params for name in ("stopped", "whole"))
    for a, b in zip(jax.tree.leaves(stopped), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_preparation_leaves_nothing(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    synthetic.write_dataset(source, images=60, test=4, size=256, seed=0)
    command = python("-m", "data_prep.folder", "--source", source, "--out", out, "--name", "drawn")
    place = out / "folder/drawn_none"
    status, printed = stopped(command, lambda process: bool(marked_by(place, process)))
    assert status == 143 and "Traceback" not in printed, printed
    assert not out.exists()
    finished(command)
    assert [path.name for path in place.iterdir()] == ["1.0.0"]


def test_a_prediction_leaves_nothing(tmp_path: Path) -> None:
    run_folder = write_run(tmp_path / "run", instances__method="watershed", model__num_classes=3)
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    image = np.tile(tissue(650, 650, 560, seed=0), (5, 5, 1))
    tags = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "slide.tif", image, photometric="rgb", tile=(256, 256), **tags)
    where = ["--workdir", run_folder, "--out", out, "--workers", "2", "--scratch", scratch]
    command = python("-m", "nucseg_jax.predict", tmp_path / "slide.tif", *where)
    status, printed = stopped(command, lambda process: bool(marked_by(scratch, process)))
    assert status == 143 and "Traceback" not in printed, printed
    assert not scratch.exists() and not out.exists()
    finished(command)
    assert [path.name for path in out.iterdir()] == ["slide"]
