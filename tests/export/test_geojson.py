"""GeoJSON: the standard's shape, QuPath's properties, exact polygons."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax import drawing
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.geojson import CLASSIFICATION, MEASUREMENTS, GeoJson
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import Shapes
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, SHAPES, batch_of, leftovers, many, mask_of, masks, nuclei_of

NUCLEI = nuclei_of([mask_of(name) for name in SHAPES])
IDS = ObjectIds.of("slide.svs", {})


def geojson(path: Path, frame: Frame = FRAME, simplify_um: float | None = None) -> GeoJson:
    return GeoJson(path, frame, ids=IDS, shapes=Shapes(simplify_um), compressed=path.suffix == ".gz")


def written(
    path: Path, nuclei: list[Nucleus], frame: Frame = FRAME, simplify_um: float | None = None
) -> dict[str, Any]:
    with geojson(path, frame, simplify_um) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def check_standard(document: dict[str, Any]) -> None:
    """RFC 7946, sections 3.1.6 (Polygon), 3.2 (Feature), 3.3 (FeatureCollection)."""
    assert document.keys() == {"type", "features"}
    assert document["type"] == "FeatureCollection"
    for feature in document["features"]:
        assert feature.keys() == {"type", "id", "geometry", "properties"}
        assert feature["type"] == "Feature"
        assert isinstance(feature["id"], str)
        assert feature["geometry"].keys() == {"type", "coordinates"}
        assert feature["geometry"]["type"] == "Polygon"
        for index, ring in enumerate(feature["geometry"]["coordinates"]):
            assert len(ring) >= 4 and ring[0] == ring[-1]
            assert all(len(position) == 2 for position in ring)
            assert all(isinstance(value, int | float) for position in ring for value in position)
            assert shapely.LinearRing(ring).is_ccw == (index == 0)


def test_the_standard(tmp_path):
    check_standard(written(tmp_path / "a.geojson", NUCLEI))


def test_what_qupath_reads(tmp_path):
    """The names and types of qupath.lib.io.QuPathTypeAdapters, 0.4 and newer."""
    document = written(tmp_path / "a.geojson", NUCLEI)
    for feature, nucleus in zip(document["features"], NUCLEI, strict=True):
        properties = feature["properties"]
        assert properties.keys() == {"objectType", "classification", "measurements"}
        assert properties["objectType"] == "detection"
        assert properties["classification"] == {"name": "Nucleus", "color": [0, 229, 255]}
        numbers = properties["measurements"]
        assert all(isinstance(value, int | float) for value in numbers.values())
        dye = {name for name in MEASUREMENTS if name.startswith(("Hematoxylin", "Eosin"))}
        missing = set() if nucleus.hematoxylin is not None else dye
        assert numbers.keys() == MEASUREMENTS.keys() - missing
        assert numbers["Nucleus number"] == nucleus.id
        assert numbers["Probability"] == nucleus.probability
    assert [feature["id"] for feature in document["features"]] == IDS(Batch(NUCLEI, FRAME))
    assert tuple(CLASSIFICATION["color"]) == drawing.PREDICTION


def test_measurements_are_the_tables(tmp_path):
    document = written(tmp_path / "a.geojson", NUCLEI)
    values = batch_of(*(mask_of(name) for name in SHAPES)).measurements
    for i, feature in enumerate(document["features"]):
        for name, number in feature["properties"]["measurements"].items():
            assert number == pytest.approx(getattr(values, MEASUREMENTS[name])[i], rel=1e-6)


@pytest.mark.parametrize("frame", [FRAME, Frame((300, 400), 0.5, 0.25), Frame((300, 400), 0.2495, 0.25)])
def test_polygons_are_valid_and_exact_in_base_pixels(tmp_path, frame):
    document = written(tmp_path / "a.geojson", NUCLEI, frame)
    for feature, nucleus in zip(document["features"], NUCLEI, strict=True):
        polygon = shapely.geometry.shape(feature["geometry"])
        assert polygon.is_valid
        # Coordinates have three decimals: 0.0005 px along an outline as long as all sides of all pixels.
        tolerance = 0 if frame.scale in (1, 0.5) else 0.0005 * 4 * nucleus.mask.sum()
        assert abs(polygon.area - nucleus.mask.sum() * frame.scale**2) <= tolerance
        left, top, right, bottom = polygon.bounds
        height, width = nucleus.mask.shape
        found = np.array([left, top, right - left, bottom - top])
        expected = np.array([nucleus.left, nucleus.top, width, height]) * frame.scale
        np.testing.assert_allclose(found, expected, atol=0.001)


@settings(max_examples=50)
@given(found=st.lists(masks(), min_size=1, max_size=30), scale=st.floats(0.3, 5))
def test_random_masks_at_any_scale(tmp_path_factory, found, scale):
    frame = Frame((2000, 2000), 0.25 / scale, 0.25)
    path = tmp_path_factory.mktemp("geojson") / "a.geojson"
    document = written(path, nuclei_of(found), frame)
    check_standard(document)
    for feature, mask in zip(document["features"], found, strict=True):
        polygon = shapely.geometry.shape(feature["geometry"])
        assert polygon.is_valid
        assert polygon.area == pytest.approx(mask.sum() * frame.scale**2, rel=0.02)


def test_whole_coordinates_are_written_as_integers(tmp_path):
    written(tmp_path / "a.geojson", [Nucleus(1, 3, 5, np.ones((1, 2), bool), 0.5)])
    assert "[[[5,3],[7,3],[7,4],[5,4],[5,3]]]" in (tmp_path / "a.geojson").read_text()


def test_no_nuclei(tmp_path):
    assert written(tmp_path / "a.geojson", []) == {"type": "FeatureCollection", "features": []}


def test_more_nuclei_than_one_batch(tmp_path):
    frame = Frame((3000, 3000), 0.25, 0.25)
    nuclei = many(2500, frame)
    document = written(tmp_path / "a.geojson", nuclei, frame)
    assert [f["properties"]["measurements"]["Nucleus number"] for f in document["features"]] == [
        nucleus.id for nucleus in nuclei
    ]
    assert all(shapely.geometry.shape(feature["geometry"]).is_valid for feature in document["features"])


def test_stain_that_is_no_number_is_left_out(tmp_path):
    document = written(tmp_path / "a.geojson", [Nucleus(1, 0, 0, np.ones((2, 2), bool), 0.5, math.nan)])
    assert "Hematoxylin density" not in document["features"][0]["properties"]["measurements"]


def test_a_block_that_raises_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), geojson(path) as sink:
        for nucleus in NUCLEI:
            sink.add(nucleus)
        raise RuntimeError("stop")
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == ["a.geojson"]


def test_a_bad_nucleus_at_the_end_leaves_nothing(tmp_path):
    bad = Nucleus(1, 0, 0, np.eye(2, dtype=bool), 0.5)
    with pytest.raises(ValueError, match="nucleus 1 is not one"):
        written(tmp_path / "a.geojson", [bad])
    assert leftovers(tmp_path) == []


def test_nothing_is_outside_of_the_slide(tmp_path):
    """At 0.5 µm a pixel it has 502 columns, the last of which ends past the slide's 1003rd pixel."""
    frame = Frame((10, 1003), 0.25, 0.5)
    nuclei = [Nucleus(1, 0, 499, np.ones((5, 3), bool), 0.5)]
    with geojson(tmp_path / "a.geojson", frame) as sink:
        sink.add(nuclei[0])
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert shapely.geometry.shape(feature["geometry"]).bounds == (998, 0, 1003, 10)


