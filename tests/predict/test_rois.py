"""`--roi`: files of one slide, folders of many, what is written by region, and reruns."""

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from nucseg_jax import open_slide, read_regions
from nucseg_jax.errors import UserError
from nucseg_jax.predict.jobs import SlideJob
from nucseg_jax.predict.rois import with_regions
from tests.predict.test_command import predict, tissue, write_tiff
from tests.predict.test_crop import run as run
from tests.regions.drawn import collection, feature, rectangle, write

NAME = 'tumour, "left"'


def test_tables_and_summary_by_region(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide, out = write_tiff(tmp_path / "a.tif", tissue()), tmp_path / "out"
    left, all_of_it = rectangle(0, 0, 45, 70), rectangle(0, 0, 90, 70)
    roi = write(tmp_path / "a.geojson", collection(feature(left, NAME), feature(rectangle(30, 0, 60, 70))))
    assert predict(run, out, slide) == 0
    assert predict(run, out, slide) == 0
    with (out / "a" / "nuclei.csv").open(newline="") as file:
        everywhere = list(csv.DictReader(file))
    assert "region" not in everywhere[0]
    assert json.loads((out / "a" / "summary.json").read_text())["regions"] == {}
    capsys.readouterr()
    assert predict(run, out, slide, "--roi", roi) == 2
    assert "roi_sha256 None and not '" in capsys.readouterr().err
    assert predict(run, out, slide, "--roi", roi, "--overwrite") == 0
    assert f"regions overlap: {NAME} and region 1." in capsys.readouterr().out

    with (out / "a" / "nuclei.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    places = [(float(row["centroid_x_px"]), row["region"]) for row in rows]
    assert 0 < len(rows) < len(everywhere)
    assert all(name == (NAME if x <= 45 else "region 1") and x <= 60 for x, name in places)
    kept = [row for row in everywhere if float(row["centroid_x_px"]) <= 60]
    assert [row["area_um2"] for row in rows] == [row["area_um2"] for row in kept]
    names = [row["region"] for row in rows]
    assert parquet.read_table(out / "a" / "nuclei.parquet")["region"].to_pylist() == names
    features = json.loads((out / "a" / "nuclei.geojson").read_text())["features"]
    assert [found["properties"]["region"] for found in features] == names

    summary = json.loads((out / "a" / "summary.json").read_text())
    regions = summary["regions"]
    assert list(regions) == [NAME, "region 1"]
    assert regions[NAME]["count"] == sum(x <= 45 for x, _ in places)
    assert regions["region 1"]["count"] == sum(30 <= x for x, _ in places)
    assert regions[NAME]["area_mm2"] == pytest.approx(45 * 70 * 0.25**2 / 1e6)
    assert regions["region 1"]["tissue_mm2"] == pytest.approx(30 * 70 * 0.25**2 / 1e6)  # all is tissue
    for region in regions.values():
        assert region["per_mm2"] == pytest.approx(region["count"] / region["tissue_mm2"])
        assert [row["r_um"] for row in region["clumping"]] == [10, 20, 50, 100]
    assert summary["nuclei"]["count"] == len(rows)
    assert summary["nuclei"]["area_mm2"] == pytest.approx(60 * 70 * 0.25**2 / 1e6)
    assert summary["config"]["roi"] == str(roi) and len(summary["config"]["request"]["roi_sha256"]) == 64

    assert predict(run, out, slide, "--roi", roi) == 0
    assert "1 of 1 finished already" in capsys.readouterr().out
    assert predict(run, out, slide, "--roi", write(tmp_path / "b.geojson", all_of_it)) == 2
    assert predict(run, out, slide) == 2
    assert "roi_sha256" in capsys.readouterr().err

    from nucseg_jax import Segmenter

    with Segmenter.load(run, network_mpp=0.25) as segmenter, open_slide(slide) as opened:
        stream = segmenter.stream(opened, regions=read_regions(roi))
        assert [nucleus.regions[0] for nucleus in stream if nucleus.regions] == names


def test_a_folder_and_what_can_be_wrong(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slides, rois, out = tmp_path / "slides", tmp_path / "rois", tmp_path / "out"
    slides.mkdir()
    rois.mkdir()
    for name in ("a", "b"):
        write_tiff(slides / f"{name}.tif", tissue())
    roi = write(rois / "a.geojson", rectangle(0, 0, 40, 40))
    arguments = slides, "--formats", "csv", "--roi"
    assert predict(run, out, *arguments, roi) == 2
    assert "is for one slide, and there are 2. Give a folder" in capsys.readouterr().err
    assert predict(run, out, *arguments, rois) == 2
    assert f"has no file of these slides:\n  {slides / 'b.tif'}: b.geojson\n" in capsys.readouterr().err
    assert predict(run, out, *arguments, tmp_path / "nothing.geojson") == 2
    assert not out.exists()
    write(rois / "b.geojson", rectangle(1000, 0, 1040, 40))
    assert predict(run, out, *arguments, rois) == 1
    printed = capsys.readouterr().err
    assert "1 failed" in printed and f"b.tif: region 1 of {rois / 'b.geojson'} lies off the slide" in printed
    write(rois / "b.geojson", rectangle(0, 0, 90, 40))
    assert predict(run, out, *arguments, rois) == 0
    counts = {
        name: json.loads((out / name / "summary.json").read_text())["regions"]["region 1"]["count"]
        for name in ("a", "b")
    }
    assert 0 < counts["a"] < counts["b"]


def test_slides_of_one_name_have_files_by_their_folders(tmp_path: Path) -> None:
    jobs = [SlideJob(Path(f"{name}/HE.svs"), tmp_path / f"{name}_HE") for name in ("P1", "P2")]
    for i, name in enumerate(("P1_HE", "P2_HE", "HE"), 1):
        write(tmp_path / f"{name}.geojson", feature(rectangle(0, 0, i, i), name))
    assert [job.regions and job.regions.names for job in with_regions(jobs, tmp_path)] == [
        ("P1_HE",),
        ("P2_HE",),
    ]
    (tmp_path / "HE.geojson.gz").touch()
    with pytest.raises(UserError, match=r"HE.geojson and HE.geojson.gz: both are there"):
        with_regions(jobs[:1], tmp_path)
