"""How far the command is, for other programs."""

import json
from pathlib import Path

import pytest

from nucseg_jax.predict import progress
from nucseg_jax.predict.progress import Progress, ProgressFile
from tests.predict.test_command import predict, tissue, write_tiff
from tests.untrained import write_run


@pytest.fixture
def told(monkeypatch) -> list[dict]:
    """What is written to files, in order."""
    found: list[dict] = []
    write = progress.write_text

    def keep(path: Path, text: str) -> None:
        write(path, text)
        found.append(json.loads(path.read_text()))

    monkeypatch.setattr(progress, "write_text", keep)
    return found


def test_the_file_is_written_at_changes_and_once_a_second(tmp_path, told, monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    file = ProgressFile(tmp_path / "progress.json")
    for part in (0.0, 0.1, 0.2):
        file.tell(Progress("segmenting", "a.svs", part, 0, 2))
    assert [each["part"] for each in told] == [0.0]
    now += 1.0
    file.tell(Progress("segmenting", "a.svs", 0.3, 0, 2))
    file.tell(Progress("writing", "a.svs", 1.0, 0, 2))
    file.tell(Progress("segmenting", "b.svs", 0.0, 1, 2))
    assert told[1:] == [
        {"stage": "segmenting", "slide": "a.svs", "part": 0.3, "done": 0, "of": 2},
        {"stage": "writing", "slide": "a.svs", "part": 1.0, "done": 0, "of": 2},
        {"stage": "segmenting", "slide": "b.svs", "part": 0.0, "done": 1, "of": 2},
    ]
    ProgressFile(None).tell(Progress("loading"))
    assert len(told) == 4


def test_the_command_tells_each_stage(tmp_path, told):
    run = write_run(tmp_path / "run", instances__method="components")
    for name in ("a", "b"):
        write_tiff(tmp_path / f"{name}.tif", tissue())
    slides = [tmp_path / "a.tif", tmp_path / "b.tif"]
    options = ("--formats", "csv", "--progress", tmp_path / "progress.json")
    assert predict(run, tmp_path / "out", *slides, *options) == 0
    stages = [(each["stage"], Path(each["slide"]).name, each["done"], each["of"]) for each in told]
    assert stages[0] == ("loading", "", 0, 0)
    assert stages[1:] == [
        (stage, name, done, 2)
        for done, name in enumerate(("a.tif", "b.tif"))
        for stage in ("segmenting", "writing")
    ]
