"""Ripley's L of drawn patterns."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nucseg_jax.export.clumping import RADII_UM, ripley_l
from nucseg_jax.export.tissue_area import TissueArea
from nucseg_jax.nuclei import Frame

SIDE_UM, COUNT = 1000.0, 3000
FRAME = Frame((1000, 1000), 1.0, 1.0)
EVERYWHERE = TissueArea(FRAME)

_R, _AREA, _PERIMETER = np.array(RADII_UM), SIDE_UM**2, 4 * SIDE_UM
DEVIATION_UM = np.sqrt(
    2
    * (
        np.pi * _R**2 / _AREA
        + 0.96 * _PERIMETER * _R**3 / _AREA**2
        + 0.13 * COUNT * _PERIMETER * _R**5 / _AREA**3
    )
) * (_AREA / COUNT / (2 * np.pi * _R))
"""Standard deviation of L of COUNT points at random in a square: Ripley's approximation of that of K with a
correction for borders (Statistical Inference for Spatial Processes, 1988), divided by dK/dL = 2πr. The first
term is that of a Poisson number of pairs, the others are the borders'."""


def values(points: NDArray[np.float64], tissue: TissueArea = EVERYWHERE) -> NDArray[np.float64]:
    rows = ripley_l(points, tissue)
    assert [row["r_um"] for row in rows] == list(RADII_UM)
    return np.array([row["l_um"] for row in rows], dtype=np.float64)


def at_random(seed: int, count: int = COUNT) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0, SIDE_UM, (count, 2))


def test_points_at_random() -> None:
    """L is r, and differs from it as much as theory says."""
    found = np.array([values(at_random(seed)) for seed in range(20)]) - RADII_UM
    np.testing.assert_allclose(found.std(axis=0), DEVIATION_UM, rtol=0.5)
    assert (np.abs(found.mean(axis=0)) < 3.5 * DEVIATION_UM / np.sqrt(20)).all()


def test_points_at_random_on_ragged_tissue() -> None:
    """Much of each disc is outside; without a correction L(100) would be 40 µm too small."""
    y, x = np.mgrid[:100, :100]
    mask = (y // 10 % 2 == 0) & (x > 20)
    tissue = TissueArea(FRAME, mask)
    found = np.array([values(at_random(seed), tissue) for seed in range(20)]) - RADII_UM
    assert (np.abs(found.mean(axis=0)) < 7 * DEVIATION_UM / np.sqrt(20)).all()


def test_clusters_have_more() -> None:
    generator = np.random.default_rng(1)
    parents = generator.uniform(100, 900, (100, 2))
    points = parents.repeat(30, axis=0) + generator.normal(0, 12, (3000, 2))
    assert (values(points) - RADII_UM > 20 * DEVIATION_UM).all()


def test_a_lattice_has_less() -> None:
    """None is within 23 µm."""
    points = np.stack(np.mgrid[5:1000:23, 5:1000:23], axis=-1).reshape(-1, 2).astype(float)
    found = values(points)
    assert found[:2].tolist() == [0, 0]
    assert (found[:3] < RADII_UM[:3]).all()


def test_two_points() -> None:
    """By hand: each has one other within 20 µm, and λ = 1 / 10⁶ µm²; L(20) = sqrt(10⁶ / π)."""
    found = values(np.array([[500.0, 500], [515, 500]]))
    assert found[0] == 0
    np.testing.assert_allclose(found[1:], np.sqrt(SIDE_UM**2 / np.pi))


def test_radii_that_do_not_fit() -> None:
    small = TissueArea(Frame((250, 900), 1.0, 1.0))
    rows = ripley_l(np.random.default_rng(0).uniform(0, 250, (500, 2)), small)
    assert [row["l_um"] is None for row in rows] == [False, False, False, True]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few(count: int) -> None:
    assert np.isnan(values(np.full((count, 2), 500.0))).all()
    outside = TissueArea(FRAME, np.zeros((3, 3), bool))
    assert np.isnan(values(at_random(0), outside)).all()


def test_every_nth_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    points = at_random(0)
    whole = values(points)
    monkeypatch.setattr("nucseg_jax.export.clumping._CENTRES", 500)
    assert (np.abs(values(points) - whole) < 5 * DEVIATION_UM).all()
