"""Texture of drawn nuclei, by closed forms and against scikit-image."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops
from skimage.measure import shannon_entropy

from nucseg_jax.inference.texture import LEVEL, contrasts, entropies
from nucseg_jax.inference.tile_store import LARGEST_DENSITY

STEP = LARGEST_DENSITY / 255  # density that a stored value stands for
Y, X = np.mgrid[:12, :12]


def of_square(dye: NDArray) -> tuple[float, float]:
    """Contrast and entropy of a nucleus that is the whole picture."""
    label_map, stored = np.ones(dye.shape, np.int32), dye.astype(np.uint8)
    return float(contrasts(label_map, stored)[1]), float(entropies(label_map, stored)[1])


def test_one_colour_has_no_texture() -> None:
    assert of_square(np.full((12, 12), 40)) == (0, 0)


def test_a_checkerboard() -> None:
    contrast, entropy = of_square(np.where((X + Y) % 2, 40, 60))
    assert contrast == pytest.approx((20 * STEP) ** 2 / 2)  # rows and columns differ, diagonals do not
    assert entropy == pytest.approx(1)


def test_a_ramp() -> None:
    """Three of four directions rise by 3 a pixel, one not at all."""
    assert of_square(3 * X + 20)[0] == pytest.approx(3 / 4 * (3 * STEP) ** 2)


def test_four_levels_alike_have_two_bits() -> None:
    assert of_square(X % 4 * LEVEL + 80)[1] == pytest.approx(2)


def test_values_of_one_level_are_the_same() -> None:
    assert of_square(X % LEVEL + 5 * LEVEL)[1] == 0


def test_a_row_has_one_direction_and_a_pixel_none() -> None:
    label_map = np.zeros((5, 6), np.int32)
    label_map[1, :3], label_map[4, 5] = 1, 2
    dye = np.zeros((5, 6), np.uint8)
    dye[1, :3] = 10, 14, 18
    np.testing.assert_allclose(contrasts(label_map, dye), [np.nan, (4 * STEP) ** 2, np.nan])
    np.testing.assert_allclose(entropies(label_map, dye), [0, np.log2(3), 0])


def test_many_nuclei_are_scikit_images_one_by_one() -> None:
    """Nuclei that touch each other and the picture's sides; 0 stands for what is outside of one."""
    generator = np.random.default_rng(3)
    label_map = np.zeros((40, 40), np.int32)
    for label, (top, left) in enumerate([(0, 0), (0, 12), (12, 0), (28, 28), (14, 13)], start=1):
        square = label_map[top : top + 12, left : left + 12]
        square[np.hypot(Y - 5.5, X - 5.5) < 8 - label / 2] = label
    dye = generator.integers(1, 120, label_map.shape).astype(np.uint8)
    contrast, entropy = contrasts(label_map, dye), entropies(label_map, dye)
    for label in range(1, 6):
        alone = np.where(label_map == label, dye, 0).astype(np.uint8)
        angles = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]
        matrix = graycomatrix(alone, [1], angles, levels=256).astype(float)
        matrix[0], matrix[:, 0] = 0, 0  # pairs with what is outside
        expected = graycoprops(matrix, "contrast").mean() * STEP**2
        assert contrast[label] == pytest.approx(expected)
        assert entropy[label] == pytest.approx(shannon_entropy(dye[label_map == label] // LEVEL))


def test_no_nuclei() -> None:
    empty = np.zeros((4, 5), np.int32)
    assert np.isnan(contrasts(empty, empty.astype(np.uint8))).all()
    assert entropies(empty, empty.astype(np.uint8)).tolist() == [0]
