"""What each object of a QuPath file is: a nucleus, a region, ignored, left out, or refused."""

import pytest

from data_prep.annotations import AnnotationError
from data_prep.geojson_objects import sort
from nucseg_jax.io.geojson_files import read_features
from tests.data_prep.qupath_files import cell, collection, detected, old, qupath, rectangle, write

NUCLEUS, OTHER = rectangle(10, 10, 30, 30), rectangle(50, 10, 70, 30)  # 25 µm² each
FIELD, LARGE = rectangle(0, 0, 100, 100), rectangle(0, 0, 200, 200)  # 625 and 2,500 µm²
POINT = {"type": "Point", "coordinates": [5, 5]}


def sorted_of(tmp_path, *features, region_classes=(), document=None):
    """What is sorted, as areas in pixels."""
    path = write(tmp_path / "a.geojson", document or collection(*features))
    found = sort(read_features(path)[0], path, mpp=0.25, region_classes=region_classes)
    parts = {name: [area.area for area in getattr(found, name)] for name in ("nuclei", "regions", "ignored")}
    return {name: areas for name, areas in parts.items() if areas}, dict(found.skipped), dict(found.told)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ([qupath(NUCLEUS)], {"nuclei": [400]}),
        ([detected(NUCLEUS, "Nucleus"), cell(rectangle(40, 0, 80, 40), OTHER)], {"nuclei": [400] * 2}),
        ([qupath(NUCLEUS, of_class="Tumor"), detected(NUCLEUS, "Tumor: Positive")], {"nuclei": [400] * 2}),
        ([qupath(LARGE, of_class="Region*"), qupath(NUCLEUS)], {"regions": [40000], "nuclei": [400]}),
        ([qupath(FIELD, of_class="region")], {"regions": [10000]}),
        ([qupath(NUCLEUS), qupath(LARGE, of_class="Ignore*")], {"nuclei": [400], "ignored": [40000]}),
        ([detected(NUCLEUS, "Ignore*"), qupath(OTHER, of_class="Artefact*")], {"ignored": [400] * 2}),
        # The annotation in which they were detected, and one of several in which nothing else was.
        ([qupath(LARGE), detected(NUCLEUS)], {"regions": [40000], "nuclei": [400]}),
        (
            [qupath(FIELD), detected(NUCLEUS), cell(FIELD, OTHER)],
            {"regions": [10000], "nuclei": [400] * 2},
        ),
        # A nucleus drawn again over what was detected; one within another.
        ([qupath(rectangle(8, 8, 32, 32)), detected(NUCLEUS)], {"nuclei": [576, 400]}),
        ([qupath(rectangle(0, 0, 60, 60)), qupath(NUCLEUS)], {"nuclei": [3600, 400]}),
        ([old(NUCLEUS, "PathDetectionObject"), old(LARGE, "PathAnnotationObject", "Region")],
         {"nuclei": [400], "regions": [40000]}),
    ],
)  # fmt: skip
def test_kinds_and_classes(tmp_path, features, expected):
    found, skipped, _ = sorted_of(tmp_path, *features)
    assert found == expected and not skipped


def test_further_classes_of_regions_are_named_without_case_or_asterisk(tmp_path):
    features = qupath(LARGE, of_class="Tumor"), qupath(FIELD, of_class="Box*"), qupath(NUCLEUS)
    found, _, told = sorted_of(tmp_path, *features, region_classes=["tumor*", "box"])
    assert found == {"regions": [40000, 10000], "nuclei": [400]}
    assert told == {"regions, outside of which nothing is annotated": 2}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            [qupath(NUCLEUS), qupath(LARGE, name="box")],
            r"feature 2 \(box\): an annotation without a class, of 2,500 µm² with 1 other outlines in it, "
            r"may be a nucleus or a region\. If it is a region in which all nuclei are annotated, give it "
            r"the class Region\* in QuPath; else take it out of the file",
        ),
        ([qupath(LARGE, of_class="Tumor"), detected(NUCLEUS)],
         r"feature 1 \(Tumor\): an annotation of the class Tumor, .*, or give --region-class 'Tumor'; else"),
        ([qupath(FIELD), qupath(NUCLEUS), qupath(OTHER)], "feature 1: .* 625 µm² with 2 other outlines"),
        ([qupath(FIELD), detected(NUCLEUS)], "feature 1: .* 625 µm² with 1 other outlines"),
        ([qupath(LARGE)] * 3, r"feature 1: .* region \(as may 2 more of the file\)\. If"),
    ],
)  # fmt: skip
def test_what_may_be_either_is_refused(tmp_path, features, message):
    with pytest.raises(AnnotationError, match=rf"a\.geojson: {message}") as caught:
        sorted_of(tmp_path, *features)
    assert "\n" not in str(caught.value)


def test_what_is_no_nucleus_is_counted(tmp_path):
    nothing = {"type": "Polygon", "coordinates": []}
    bad = {"type": "Polygon", "coordinates": [[[0, 0], [float("nan"), 1], [1, 1], [0, 0]]]}
    line = {"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [9, 9], [0, 0]]]}
    two = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}
    features = [qupath(NUCLEUS), qupath(POINT), qupath(OTHER, "tile"), qupath(FIELD, "tmaCore"), qupath(None)]
    features += [qupath(nothing), qupath(bad), qupath(line), qupath(two), cell(FIELD, None)]
    found, skipped, told = sorted_of(tmp_path, *features)
    assert found == {"nuclei": [400]}
    assert skipped == {
        "whose outline holds no area": 2,
        "with coordinates that are no numbers, or beyond ±1e+15": 1,
        "without an outline that can be read": 1,
        "cells without an outline of the nucleus": 1,
    }
    assert told == {"tiles, cores, points or lines, left out": 4}


def test_a_region_without_an_area_is_refused(tmp_path):
    line = {"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [9, 9], [0, 0]]]}
    with pytest.raises(
        AnnotationError, match=r"a\.geojson: feature 2 \(Region\*\): its outline holds no area"
    ):
        sorted_of(tmp_path, qupath(NUCLEUS), qupath(line, of_class="Region*"))


def test_a_hierarchy_is_as_flat_as_a_list(tmp_path):
    """As `exportObjectsToGeoJson` writes children, in the properties of what holds them."""
    parent, child = qupath(LARGE), detected(NUCLEUS)
    parent["properties"]["childObjects"] = [child]
    for document in (parent, [qupath(LARGE), child], collection(parent)):
        assert sorted_of(tmp_path, document=document)[0] == {"regions": [40000], "nuclei": [400]}


def test_what_is_mended_is_told(tmp_path):
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]}
    mixed = {"type": "GeometryCollection", "geometries": [NUCLEUS, POINT]}
    found, _, told = sorted_of(tmp_path, qupath(bow_tie), qupath(mixed))
    assert found == {"nuclei": [50, 400]}
    assert told == {
        "outlines that cross themselves, made valid": 1,
        "outlines with lines or points beside their areas, which are left out": 1,
    }
