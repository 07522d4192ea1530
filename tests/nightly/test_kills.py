"""Training, preparation and prediction, killed again and again, come to what they would have come to."""

import filecmp
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict

from data_prep import synthetic
from nucseg_jax import data
from nucseg_jax.data.dataset import Example
from tests.drawn_tissue import tissue
from tests.nightly.processes import finished, killed_again_and_again, python
from tests.untrained import write_run

TIMES = 12
STEPS = 240


def training(workdir: Path, data_dir: Path) -> list[str]:
    """A training with everything that takes up its work again: held-out images, cycles, both averages."""
    changes = {
        "data.dir": data_dir,
        "data.validation": "SYN-BREAST-000",
        "data.crop_size": 32,
        "batch_size": 8,
        "num_steps": STEPS,
        "log_every": 4,
        "checkpoint.every": 12,
        "model.width": 1 / 16,
        "self_correction.cycles": 3,
        "self_correction.cycle_epochs": 0.5,
        "self_correction.warmup_epochs": 0.2,
    }
    options = [f"--config.{key}={value}" for key, value in changes.items()]
    return python("-m", "nucseg_jax.main", "--config", "configs/demo.py", "--workdir", workdir, *options)


def digest_of(output: str) -> str:
    found = re.search(r"^params sha256 ([0-9a-f]{64})$", output, re.MULTILINE)
    assert found, output
    return found[1]


def test_training(tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = digest_of(finished(training(tmp_path / "whole", tiny_dataset)))
    run = tmp_path / "run"
    log = run / "metrics.jsonl"
    before = Growth(log)

    def doing() -> str:
        unfinished = list((run / "checkpoints").glob("*tmp*"))
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        step = lines[-1]["step"] if lines else 0
        before.restart()
        if unfinished:
            return "in a checkpoint"
        if lines and step % 12 == 0 and "validation_aji" not in lines[-1]:
            return "in a validation"
        return "in a step" + (" of a cycle" if (run / "labels").exists() else "")

    found = killed_again_and_again(
        training(run, tiny_dataset), times=TIMES, started=before.grew, longest_s=2.5, doing=doing, seed=1
    )
    with capsys.disabled():
        print(f"\nkilled {TIMES} times: {dict(Counter(found.moments))}")
    assert digest_of(found.output) == whole
    assert (run / "metrics.jsonl").read_text().count("\n") == len(
        (tmp_path / "whole/metrics.jsonl").read_text().splitlines()
    ), "no line of the log is lost, or there twice"


def test_preparation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    synthetic.write_dataset(source, images=40, test=4, size=256, seed=0)

    def preparing(out: Path) -> list[str]:
        where = ["--source", source, "--out", out, "--name", "drawn"]
        return python("-m", "data_prep.folder", *where, "--stain", "macenko", "--mpp", "0.25")

    finished(preparing(tmp_path / "whole"))
    out = tmp_path / "out"

    def doing() -> str:
        return "with a part written" if any(out.rglob("*incomplete*")) else "before anything is written"

    found = killed_again_and_again(
        preparing(out), times=TIMES, started=lambda: True, longest_s=9.0, doing=doing, seed=2
    )
    with capsys.disabled():
        print(f"\nkilled {TIMES} times: {dict(Counter(found.moments))}")
    whole, again = (examples(folder) for folder in (tmp_path / "whole", out))
    assert list(whole) == list(again) and len(again) == 40
    for image_id, example in whole.items():
        np.testing.assert_array_equal(again[image_id].image, example.image)
        np.testing.assert_array_equal(again[image_id].label_map, example.label_map)
    names = [sorted(path.name for path in folder.rglob("*")) for folder in (tmp_path / "whole", out)]
    assert names[0] == names[1], "nothing of the killed ones is left"


def examples(folder: Path) -> dict[str, Example]:
    config = ConfigDict({"dir": str(folder), "dataset": "folder", "split": "drawn", "stain": "macenko"})
    config.size = None
    return {e.id: e for split in data.load(config).splits.values() for e in split}


def test_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", instances__method="watershed", model__num_classes=3)
    slides = tmp_path / "slides"
    slides.mkdir()
    tags = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
    for number in range(3):
        image = np.tile(tissue(650, 650, 560, seed=number), (4, 4, 1))
        tifffile.imwrite(slides / f"{number}.tif", image, photometric="rgb", tile=(256, 256), **tags)

    def predicting(out: Path) -> list[str]:
        where = [slides, "--workdir", run, "--out", out, "--workers", 2]
        return python("-m", "nucseg_jax.predict", *where, "--formats", "csv", "geojson")

    finished(predicting(tmp_path / "whole"))
    out = tmp_path / "out"

    def doing() -> str:
        return f"with {sum((out / str(number)).exists() for number in range(3))} of 3 slides done"

    scratch: Callable[[], bool] = lambda: any(out.glob("*.scratch")) or any(out.glob("*.tmp"))  # noqa: E731
    found = killed_again_and_again(
        predicting(out), times=TIMES, started=scratch, longest_s=6.0, doing=doing, seed=3
    )
    with capsys.disabled():
        print(f"\nkilled {TIMES} times: {dict(Counter(found.moments))}")
    assert sorted(path.name for path in out.iterdir()) == ["0", "1", "2"], (
        "nothing of the killed ones is left"
    )
    for number in range(3):
        for name in ("nuclei.csv", "nuclei.geojson"):
            pair = (folder / str(number) / name for folder in (tmp_path / "whole", out))
            assert filecmp.cmp(*pair, shallow=False), f"slide {number}, {name}"


class Growth:
    """Whether a file has grown since it was last looked at."""

    def __init__(self, path: Path):
        self._path, self._size = path, 0

    def grew(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > self._size

    def restart(self) -> None:
        self._size = self._path.stat().st_size if self._path.exists() else 0
