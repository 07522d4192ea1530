"""What regions hold, touch and measure, against shapely's own answers."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax.errors import DataError
from nucseg_jax.regions import Regions
from nucseg_jax.regions.coverage import coverage

RING = shapely.Point(1000, 800).buffer(500).difference(shapely.Point(1000, 800).buffer(200))
SIZE = (1920, 2240)  # of the slide; 8 µm are 32 of its pixels


def test_points_by_region_in_the_order_of_the_file() -> None:
    regions = Regions({"b": RING, "a": shapely.box(1400, 800, 1600, 900)})
    x, y = np.array([1000.0, 1450, 1600, 0]), np.array([800.0, 850, 900, 0])
    assert regions.at(x, y) == [(), ("b", "a"), ("a",), ()]  # in the hole; in both; on a corner; outside
    assert regions.at(x[:0], y[:0]) == []
    assert regions.notes[0].startswith(
        "regions overlap: b and a. A nucleus in several has the name of the first"
    )


def test_neighbours_do_not_overlap() -> None:
    assert Regions({"a": shapely.box(0, 0, 9, 9), "b": shapely.box(9, 0, 20, 9)}).notes == ()


def test_areas_and_tissue() -> None:
    off = shapely.transform(RING, lambda points: points - (900, 600))  # reaches out of the slide
    regions, canvas = Regions({"a": RING, "b": off}), shapely.box(0, 0, *SIZE[::-1])
    exact = {"a": RING.area, "b": off.intersection(canvas).area}
    assert regions.areas_px(SIZE) == pytest.approx(exact)
    mask = np.ones((60, 70), bool)
    pixels = SIZE[0] * SIZE[1]
    assert {k: v * pixels for k, v in regions.shares(mask, SIZE).items()} == pytest.approx(exact, rel=1e-3)
    both = shapely.union_all([RING, off]).intersection(canvas).area
    assert regions.share_of_all(mask, SIZE) * pixels == pytest.approx(both, rel=1e-3)
    mask[:, 35:] = False  # half of the slide is glass
    left = RING.intersection(shapely.box(0, 0, 1120, 1920)).area
    assert regions.shares(mask, SIZE)["a"] * pixels == pytest.approx(left, rel=1e-3)
    inside = regions.mask((60, 70), SIZE)
    assert inside.sum() * 32**2 == pytest.approx(both, rel=0.02)
    assert not inside[25, 31] and inside[25, 42]  # the hole, the ring


def test_a_region_may_reach_far_past_the_slide() -> None:
    regions = Regions({"all": shapely.box(-1e15, -1e15, 1e15, 1120)})
    mask = np.ones((60, 70), bool)
    assert regions.shares(mask, SIZE)["all"] == pytest.approx(1120 / 1920)
    assert regions.mask((60, 70), SIZE).sum() == 35 * 70
    part, where = coverage(shapely.box(1e9, 0, 2e9, 10), (60, 70), SIZE)
    assert not part.size and not mask[where].size  # nothing of it is on the slide


def test_squares() -> None:
    regions = Regions({"a": RING, "small": shapely.box(2000, 1800, 2001, 1801)})
    touched = regions.touched((8, 9), 256)
    for row in range(8):
        for column in range(9):
            square = shapely.box(column * 256, row * 256, column * 256 + 256, row * 256 + 256)
            assert touched[row, column] == any(square.intersects(area) for area in regions.areas)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-50, 250), st.floats(-50, 250)), min_size=3, max_size=12))
def test_coverage_is_the_area_of_each_pixel(points: list[tuple[float, float]]) -> None:
    hull = shapely.MultiPoint(points).buffer(20).difference(shapely.Point(100, 100).buffer(15))
    part, (rows, columns) = coverage(hull, (10, 20), (200, 200))
    for row in range(10):
        for column in range(20):
            exact = hull.intersection(
                shapely.box(column * 10, row * 20, column * 10 + 10, row * 20 + 20)
            ).area
            is_in = rows.start <= row < rows.stop and columns.start <= column < columns.stop
            found = part[row - rows.start, column - columns.start] if is_in else 0.0
            assert found == pytest.approx(exact / 200, abs=0.05)


def test_regions_off_the_slide() -> None:
    regions = Regions({"on": RING, "off": shapely.box(3000, 0, 3100, 100)})
    regions.check_on("a.svs", (2000, 4000))
    with pytest.raises(DataError, match="a.svs: off lies off the slide, which has 2240×1920 pixels"):
        regions.check_on("a.svs", SIZE)
    with pytest.raises(DataError, match="a.svs: on, off lie off the slide, which has 90×90 pixels"):
        regions.check_on("a.svs", (90, 90))


def test_bad_areas() -> None:
    for areas in ({}, {"a": shapely.Point(0, 0)}, {"a": shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])}):
        with pytest.raises(ValueError, match="must be one region|a valid Polygon"):
            Regions(areas)
