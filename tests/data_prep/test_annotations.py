"""data_prep.annotations: the challenge's pixels, whatever the file holds."""

import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.annotations import AnnotationError, AnnotationWarning, rasterize
from data_prep.poly2mask import polygon_mask

SQUARE = [(4, 4), (10, 4), (10, 10), (4, 10)]


def region(vertices, attributes=""):
    points = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in vertices)
    return f"<Region {attributes}><Vertices>{points}</Vertices></Region>"


@pytest.fixture
def write(tmp_path):
    def write(*regions, head=""):
        path = tmp_path / "TCGA-00.xml"
        body = "".join(regions)
        path.write_text(
            f"{head}<Annotations><Annotation><Regions>{body}</Regions></Annotation></Annotations>"
        )
        return path

    return write


def drawn(polygon, shape):
    """The mask of one polygon on the whole image, bool [height, width]."""
    mask, top, left = polygon_mask(np.array(polygon, float), shape)
    image = np.zeros(shape, bool)
    image[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return image


def poly2mask(polygon, shape):
    """MATLAB's poly2mask from its documentation, on a canvas whose 5 x 5 sub-pixels are all there.

    A sub-pixel column's boundary crossings, where they fall on a pixel's centre column, toggle all rows
    below them. Written with loops, for polygons without negative coordinates.
    """
    corners = [(round_half_up(5 * (x - 0.5) + 1), round_half_up(5 * (y - 0.5) + 1)) for x, y in polygon]
    path = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        path += line(x0, y0, x1, y1)
    toggles = np.zeros((shape[0] + 1, shape[1]), int)
    for (x0, y0), (x1, y1) in zip(path, path[1:], strict=False):
        if x0 == x1:
            continue
        column, row = (min(x0, x1) + 2) / 5, -(-(min(y0, y1) + 2) // 5)
        if column == int(column) and 1 <= column <= shape[1] and row <= shape[0]:
            toggles[max(row, 1) - 1, int(column) - 1] += 1
    return np.cumsum(toggles[:-1], axis=0) % 2 == 1


def round_half_up(value):
    return int(np.floor(value + 0.5))


def line(x0, y0, x1, y1):
    """The sub-pixels of a segment, one for each step of its longer axis."""
    if abs(x1 - x0) >= abs(y1 - y0):
        steps = range(x0, x1 + 1) if x0 <= x1 else range(x0, x1 - 1, -1)
        slope = (y1 - y0) / (x1 - x0) if x1 != x0 else 0
        left, base = min((x0, y0), (x1, y1))
        return [(x, round_half_up(base + slope * (x - left))) for x in steps]
    return [(x, y) for y, x in line(y0, x0, y1, x1)]


def test_the_square_of_the_challenge():
    mask = drawn(SQUARE, (12, 12))
    expected = np.zeros((12, 12), bool)
    expected[4:10, 4:10] = True
    np.testing.assert_array_equal(mask, expected)


def test_reference_draws_the_square():
    np.testing.assert_array_equal(poly2mask(SQUARE, (12, 12)), drawn(SQUARE, (12, 12)))


eighths = st.integers(0, 8 * 40).map(lambda k: k / 8)
polygons = st.lists(st.tuples(eighths, eighths), min_size=3, max_size=9)


@given(polygons)
@settings(max_examples=200, deadline=None)
def test_pixels_are_those_of_poly2mask(polygon):
    np.testing.assert_array_equal(drawn(polygon, (30, 28)), poly2mask(polygon, (30, 28)))


@given(polygons, st.integers(-60, 60), st.integers(-60, 60))
@settings(max_examples=200, deadline=None)
def test_a_moved_polygon_is_clipped_not_bent(polygon, dx, dy):
    pad = 100
    canvas = drawn([(x + dx + pad, y + dy + pad) for x, y in polygon], (32 + 2 * pad, 29 + 2 * pad))
    moved = drawn([(x + dx, y + dy) for x, y in polygon], (32, 29))
    np.testing.assert_array_equal(moved, canvas[pad : pad + 32, pad : pad + 29])


@pytest.mark.parametrize("far", [1e4, 1e9, 1e300])
def test_vertices_far_outside(far):
    started = time.perf_counter()
    everything = [(-far, -far), (far, -far), (far, far), (-far, far)]
    assert drawn(everything, (20, 30)).all()
    if far < 1e15:  # beyond, float64 no longer tells where the diagonal passes
        lower_left = drawn([(-far, -far), (far, far), (-far, far)], (20, 20))
        np.testing.assert_array_equal(lower_left | np.eye(20, dtype=bool), np.tri(20, dtype=bool))
    concave = drawn([(-far, 2), (10, 5), (-far, 18), (far, 18), (10, 10), (far, 2)], (20, 20))
    assert concave.any() and not concave.all()
    assert not drawn([(far, far), (2 * far, far), (far, 2 * far)], (20, 20)).any()
    assert time.perf_counter() - started < 2


def test_far_from_the_corner_like_near_it():
    star = [(45 + 15 * np.cos(a) * (1 + a % 2), 20 + 15 * np.sin(a)) for a in np.arange(0, 6, 0.7)]
    star = [(round(8 * x) / 8, round(8 * y) / 8) for x, y in star]
    near = drawn(star, (60, 90))
    far = drawn([(x + 5000, y + 7000) for x, y in star], (7060, 5090))
    np.testing.assert_array_equal(far[7000:, 5000:], near)
    assert far.sum() == near.sum()


def test_first_region_wins_and_ids_follow_the_file(write):
    second = [(x + 3, y) for x, y in SQUARE]
    labels = rasterize(write(region(SQUARE), region(second, 'NegativeROA="1"')), (12, 16))
    assert labels.dtype == np.int32
    assert (labels[4:10, 4:10] == 1).all() and (labels[4:10, 10:13] == 2).all()
    assert (labels > 0).sum() == 6 * 9


def test_regions_anywhere_in_the_file_in_order(tmp_path):
    path = tmp_path / "a.xml"
    other = region([(x + 10, y) for x, y in SQUARE])
    path.write_text(
        f"<Annotations><Annotation><Regions>{region(SQUARE)}</Regions></Annotation>"
        f"<Annotation><Layer><Regions>{other}</Regions></Layer></Annotation></Annotations>"
    )
    labels = rasterize(path, (12, 24))
    assert labels[5, 5] == 1 and labels[5, 15] == 2


def test_defects_are_skipped_with_one_warning_that_counts_them(write):
    path = write(
        region([(1, 1), (5, 5)]),
        region([]),
        region(SQUARE),
        region([(1, 1), ("nan", 4), (3, 3)]),
        region([(1, 1), ("inf", 4), (3, 3)]),
        region([(1, 1), ("one", 4), (3, 3)]),
        "<Region><Vertices>" + '<Vertex X="1"/>' * 3 + "</Vertices></Region>",
        region([(x + 100, y) for x, y in SQUARE]),
        region([(5, 5), (8, 5), (8, 8)]),
        region([(x - 8, y - 8) for x, y in SQUARE]),
    )
    with pytest.warns(AnnotationWarning) as caught:
        labels = rasterize(path, (12, 12))
    assert len(caught) == 1
    message = str(caught[0].message)
    assert str(path) in message and "skipped 8 of 10 outlines" in message
    for part in ("2 with fewer", "4 with coordinates", "1 without a pixel", "1 covered"):
        assert part in message
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (labels[:2, :2] == 2).all()


def test_regions_that_are_all_useless_are_an_error(write):
    """As where the coordinates are of another image: no image becomes one without nuclei."""
    far = [region([(x + 1e5, y + 1e5) for x, y in SQUARE]) for _ in range(3)]
    path = write(*far, region([(1, 1), (5, 5)]))
    with pytest.raises(AnnotationError, match="none of its 4 outlines .* 12 × 12 pixels: 3 without"):
        rasterize(path, (12, 12))


def test_many_nuclei_are_fast(write):
    circle = np.stack([np.cos(np.linspace(0, 6, 30)), np.sin(np.linspace(0, 6, 30))], 1)
    centres = [(x, y) for y in range(12, 990, 22) for x in range(12, 990, 22)]
    path = write(*(region((circle * 9 + centre).round(2)) for centre in centres))
    started = time.perf_counter()
    labels = rasterize(path, (1000, 1000))
    assert time.perf_counter() - started < 10
    assert labels.max() == len(centres) > 1900


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x SYSTEM "http://localhost/x.dtd">',
    ],
)
def test_hostile_files_are_refused(write, head):
    path = write(region(SQUARE), head=head)
    with pytest.raises(AnnotationError, match="refused") as caught:
        rasterize(path, (12, 12))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a complete XML file"),
        (b"<Annotations><Annotation>", "not a complete XML file"),
        (b"\x89PNG\r\n", "not a complete XML file"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "not a complete XML file"),
        (b"<Annotations/>", "no Region"),
    ],
)
def test_unusable_files_are_named(tmp_path, content, message):
    path = tmp_path / "bad.xml"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=message) as caught:
        rasterize(path, (12, 12))
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(AnnotationError, match=r"absent\.xml.*No such file"):
        rasterize(tmp_path / "absent.xml", (12, 12))


def test_pycocotools_warning_stays_inside(write):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rasterize(write(region(SQUARE)), (12, 12))
