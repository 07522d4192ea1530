"""`nucseg suggest`: what it writes and prints, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from shapely.geometry import shape

from nucseg_jax import pretrained, read_regions
from nucseg_jax.cli import main as nucseg
from tests.predict.test_command import tissue, write_tiff
from tests.regions.drawn import collection, feature, rectangle, write
from tests.untrained import write_run

SIZE = ("--size-um", "16")  # 64 pixels


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiles = {"eval__tile_px": 64, "eval__overlap_px": 0}  # a tile a region
    return write_run(tmp_path_factory.mktemp("run"), instances__method="components", **tiles)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiff(tmp_path_factory.mktemp("slides") / "a.tif", np.tile(tissue(), (3, 3, 1)))


def suggest(*arguments: str | Path | int) -> int:
    return nucseg(["suggest", *map(str, arguments)])


def features_of(file: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The regions, and the nuclei."""
    document = json.loads(file.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert document.keys() == {"type", "features"} and document["type"] == "FeatureCollection"
    found = document["features"]
    assert len({of["id"] for of in found}) == len(found)
    regions = [of for of in found if of["properties"]["classification"]["name"] == "Region*"]
    return regions, found[len(regions) :]


def test_what_qupath_reads(
    run: Path, slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names and types of qupath.lib.io.QuPathTypeAdapters, 0.4 and newer."""
    file = tmp_path / "new" / "regions.geojson"
    asked = (slide, "--workdir", run, "--out", file, "--regions", 3, *SIZE)
    assert suggest(*asked) == 0
    regions, nuclei = features_of(file)
    assert [of["properties"]["name"] for of in regions] == ["1", "2", "3"]
    for of in regions:
        properties = of["properties"]
        assert properties["objectType"] == "annotation" and properties["isLocked"] is True
        assert properties["classification"] == {"name": "Region*", "color": [0, 0, 180]}
        numbers = properties["measurements"]
        assert list(numbers) == [
            "Uncertainty",
            "Disagreement bits",
            "Boundary entropy bits",
            "Tissue share",
            "Expected nuclei",
        ]
        assert all(isinstance(value, int | float) for value in numbers.values())
        assert shape(of["geometry"]).area == 64 * 64
    boxes = [shape(of["geometry"]) for of in regions]
    assert shapely.union_all(boxes).area == 3 * 64 * 64
    ranks = [of["properties"]["measurements"]["Uncertainty"] for of in regions]
    assert ranks == sorted(ranks, reverse=True) and ranks[0] > 0
    assert nuclei
    for of in nuclei:
        properties, outline = of["properties"], shape(of["geometry"])
        assert properties["objectType"] == "annotation" and "isLocked" not in properties
        assert properties["classification"]["name"] == "Nucleus"
        assert outline.is_valid and any(outline.intersection(box).area for box in boxes)

    back = read_regions(file)
    assert back.names == ("1", "2", "3", "Nucleus") and back.notes  # nuclei lie in regions
    assert [area.bounds for area in back.areas[:3]] == [box.bounds for box in boxes]

    lines = [line for line in capsys.readouterr().out.splitlines() if "taken to be trained" not in line]
    assert lines[0].split()[:5] == ["rank", "x", "µm", "y", "µm"]
    left, top = boxes[0].bounds[:2]
    numbers = lines[1].split()
    assert numbers[:6] == ["1", f"{left / 4:.0f}", f"{top / 4:.0f}", f"{left:.0f}", f"{top:.0f}", "16"]
    assert float(numbers[6]) == pytest.approx(ranks[0], abs=5e-4)
    assert "places looked at, 100% of the tissue, and " in lines[-2]
    assert lines[-1] == (
        f"{file}: 3 regions and {len(nuclei)} nuclei to correct. Drag it onto the slide in QuPath"
    )

    content = file.read_bytes()
    assert suggest(*asked) == 2
    assert f"error: {file}: is there already. Give --overwrite" in capsys.readouterr().err
    assert suggest(*asked, "--overwrite") == 0
    assert file.read_bytes() == content  # the same again


def test_a_folder_of_slides_one_of_which_is_broken(
    run: Path, slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, out = tmp_path / "b.png", tmp_path / "out"
    broken.write_bytes(b"no image")
    options = ("--workdir", run, "--regions", 1, *SIZE, "--no-nuclei")
    assert suggest(broken, slide, "--out", out, *options) == 1
    assert "error: 1 of 2 failed:" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["a.geojson"]
    regions, nuclei = features_of(out / "a.geojson")
    assert len(regions) == 1 and not nuclei
    assert suggest(broken, "--out", tmp_path / "other", *options) == 2
    assert f"{broken}: " in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_roi(run: Path, slide: Path, tmp_path: Path) -> None:
    roi = write(tmp_path / "roi.geojson", collection(feature(rectangle(20, 30, 250, 180), "tumour")))
    file = tmp_path / "a.geojson"
    assert suggest(slide, "--roi", roi, "--workdir", run, "--out", file, "--regions", 2, *SIZE) == 0
    drawn = shapely.box(20, 30, 250, 180)
    assert [drawn.covers(shape(of["geometry"])) for of in features_of(file)[0]] == [True, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--regions", 0), "--regions 0: must be 1 or more"),
        (("--sample", 4), "--sample 4: must be at least as many as --regions, which is 8"),
        (("--seed", -1), "--seed -1: must be 0 or more"),
        (("--size-um", "nan"), "--size-um nan: must be more than 0 µm"),
        (("--size-um", 2), "--size-um 2: must be 8 to 512 with this network, which sees 0.25 µm a pixel"),
        (("--model", "he", "--workdir", "x"), "--model he and --workdir x: give one of them"),
        (("--roi", "nowhere.geojson"), "nowhere.geojson: no such file"),
        (("--size-um", 80), "no square of 80 µm is at least 50% tissue"),
    ],
)
def test_what_is_refused_in_one_line(
    options: tuple[str | int, ...],
    message: str,
    run: Path,
    slide: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workdir = () if "--workdir" in options else ("--workdir", run)
    assert suggest(slide, "--out", tmp_path / "a.geojson", *workdir, *options) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not list(tmp_path.glob("*.geojson"))


def test_names_that_do_not_fit(slide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "a.png"
    other.touch()
    assert suggest(slide, other, "--out", tmp_path / "a.geojson") == 2
    assert "a.geojson: is a file, for one slide, and there are 2. Name a folder" in capsys.readouterr().err
    assert suggest(slide, other, "--out", tmp_path / "out") == 2
    assert f"both would be {tmp_path / 'out' / 'a.geojson'}" in capsys.readouterr().err
    assert suggest(slide, tmp_path / "b.png", "--roi", "r.geojson", "--out", tmp_path / "out") == 2
    assert "--roi r.geojson: is for one slide, and there are 2" in capsys.readouterr().err


def test_a_shipped_model_on_the_sample_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sample.geojson"
    asked = ("--model", "he-fast", "--regions", 2, "--size-um", 100)
    assert suggest(pretrained.SAMPLE, "--out", file, *asked) == 0
    regions, nuclei = features_of(file)
    assert len(regions) == 2 and len(nuclei) > 40
    for of in regions:
        numbers, box = of["properties"]["measurements"], shape(of["geometry"])
        assert box.bounds[2] - box.bounds[0] == pytest.approx(100 / 0.499, abs=1)
        inside = [shape(one["geometry"]).intersects(box) for one in nuclei]
        assert abs(sum(inside) - numbers["Expected nuclei"]) <= 0.2 * sum(inside)
        assert 0.02 < numbers["Uncertainty"] < 0.3
    assert "100" in capsys.readouterr().out.splitlines()[1].split()