def test_large_numbers_keep_their_digits(tmp_path):
    with geojson(tmp_path / "a.geojson") as sink:
        sink.add(Nucleus(2**31 - 1, 3, 3, np.ones((5, 3), bool), 0.5))
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["properties"]["measurements"]["Nucleus number"] == 2**31 - 1


def test_compressed_it_is_the_same_text_each_time(tmp_path):
    frame = Frame((3000, 3000), 0.25, 0.25)
    nuclei = many(2500, frame)
    expected = written(tmp_path / "a.geojson", nuclei, frame)
    for name in ("b.geojson.gz", "c.geojson.gz"):
        with geojson(tmp_path / name, frame) as sink:
            for nucleus in nuclei:
                sink.add(nucleus)
    packed = (tmp_path / "b.geojson.gz").read_bytes()
    assert packed == (tmp_path / "c.geojson.gz").read_bytes()
    assert json.loads(gzip.decompress(packed)) == expected
    assert len(packed) < (tmp_path / "a.geojson").stat().st_size / 4


def test_simplified_it_differs_in_coordinates_alone(tmp_path):
    frame = Frame((300, 400), 0.2495, 0.25)
    nuclei = many(100, frame)
    exact, simple = (written(tmp_path / "a.geojson", nuclei, frame, um)["features"] for um in (None, 0.5))
    for one, other in zip(exact, simple, strict=True):
        before, after = (shapely.geometry.shape(feature.pop("geometry")) for feature in (one, other))
        assert one == other
        assert after.is_valid and before.boundary.hausdorff_distance(after.boundary) <= 0.5 / 0.2495 + 1e-9
    check_standard(written(tmp_path / "a.geojson", nuclei, frame, 0.5))
    assert len((tmp_path / "a.geojson").read_bytes()) < 1100 * len(nuclei)
