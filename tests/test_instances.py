import numpy as np
import pytest

from nucseg_jax.instances import components

MASK = np.array(
    [
        [1, 1, 0, 0, 1],
        [0, 1, 0, 1, 0],
        [0, 0, 1, 0, 0],
    ],
    dtype=bool,
)


def test_diagonal_neighbours_are_not_connected():
    labels = components(MASK)
    expected = [[1, 1, 0, 0, 2], [0, 1, 0, 3, 0], [0, 0, 4, 0, 0]]
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32


def test_ids_have_no_gaps_after_small_ones_are_removed():
    mask = np.array([[1, 0, 1, 1, 0, 1, 0, 1, 1]], dtype=bool)
    np.testing.assert_array_equal(components(mask, min_area_px=2), [[0, 0, 1, 1, 0, 0, 0, 2, 2]])


def test_a_component_of_exactly_the_minimum_area_stays():
    mask = np.zeros((20, 30), dtype=bool)
    mask[:7, :10] = True  # 70 px
    mask[10:13, :23] = True  # 69 px
    labels = components(mask, min_area_px=70)
    assert labels.max() == 1
    assert np.count_nonzero(labels) == 70


@pytest.mark.parametrize("fill", [False, True])
def test_uniform_masks(fill):
    labels = components(np.full((5, 6), fill))
    np.testing.assert_array_equal(labels, np.full((5, 6), int(fill)))


def test_an_image_without_pixels():
    assert components(np.zeros((0, 4), dtype=bool)).shape == (0, 4)


def test_more_than_65535_nuclei():
    mask = np.zeros((600, 600), dtype=bool)
    mask[::2, ::2] = True
    assert components(mask).max() == 90_000


@pytest.mark.parametrize("mask", [np.zeros((3, 3)), np.zeros((3, 3), np.uint8), MASK[0]])
def test_only_boolean_masks(mask):
    with pytest.raises(ValueError, match=r"bool \[H, W\]"):
        components(mask)


def test_negative_minimum_area():
    with pytest.raises(ValueError, match="min_area_px"):
        components(MASK, min_area_px=-1)
