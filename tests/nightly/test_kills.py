"""Training, preparation and prediction, killed again and again, come to what they would have come to."""

import contextlib
import filecmp
import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ml_collections import ConfigDict

from data_prep import synthetic
from nucseg_jax import data
from nucseg_jax.data.dataset import Example
from tests.drawn_tissue import tissue
from tests.nightly.processes import Moment, at_once, finished, killed_again_and_again, marked_by, python
from tests.untrained import write_run

STEPS, EVERY = 960, 12
CYCLES_FROM = 480
"""Three cycles of 160 steps end the training."""

IMAGES = 160
"""Of the dataset that is prepared: so many that writing them takes some seconds."""


def training(workdir: Path, data_dir: Path) -> list[str]:
    """A training with everything that takes up its work again: held-out images, cycles, both averages."""
    changes = {
        "data.dir": data_dir,
        "data.validation": "SYN-BREAST-000",
        "data.crop_size": 32,
        "batch_size": 8,
        "num_steps": STEPS,
        "log_every": 4,
        "checkpoint.every": EVERY,
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
    growth = Growth(log)

    def last() -> dict[str, Any]:
        lines = log.read_text().splitlines() if log.exists() else []
        whole_lines = [json.loads(line) for line in lines if line.endswith("}")]
        return whole_lines[-1] if whole_lines else {"step": 0}

    def is_writing() -> bool:
        return any((run / "checkpoints").glob("*tmp*"))

    def is_validating(line: dict[str, Any]) -> bool:
        """The last line is of a training step after which the held-out images are scored."""
        is_due = line["step"] % EVERY == 0 and 0 < line["step"] < CYCLES_FROM
        return is_due and "validation_aji" not in line

    def in_checkpoint(_: int) -> bool:
        return growth.grew() and is_writing()

    def in_validation(_: int) -> bool:
        return growth.grew() and is_validating(last())

    def in_step(_: int) -> bool:
        step = last()["step"]
        return growth.grew() and step % EVERY != 0 and step < CYCLES_FROM and not is_writing()

    def in_step_of_cycle(_: int) -> bool:
        step = last()["step"]
        return growth.grew() and step % EVERY != 0 and step > CYCLES_FROM and not is_writing()

    def at_end_of_cycle(_: int) -> bool:
        return growth.grew() and "labels_changed" in last()

    def grew(_: int) -> bool:
        return growth.grew()

    def doing(_: int) -> str:
        line = last()
        growth.restart()
        if is_writing():
            return "in a checkpoint"
        if is_validating(line):
            return "in a validation"
        if "labels_changed" in line:
            return "at the end of a cycle"
        return "in a step of a cycle" if line["step"] >= CYCLES_FROM else "in a step"

    moments = [Moment(in_validation, 0.02)] * 4 + [Moment(in_checkpoint, 0.15)] * 4
    moments += [Moment(in_step, 0.01)] * 4 + [Moment(grew, 1.0)] * 4
    moments += [Moment(in_step_of_cycle, 0.01)] * 4 + [Moment(at_end_of_cycle, 0.05)] * 2
    result = killed_again_and_again(training(run, tiny_dataset), moments, doing=doing, seed=1)
    kinds = Counter(result.found)
    with capsys.disabled():
        print(f"\ntraining killed {len(moments)} times: {dict(kinds)}")
    wanted = {"in a checkpoint", "in a validation", "in a step", "in a step of a cycle"}
    assert wanted <= set(kinds), "it was killed in all that it does"
    assert digest_of(result.output) == whole
    assert steps_of(log) == steps_of(tmp_path / "whole/metrics.jsonl"), "no line is lost, or there twice"
    assert not list(run.glob("*.tmp")), "nothing of the killed ones is left"


def steps_of(log: Path) -> list[tuple[int, list[str]]]:
    """The step and the names of the values of each line."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [(line["step"], sorted(line)) for line in lines]


def test_preparation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    synthetic.write_dataset(source, images=IMAGES, test=4, size=256, seed=0)

    def preparing(out: Path, *options: str) -> list[str]:
        where = ["--source", source, "--out", out, "--name", "drawn"]
        return python("-m", "data_prep.folder", *where, "--stain", "macenko", "--mpp", "0.25", *options)

    started = time.monotonic()
    finished(preparing(tmp_path / "whole"))
    took = time.monotonic() - started
    out = tmp_path / "out"
    place = out / "folder/drawn_macenko"

    def with_folder(process: int) -> bool:
        return bool(marked_by(place, process))

    def writing(process: int) -> bool:
        """TFDS has its own folder for what is incomplete, within ours."""
        with contextlib.suppress(FileNotFoundError):
            inner = [folder / "root/folder/drawn_macenko" for folder in marked_by(place, process)]
            return any("incomplete" in path.name for folder in inner for path in folder.iterdir())
        return False

    def doing(process: int) -> str:
        if writing(process):
            return "while examples are written"
        return "with its folder made" if with_folder(process) else "before anything is written"

    moments = [Moment(at_once, 0.5)] * 2 + [Moment(at_once, 0.7 * took)] * 5 + [Moment(writing, 1.5)] * 6
    first = killed_again_and_again(preparing(out), moments, doing=doing, seed=2)
    whole, again = (examples(folder) for folder in (tmp_path / "whole", out))
    are_equal(whole, again)

    def still_whole(process: int) -> str:
        are_equal(whole, examples(out))
        return doing(process)

    overwriting = preparing(out, "--overwrite")
    second = killed_again_and_again(overwriting, [Moment(writing, 1.5)] * 6, doing=still_whole, seed=4)
    with capsys.disabled():
        for when, result in (("", first), (" while a dataset is there", second)):
            print(f"\npreparation killed{when} {len(result.found)} times: {dict(Counter(result.found))}")
    for found in (first.found, second.found):
        assert found.count("while examples are written") >= 4
    assert "before anything is written" in first.found
    are_equal(whole, examples(out))
    names = [sorted(path.name for path in folder.rglob("*")) for folder in (tmp_path / "whole", out)]
    assert names[0] == names[1], "nothing of the killed ones is left"


def are_equal(whole: dict[str, Example], again: dict[str, Example]) -> None:
    assert list(whole) == list(again) and len(again) == IMAGES
    for image_id, example in whole.items():
        np.testing.assert_array_equal(again[image_id].image, example.image)
        np.testing.assert_array_equal(again[image_id].label_map, example.label_map)


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
        image = np.tile(tissue(650, 650, 560, seed=number), (5, 5, 1))
        tifffile.imwrite(slides / f"{number}.tif", image, photometric="rgb", tile=(256, 256), **tags)

    scratch = tmp_path / "scratch"

    def predicting(out: Path, *options: str) -> list[str]:
        where = [slides, "--workdir", run, "--out", out, "--workers", "2", "--scratch", scratch]
        return python("-m", "nucseg_jax.predict", *where, "--formats", "csv", "geojson", *options)

    finished(predicting(tmp_path / "whole"))
    for number in range(3):
        assert (tmp_path / f"whole/{number}/nuclei.csv").read_text().count("\n") > 100
    out = tmp_path / "out"

    def at_work(process: int) -> bool:
        """A large slide is being segmented: its probabilities lie in a folder for temporary files."""
        return bool(marked_by(scratch, process))

    def writing(process: int) -> bool:
        return bool(marked_by(out, process))

    def done() -> int:
        return sum((out / str(number)).exists() for number in range(3))

    def after(count: int) -> Moment:
        return Moment(lambda process: done() >= count and at_work(process), 2.0)

    moments = [Moment(at_work, 3.0)] * 5 + [Moment(writing, 0.3)] * 4 + [after(1)] * 2 + [after(2)] * 2
    first = killed_again_and_again(
        predicting(out), moments, doing=lambda _: f"with {done()} of 3 slides done", seed=3
    )
    are_whole(tmp_path / "whole", out, scratch)

    def none_lost(_: int) -> str:
        assert done() == 3, "the older results stay until there are newer ones"
        return "while the older results are there"

    again = predicting(out, "--overwrite")
    second = killed_again_and_again(again, [Moment(at_work, 3.0)] * 4, doing=none_lost, seed=5)
    with capsys.disabled():
        found = first.found + second.found
        print(f"\nprediction killed {len(found)} times: {dict(Counter(found))}")
    assert {f"with {count} of 3 slides done" for count in range(3)} <= set(first.found)
    are_whole(tmp_path / "whole", out, scratch)


def are_whole(whole: Path, out: Path, scratch: Path) -> None:
    """All files are those of an undisturbed prediction, and nothing of the killed ones is left."""
    assert sorted(path.name for path in out.iterdir()) == ["0", "1", "2"]
    assert not scratch.exists() or not list(scratch.iterdir())
    for number in range(3):
        for name in ("nuclei.csv", "nuclei.geojson"):
            pair = (folder / str(number) / name for folder in (whole, out))
            assert filecmp.cmp(*pair, shallow=False), f"slide {number}, {name}"


class Growth:
    """Whether a file has grown since it was last looked at."""

    def __init__(self, path: Path):
        self._path, self._size = path, 0

    def grew(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > self._size

    def restart(self) -> None:
        self._size = self._path.stat().st_size if self._path.exists() else 0
