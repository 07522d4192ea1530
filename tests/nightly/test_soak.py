"""Long work with flat memory, files and threads: 200 images predicted, 2,000 steps trained."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.drawn_tissue import tissue
from tests.nightly.processes import Usage, python, watched
from tests.untrained import write_run

IMAGES, STEPS = 200, 2000
_MEMORY_MB = 40.0  # what an allocator keeps may differ by so much


def is_flat(found: dict[int, Usage]) -> None:
    """What there was late is no more than what there was when all had been done once."""
    first, *_, before, last = found.values()
    assert last.memory_mb <= first.memory_mb + _MEMORY_MB, found
    assert last.files <= first.files + 1, found
    assert last.threads <= before.threads + 1, found  # pools start threads until they are full


def shown(found: dict[int, Usage]) -> str:
    return "".join(
        f"\nat {progress}: {u.memory_mb:.0f} MB, {u.files} files, {u.threads} threads"
        for progress, u in found.items()
    )


def test_prediction_of_many_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", instances__method="watershed")
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for number in range(IMAGES):
        Image.fromarray(tissue(512, 512, 320, seed=number)).save(images / f"{number:03}.png")
    command = python("-m", "nucseg_jax.predict", images, "--workdir", run, "--out", out, "--mpp", "0.25")

    def done() -> int:
        return len(list(out.glob("*/summary.json")))

    found = watched(command, done, at=(30, 60, 120, IMAGES - 20))
    with capsys.disabled():
        print(shown(found))
    is_flat(found)


def test_a_long_training(tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes = {
        "data.dir": tiny_dataset,
        "data.validation": "SYN-BREAST-000",
        "data.crop_size": 32,
        "batch_size": 4,
        "num_steps": STEPS,
        "checkpoint.every": 200,
        "model.width": 1 / 16,
    }
    options = [f"--config.{key}={value}" for key, value in changes.items()]
    where = ["--config", "configs/demo.py", "--workdir", tmp_path / "run"]
    log = tmp_path / "run/metrics.jsonl"

    def step() -> int:
        lines = log.read_text().splitlines() if log.exists() else []
        return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)

    found = watched(python("-m", "nucseg_jax.main", *where, *options), step, at=(450, 850, 1250, STEPS - 60))
    with capsys.disabled():
        print(shown(found))
    is_flat(found)
