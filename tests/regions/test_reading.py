"""Files of regions: all forms of GeoJSON, names, what is mended, and what is refused."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from nucseg_jax.errors import DataError
from nucseg_jax.regions import Regions, read_regions
from tests.regions.drawn import collection, feature, rectangle, write

SQUARE, OTHER = rectangle(0, 0, 10, 10), rectangle(20, 0, 30, 10)
HOLE = [[2, 2], [2, 4], [4, 4], [4, 2], [2, 2]]
BOW_TIE = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
NOWHERE = {"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [10, 10], [0, 0]]]}


def read(tmp_path: Path, document: Any) -> Regions:
    return read_regions(write(tmp_path / "a.geojson", document))


def areas(regions: Regions) -> dict[str, float]:
    return {name: area.area for name, area in zip(regions.names, regions.areas, strict=True)}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (SQUARE, {"region 1": 100}),
        (feature(SQUARE, "tumour"), {"tumour": 100}),
        (collection(feature(SQUARE), feature(OTHER, "b")), {"region 1": 100, "b": 100}),
        ([feature(SQUARE, "a"), feature(OTHER, "b")], {"a": 100, "b": 100}),
        (feature({"type": "Polygon", "coordinates": [*SQUARE["coordinates"], HOLE]}, "a"), {"a": 96}),
        (
            {"type": "MultiPolygon", "coordinates": [SQUARE["coordinates"], OTHER["coordinates"]]},
            {"region 1": 200},
        ),
        ({"type": "GeometryCollection", "geometries": [SQUARE, OTHER]}, {"region 1": 200}),
        (collection(feature(SQUARE, "a"), feature(rectangle(5, 0, 15, 10), "a")), {"a": 150}),
        (feature(SQUARE, classification={"name": "Stroma"}), {"Stroma": 100}),
        (feature(SQUARE, "a", classification={"name": "Stroma"}), {"a": 100}),
        (collection(feature(SQUARE), feature(OTHER, "region 1")), {"region 2": 100, "region 1": 100}),
        ({"type": "Feature", "geometry": SQUARE, "properties": None}, {"region 1": 100}),
        (
            {"type": "Polygon", "coordinates": [[[*c, 7] for c in r] for r in SQUARE["coordinates"]]},
            {"region 1": 100},
        ),
    ],
)
def test_forms(tmp_path: Path, document: Any, expected: dict[str, float]) -> None:
    regions = read(tmp_path, document)
    assert areas(regions) == expected and list(regions.names) == list(expected)
    assert regions.notes == ()


def test_a_gzipped_file_is_the_same_regions(tmp_path: Path) -> None:
    text = json.dumps(feature(SQUARE, "tümör")).encode()
    (tmp_path / "a.geojson").write_bytes(text)
    (tmp_path / "a.geojson.gz").write_bytes(gzip.compress(text))
    for name in ("a.geojson", "a.geojson.gz"):
        regions = read_regions(tmp_path / name)
        assert areas(regions) == {"tümör": 100} and regions.path == tmp_path / name
        assert regions.sha256 == hashlib.sha256(text).hexdigest()


def test_an_outline_that_crosses_itself_is_made_valid(tmp_path: Path) -> None:
    regions = read(tmp_path, collection(feature(OTHER), feature(BOW_TIE, "bow tie")))
    assert areas(regions) == {"region 1": 100, "bow tie": 50}
    assert regions.notes == ("regions with an outline that crosses itself, made valid: feature 2 (bow tie)",)


def test_lines_beside_an_area_are_left_out_and_named(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[0, 0], [50, 50]]}
    both = {"type": "GeometryCollection", "geometries": [SQUARE, line]}
    regions = read(tmp_path, collection(feature(OTHER), feature(both, "mixed")))
    assert areas(regions) == {"region 1": 100, "mixed": 100}
    assert regions.notes == (
        "regions with lines or points beside their areas, which were left out: feature 2 (mixed)",
    )


def test_what_is_no_drawn_area_is_left_out(tmp_path: Path) -> None:
    point = {"type": "Point", "coordinates": [1, 1]}
    nucleus = feature(OTHER, objectType="detection")
    regions = read(tmp_path, collection(feature(SQUARE, "a"), feature(point), nucleus, feature(None)))
    assert areas(regions) == {"a": 100}
    assert regions.notes == ("objects in a.geojson that are no drawn areas, left out: 3",)
    with pytest.raises(DataError, match="has no region, only 1 objects"):
        read(tmp_path, feature(point))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (collection(), "has no region. Export the annotations in QuPath"),
        ({"type": "Topology"}, "is no GeoJSON: a Feature, FeatureCollection or geometry is needed"),
        (3, "is no GeoJSON"),
        (
            feature(NOWHERE, "line"),
            r"feature 1 \(line\): its outline holds no area .*Draw it again in QuPath",
        ),
        (
            feature({"type": "Polygon", "coordinates": [[[0, 0], [1]]]}, "a"),
            r"feature 1 \(a\): has no outline",
        ),
        (feature({"type": "Polygon"}), "feature 1: has no outline that can be read"),
        (feature({"type": "Circle"}), "feature 1: has no outline that can be read"),
        (feature({"type": "Polygon", "coordinates": []}), r"holds no area \(it has no polygon\)"),
        (feature({"type": "Polygon", "coordinates": "abc"}), "feature 1: has no outline that can be read"),
        (rectangle(0, 0, float("nan"), 3), "feature 1: has coordinates that are no numbers"),
        (rectangle(0, 0, 1e16, 3), r"has coordinates that are no numbers, or beyond ±1e\+15"),
        (rectangle(0, 0, float("inf"), 3), "feature 1: has coordinates that are no numbers"),
    ],
)
def test_refused(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, document)


@pytest.mark.parametrize("content", [b"", b"id,x,y\n", b"\x1f\x8bxx", b"\xff\xfe\x00", b"[" * 100_000])
def test_files_that_are_damaged_or_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.geojson").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.geojson: (is no GeoJSON|cannot be read)"):
        read_regions(tmp_path / "a.geojson")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_regions(tmp_path / "a.geojson")
