"""Where regions may lie: in tissue, in the ROI, on nothing masked."""

import numpy as np
import pytest
import shapely

from nucseg_jax.inference.windows import Window
from nucseg_jax.nuclei import Frame
from nucseg_jax.regions import Regions
from nucseg_jax.slides.tissue_mask import Kind, SlideKinds
from nucseg_jax.suggest.candidates import Ground

FRAME = Frame((800, 1200), 0.5, 0.25)  # 1600 × 2400 pixels of the network


def ground(kinds: np.ndarray, roi: Regions | None = None, side: int = 200) -> Ground:
    return Ground(FRAME, SlideKinds(kinds), side, roi)


def all_tissue() -> np.ndarray:
    return np.full((40, 60), Kind.TISSUE, np.uint8)  # 40 pixels of the network each


def test_all_of_a_slide_and_nothing_twice() -> None:
    places = ground(all_tissue()).places(100, 0)
    assert places == [Window(row, column) for row in range(0, 1600, 200) for column in range(0, 2400, 200)]
    overlapping = ground(all_tissue()).places(15 * 23, 0)
    assert len(overlapping) == 15 * 23 and overlapping[1] == (0, 100)
    assert ground(all_tissue()).covered(places) == 1


def test_half_of_a_region_is_tissue_and_none_is_masked() -> None:
    kinds = all_tissue()
    kinds[:, :13] = Kind.GLASS  # up to 520 pixels: of the third column of regions 3 of 5 are glass
    kinds[20, 30] = Kind.PEN  # (800, 1200)
    places = ground(kinds).places(100, 0)
    assert {place.left for place in places} == set(range(600, 2400, 200))
    assert Window(800, 1200) not in places and Window(600, 1200) in places and Window(800, 1000) in places
    assert ground(kinds).tissue(Window(0, 400))[:, 120:].all()
    assert ground(kinds).tissue(Window(0, 400)).mean() == pytest.approx(80 / 200)
    # Tissue that no region covers: two of the 47 columns, and most of a region without the pen.
    assert ground(kinds).covered(places) == pytest.approx((40 * 45 - 25) / (40 * 47 - 1))


def test_regions_lie_in_the_roi() -> None:
    drawn = {"a": shapely.box(101, 103, 330, 320), "b": shapely.Point(900, 400).buffer(150)}
    roi = Regions(drawn)
    found = ground(all_tissue(), roi)
    places = found.places(1000, 0)
    boxes = [shapely.box(*found.box(place)) for place in places]
    assert all(any(area.covers(box) for area in drawn.values()) for box in boxes)
    assert {drawn["a"].covers(box) for box in boxes} == {True, False}
    assert all(box.area == 100 * 100 for box in boxes)  # base pixels, half as fine
    assert not ground(all_tissue(), Regions({"a": shapely.box(0, 0, 90, 500)})).places(1000, 0)


def test_a_sample_is_spread_and_the_same_again() -> None:
    found = ground(all_tissue(), side=40)
    places = found.places(60, 3)
    assert len(set(places)) == 60 and places == found.places(60, 3) != found.places(60, 4)
    quarters = np.array([(place.top >= 800, place.left >= 1200) for place in places])
    assert (np.unique(quarters, axis=0, return_counts=True)[1] >= 12).all()
    assert found.covered(places) == pytest.approx(60 / 2400)
