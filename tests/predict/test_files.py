"""What files are written: options, extras, ids, files of an older release."""

import csv
import gzip
import json
import sys
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.predict.test_command import predict, tissue, write_tiff
from tests.predict.test_command import run as run


def ids_in(folder: Path) -> list[str]:
    """The nuclei's ids, which all files have."""
    with (folder / "nuclei.csv").open(newline="") as file:
        ids = [row["object_id"] for row in csv.DictReader(file)]
    assert parquet.read_table(folder / "nuclei.parquet")["object_id"].to_pylist() == ids
    packed = folder / "nuclei.geojson.gz"
    text = (
        gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / "nuclei.geojson").read_bytes()
    )
    assert [feature["id"] for feature in json.loads(text)["features"]] == ids
    return ids


def test_simplified_and_compressed_files(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other files of the same nuclei; and without the options the older ones are not taken for these."""
    slide, out = write_tiff(tmp_path / "a.tif", tissue()), tmp_path / "out"
    formats = "--formats", "geojson", "parquet", "csv"
    assert predict(run, out, slide, *formats) == 0
    exact, ids = (out / "a" / "nuclei.csv").read_text(), ids_in(out / "a")
    options = *formats, "--simplify", "0.5", "--gzip"
    assert predict(run, out, slide, *options) == 2
    error = capsys.readouterr().err
    assert "simplify_um None and not 0.5, gzip None and not True" in error
    assert predict(run, out, slide, *options, "--overwrite") == 0
    assert sorted(path.name for path in (out / "a").iterdir()) == [
        "nuclei.csv",
        "nuclei.geojson.gz",
        "nuclei.parquet",
        "summary.json",
    ]
    assert ids_in(out / "a") == ids and len(ids) > 3
    assert (out / "a" / "nuclei.csv").read_text() == exact, "measurements are those of the exact outlines"
    request = json.loads((out / "a" / "summary.json").read_text())["config"]["request"]
    assert (request["simplify_um"], request["gzip"]) == (0.5, True)
    assert predict(run, out, slide, *options) == 0
    assert predict(run, out, slide, *formats) == 2
    for wrong, message in (
        (["--simplify", "0"], "--simplify 0: must be a distance"),
        (["--simplify", "0.5", "--formats", "csv"], "--simplify: is for geojson, parquet, spatialdata, dic"),
        (["--gzip", "--formats", "csv"], "--gzip: is for geojson"),
    ):
        capsys.readouterr()
        assert predict(run, out, slide, *wrong) == 2
        assert message in capsys.readouterr().err


def test_ids_are_of_the_slide_and_the_settings(run: Path, tmp_path: Path) -> None:
    slide = write_tiff(tmp_path / "a.tif", tissue())
    found = {}
    for name, options in {
        "first": [],
        "again": [],
        "moved": [],
        "other setting": ["--set", "instances.components.threshold=0.3"],
        "other mpp": ["--mpp", "0.26"],
    }.items():
        if name == "moved":
            (tmp_path / "b").mkdir()
            slide = slide.rename(tmp_path / "b" / "a.tif")
        assert predict(run, tmp_path / name, slide, "--formats", "csv", "parquet", "geojson", *options) == 0
        found[name] = set(ids_in(tmp_path / name / "a"))
    assert found["first"] == found["again"] == found["moved"] and len(found["first"]) > 3
    assert found["first"].isdisjoint(found["other setting"] | found["other mpp"])
    renamed = slide.rename(tmp_path / "c.tif")
    assert predict(run, tmp_path / "renamed", renamed, "--formats", "csv", "parquet", "geojson") == 0
    assert found["first"].isdisjoint(ids_in(tmp_path / "renamed" / "c"))


def test_files_of_an_older_release_are_said(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide, out = write_tiff(tmp_path / "a.tif", tissue()), tmp_path / "out"
    assert predict(run, out, slide, "--formats", "csv") == 0
    path = out / "a" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 1}))
    assert predict(run, out, slide, "--formats", "csv") == 0
    assert "note: 1 of them have files of another release" in capsys.readouterr().out


def test_formats_of_an_extra_are_checked_before_the_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_tiff(tmp_path / "a.tif", tissue())
    for name, package in (("dicom", "highdicom"), ("spatialdata", "spatialdata")):
        monkeypatch.setitem(sys.modules, package, None)
        assert predict(run, tmp_path / "out", image, "--formats", "csv", name) == 2
        assert f"this needs the extra `{name}`" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "highdicom", sys)  # as if it were there
    assert predict(run, tmp_path / "out", image, "--formats", "csv", "dicom") == 2
    assert "a.tif: is no DICOM slide" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
