"""Slides on a larger canvas: nuclei lie where QuPath expects them, which is in what was scanned."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from nucseg_jax import Segmenter, open_slide
from nucseg_jax.cli import main as nucseg
from tests.predict.test_command import tissue
from tests.slides.pictures import aperio, leica
from tests.untrained import write_run

CANVAS = (300, 400, 101, 57)  # height, width, and the image's top and left


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), instances__method="components")


def predict(run: Path, out: Path, *arguments: str | Path) -> int:
    command_line = [*arguments, "--workdir", run, "--out", out, "--workers", 0]
    return nucseg(["predict", *map(str, command_line), "--formats", "geojson", "csv", "labels"])


def found(folder: Path) -> tuple[list[Any], list[dict[str, str]], np.ndarray, dict[str, Any]]:
    """The outlines, the table, the label map and the summary."""
    features = json.loads((folder / "nuclei.geojson").read_text())["features"]
    with (folder / "nuclei.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((folder / "summary.json").read_text())
    return [f["geometry"] for f in features], rows, tifffile.imread(folder / "labels.ome.tif"), summary


def test_nuclei_of_a_cropped_slide(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same as those of a file that holds the scanned part alone."""
    image, out = tissue(), tmp_path / "out"
    on_canvas, alone = tmp_path / "canvas.scn", tmp_path / "alone.svs"
    leica(on_canvas, image, 2, CANVAS)
    aperio(alone, image, 2)
    assert predict(run, out, on_canvas, alone) == 0
    note = f"cropped to what was scanned, as in QuPath: {len(image)}×{image.shape[1]} of 300×400 pixels"
    assert capsys.readouterr().out.count(f"{on_canvas}: {note}, from x 57, y 101") == 1
    outlines, rows, labels, summary = found(out / "canvas")
    expected = found(out / "alone")
    assert outlines == expected[0] and len(rows) > 3
    names = ("slide", "object_id")  # of another slide
    assert all(a[name] != b[name] for a, b in zip(rows, expected[1], strict=True) for name in names)
    assert [row | dict.fromkeys(names) for row in rows] == [row | dict.fromkeys(names) for row in expected[1]]
    assert labels.shape == image.shape[:2]
    np.testing.assert_array_equal(labels, expected[2])
    corners = np.array([corner for outline in outlines for corner in outline["coordinates"][0]])
    assert (corners >= 0).all() and (corners <= (image.shape[1], len(image))).all()
    for row in rows:  # x and y are those of the label map's pixels
        ys, xs = np.nonzero(labels == int(row["id"]))
        place = float(row["centroid_x_px"]), float(row["centroid_y_px"])
        assert place == pytest.approx((xs.mean() + 0.5, ys.mean() + 0.5), abs=0.01)
    assert summary["slide"]["size_px"] == list(image.shape[:2])
    assert summary["slide"]["offset_px"] == {"x": 57, "y": 101}
    assert expected[3]["slide"]["offset_px"] == {"x": 0, "y": 0}
    assert any(line.startswith(note) for line in summary["config"]["notes"])

    segmenter = Segmenter.load(run, network_mpp=0.25)
    with pytest.warns(UserWarning, match="cropped to what was scanned"):
        np.testing.assert_array_equal(segmenter(on_canvas), labels)
    with pytest.warns(UserWarning, match="kept: ") as warned:  # it was never trained
        assert segmenter(on_canvas, crop=False).shape == (300, 400)
    assert not any("cropped to" in str(warning.message) for warning in warned)
    with open_slide(on_canvas) as slide:
        assert segmenter.frame(slide).offset == (101, 57)


def test_the_full_canvas(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--no-crop is another request: what was done with it does not count as done without it."""
    out, path = tmp_path / "out", leica(tmp_path / "a.scn", tissue(), 1, CANVAS)
    assert predict(run, out, path, "--no-crop") == 0
    assert "cropped" not in capsys.readouterr().out
    _, _, labels, summary = found(out / "a")
    assert labels.shape == (300, 400) and summary["slide"]["size_px"] == [300, 400]
    assert summary["slide"]["offset_px"] == {"x": 0, "y": 0}
    assert summary["config"]["request"]["crop"] is False
    assert predict(run, out, path, "--no-crop") == 0
    assert "1 of 1 finished already" in capsys.readouterr().out
    assert predict(run, out, path) == 2
    assert "crop False and not True" in capsys.readouterr().err
    assert predict(run, out, path, "--overwrite") == 0
    assert found(out / "a")[3]["slide"]["offset_px"] == {"x": 57, "y": 101}
