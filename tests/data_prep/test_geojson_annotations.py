"""GeoJSON of QuPath: the pixels of nuclei, and those that nobody annotated."""

import gzip
import json

import numpy as np
import pytest

from data_prep.annotations import AnnotationError
from data_prep.geojson_annotations import draw
from nucseg_jax.errors import DataError
from nucseg_jax.export import GeoJson
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import Shapes
from nucseg_jax.nuclei import Frame
from tests.data_prep.qupath_files import collection, detected, ignored, qupath, rectangle, region, write
from tests.export.drawn_nuclei import SHAPES, label_map_of, mask_of, nuclei_of

FRAME = Frame(size=(120, 400), mpp=0.25, network_mpp=0.25)
IDS = ObjectIds.of("slide.svs", {})
SHAPE = (60, 80)
SQUARE = rectangle(10, 20, 16, 28)
PARTS = rectangle(40, 5, 46, 10), rectangle(50, 12, 56, 18), rectangle(76, 40, 99, 44)


def drawing(tmp_path, *features, shape=SHAPE, region_classes=()):
    path = write(tmp_path / "a.geojson", collection(*features))
    return draw(path, shape, mpp=0.25, region_classes=region_classes)


def box(left, top, right, bottom):
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def polygon(outer, hole):
    return {"type": "Polygon", "coordinates": [*outer["coordinates"], *hole["coordinates"]]}


def same(found, expected):
    np.testing.assert_array_equal(found, expected)


def test_an_outline_along_pixels_gives_these_pixels(tmp_path):
    found = drawing(tmp_path, qupath(SQUARE), detected(rectangle(0, 0, 5, 4)))
    assert found.labels.dtype == np.int32
    same(found.labels, box(10, 20, 16, 28) + 2 * box(0, 0, 5, 4))
    assert (found.outlines, found.skipped, found.told, found.unannotated) == (2, {}, {}, None)


def test_holes_and_parts_of_one_nucleus(tmp_path):
    holed = polygon(SQUARE, rectangle(12, 22, 14, 24))
    parts = {"type": "MultiPolygon", "coordinates": [r["coordinates"] for r in PARTS]}
    found = drawing(tmp_path, qupath(holed), detected(parts))
    same(found.labels == 1, box(10, 20, 16, 28) & ~box(12, 22, 14, 24))
    same(found.labels == 2, box(40, 5, 46, 10) | box(50, 12, 56, 18) | box(76, 40, 80, 44))
    assert found.told == {"nuclei in several parts, which stay one nucleus": 1}


def test_a_pixel_of_two_nuclei_belongs_to_the_first(tmp_path):
    """As in ImageScope's files; what is covered, outside or far off is skipped and counted."""
    features = [qupath(SQUARE), qupath(rectangle(14, 20, 20, 28)), qupath(rectangle(11, 21, 13, 23))]
    features += [qupath(rectangle(20, 40, 24, 44)), detected(rectangle(200, 0, 210, 9))]
    found = drawing(tmp_path, *features)
    same(found.labels, box(10, 20, 16, 28) + 2 * box(16, 20, 20, 28) + 3 * box(20, 40, 24, 44))
    assert found.skipped == {"covered by earlier outlines": 1, "without a pixel in the image": 1}
    assert found.told == {"nuclei that overlap an earlier one, which keeps the pixels of both": 1}
    assert found.outlines == 5


def test_outside_of_regions_nothing_is_annotated(tmp_path):
    """A nucleus across the border is whole, and only the part in the region is annotated."""
    features = [qupath(rectangle(70, 50, 75, 55)), qupath(SQUARE), qupath(rectangle(28, 20, 36, 28))]
    regions = [
        region(5, 5, 30, 35),
        qupath(rectangle(30, 40, 50, 99), of_class="Region"),
    ]
    found = drawing(tmp_path, *features, *regions)
    same(found.unannotated, ~(box(5, 5, 30, 35) | box(30, 40, 50, 60)))
    same(found.labels, box(10, 20, 16, 28) + 2 * box(28, 20, 36, 28))
    assert found.told == {
        "regions, outside of which nothing is annotated": 2,
        "nuclei of which nothing is annotated, left out": 1,
    }
    assert not found.skipped and found.outlines == 3


def test_ignored_areas_are_not_annotated(tmp_path):
    ring = polygon(rectangle(5, 5, 40, 40), SQUARE)
    found = drawing(tmp_path, qupath(SQUARE), qupath(rectangle(20, 10, 24, 14)), ignored(ring))
    same(found.unannotated, box(5, 5, 40, 40) & ~box(10, 20, 16, 28))
    same(found.labels, box(10, 20, 16, 28))
    both = drawing(
        tmp_path,
        qupath(rectangle(0, 0, 40, 40), of_class="Tumor"),
        detected(rectangle(30, 0, 80, 60), "Ignore*"),
        region_classes=["Tumor"],
    )
    same(both.unannotated, ~box(0, 0, 30, 40))


