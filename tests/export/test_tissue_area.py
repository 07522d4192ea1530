"""The tissue as a region in µm."""

import numpy as np
import pytest

from nucseg_jax.export.tissue_area import TissueArea
from nucseg_jax.nuclei import Frame

FRAME = Frame((800, 1600), 0.5, 0.25)  # 400 × 800 µm
LEFT_HALF = np.repeat([[True, False]], 3, axis=0)
POINTS = np.array([[390.0, 200.0], [200.0, 200.0], [5.0, 100.0], [0.0, 0.0], [400.0, 200.0], [700.0, 10.0]])


def test_area_and_sides() -> None:
    assert TissueArea(FRAME).area_um2 == 400 * 800
    half = TissueArea(FRAME, LEFT_HALF)
    assert (half.area_um2, half.shorter_side_um) == (400 * 400, 400)


def test_what_is_inside() -> None:
    assert TissueArea(FRAME, LEFT_HALF).contains(POINTS).tolist() == [True] * 4 + [False] * 2
    assert TissueArea(FRAME).contains(np.array([[801.0, 401.0]])).all()  # the last pixel may end past it


def test_distance_to_the_border() -> None:
    np.testing.assert_allclose(TissueArea(FRAME, LEFT_HALF).to_border(POINTS), [10, 200, 5, 0, 0, 0])
    np.testing.assert_allclose(TissueArea(FRAME).to_border(POINTS), [200, 200, 5, 0, 200, 10])


def test_distance_to_a_hole() -> None:
    tissue = np.ones((40, 80), bool)
    tissue[20, 40] = False  # 400 … 410, 200 … 210 µm
    points = np.array([[370.0, 205.0], [440.0, 250.0], [405.0, 195.0]])
    np.testing.assert_allclose(TissueArea(FRAME, tissue).to_border(points), [30, 50, 5])


def test_tissue_in_a_disc() -> None:
    whole = np.pi * 50**2
    everywhere, half = TissueArea(FRAME), TissueArea(FRAME, LEFT_HALF)
    np.testing.assert_allclose(everywhere.around(POINTS[1:2], 50), whole)
    np.testing.assert_allclose(everywhere.around(POINTS[3:4], 50), whole / 4)  # in the slide's corner
    np.testing.assert_allclose(half.around(POINTS[[1, 4]], 50), [whole, whole / 2])
    cut = np.arccos(10 / 50) * 50**2 - 10 * np.sqrt(50**2 - 10**2)  # the segment beyond 10 µm
    np.testing.assert_allclose(half.around(POINTS[:1], 50), whole - cut, rtol=3e-3)


def test_a_part() -> None:
    """A rectangle of 100 … 300 and 100 … 400 µm, where the slide has tissue to 400 µm."""
    tissue = TissueArea(FRAME, np.repeat([[True] * 40 + [False] * 40], 40, axis=0))
    part = tissue.part(np.ones((30, 40), bool), (slice(10, 40), slice(10, 50)))
    assert (part.area_um2, part.shorter_side_um) == (300 * 300, 300)
    points = np.array([[110.0, 250.0], [90.0, 250.0], [390.0, 250.0], [410.0, 250.0], [250.0, 95.0]])
    assert part.contains(points).tolist() == [True, False, True, False, False]
    np.testing.assert_allclose(part.to_border(points), [10, 0, 10, 0, 0])
    assert tissue.to_border(points)[0] == 110
    middle = np.array([[250.0, 250.0], [100.0, 250.0], [100.0, 100.0], [0.0, 250.0]])
    whole = np.pi * 50**2
    np.testing.assert_allclose(part.around(middle, 50), whole * np.array([1, 1 / 2, 1 / 4, 0]), atol=1e-9)


@pytest.mark.parametrize("tissue", [np.ones((2, 2)), np.ones(3, bool), np.ones((0, 2), bool)])
def test_no_mask(tissue: np.ndarray) -> None:
    with pytest.raises(ValueError, match="tissue must be bool"):
        TissueArea(FRAME, tissue)