def test_a_region_without_a_nucleus_is_all_background(tmp_path):
    found = drawing(tmp_path, region(0, 0, 30, 30))
    assert not found.labels.any() and (~found.unannotated).sum() == 900 and found.outlines == 0


def test_nuclei_in_part_of_an_image_are_no_reason_to_doubt_the_file(tmp_path):
    """One region of an export of a whole slide; the others are left out."""
    features = [detected(rectangle(x, 30, x + 3, 33)) for x in range(0, 60, 5)]
    found = drawing(tmp_path, region(0, 29, 7, 35), *features)
    assert found.labels.max() == 2 and found.told["nuclei of which nothing is annotated, left out"] == 10


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], r"has no nucleus and no region\. Export the objects in QuPath"),
        ([qupath(SQUARE, "tile")], "has no nucleus and no region, only 1 objects that are neither"),
        ([qupath(rectangle(100, 0, 110, 9))], "none of its 1 outlines can be drawn on an image of"),
        ([qupath(SQUARE), region(100, 0, 110, 9)], "annotates no pixel of the image"),
        ([qupath(SQUARE), ignored(rectangle(-1, -1, 99, 99))], "annotates no .* 1 ignored areas"),
    ],
)  # fmt: skip
def test_files_without_a_nucleus_or_a_region_in_the_image(tmp_path, features, message):
    with pytest.raises(AnnotationError, match=rf"a\.geojson: {message}"):
        drawing(tmp_path, *features)


def test_gzip_and_forms_of_the_document(tmp_path):
    expected = drawing(tmp_path, qupath(SQUARE)).labels
    forms = [[qupath(SQUARE)], qupath(SQUARE), SQUARE, collection(qupath(SQUARE))]
    for document in forms:
        same(draw(write(tmp_path / "b.json", document), SHAPE, mpp=0.25).labels, expected)
    packed = tmp_path / "c.geojson.gz"
    packed.write_bytes(gzip.compress(json.dumps(forms[0]).encode()))
    same(draw(packed, SHAPE, mpp=0.25).labels, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no GeoJSON"),
        (b"[" * 100_000, "is no GeoJSON"),
        (b'{"a": 1}', "is no GeoJSON: a Feature, FeatureCollection or geometry is needed"),
        (gzip.compress(b"[]", mtime=0)[:-3], "cannot be read"),
        (gzip.compress(b"[" + b" " * 2**26, mtime=0), "holds more than 64 MiB of text"),
    ],
)
def test_hostile_and_damaged_files_are_one_line(tmp_path, content, message):
    path = tmp_path / "a.geojson.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        draw(path, SHAPE, mpp=0.25)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_coordinates_far_away_cost_nothing(tmp_path):
    """All of the image lies in the region."""
    triangle = {
        "type": "Polygon",
        "coordinates": [[[-1e15, -1e15], [1e15, -1e15], [0, 1e15], [-1e15, -1e15]]],
    }
    found = drawing(tmp_path, qupath(SQUARE), qupath(triangle, of_class="Region*"))
    assert found.unannotated is None and found.labels.max() == 1


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz"])
def test_what_predict_writes_comes_back(tmp_path, name):
    """The outlines are exact to the pixel, and the same objects come back in the same order."""
    nuclei = nuclei_of([mask_of(shape) for shape in SHAPES])
    packed = name.endswith(".gz")
    with GeoJson(tmp_path / name, FRAME, ids=IDS, shapes=Shapes(None), compressed=packed) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    found = draw(tmp_path / name, FRAME.size, mpp=FRAME.mpp)
    same(found.labels, label_map_of(nuclei, FRAME))
    assert (found.skipped, found.told, found.unannotated) == ({}, {}, None)


def test_simplified_outlines_of_predict_come_back_nearly(tmp_path):
    y, x = np.mgrid[-9:10, -9:10]
    nuclei = nuclei_of([y**2 + x**2 < 80, y**2 + 3 * x**2 < 81])
    with GeoJson(tmp_path / "a.geojson", FRAME, ids=IDS, shapes=Shapes(0.125)) as sink:  # half a pixel
        for nucleus in nuclei:
            sink.add(nucleus)
    found = draw(tmp_path / "a.geojson", FRAME.size, mpp=FRAME.mpp).labels
    for number in (1, 2):
        expected, drawn = label_map_of(nuclei, FRAME) == number, found == number
        assert (expected & drawn).sum() > 0.9 * (expected | drawn).sum()
