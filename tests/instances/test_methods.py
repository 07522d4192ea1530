"""From masks and probabilities to nuclei: what each method keeps, cuts and joins."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ml_collections import ConfigDict
from numpy.typing import NDArray

from nucseg_jax import metrics
from nucseg_jax.config import get_config
from nucseg_jax.data.distances import relative_depth
from nucseg_jax.errors import UserError
from nucseg_jax.instances import (
    METHODS,
    NucleusMap,
    by_boundary,
    by_depth,
    components,
    split,
    watershed,
)
from tests.instances.drawn import TOUCHING, Labels, assert_sound, discs, perfect

MASK = np.array(
    [
        [1, 1, 0, 0, 1],
        [0, 1, 0, 1, 0],
        [0, 0, 1, 0, 0],
    ],
    dtype=bool,
)

SYMMETRIES: dict[str, Callable[[NDArray], NDArray]] = {
    "flip rows": lambda a: a[::-1],
    "flip columns": lambda a: a[:, ::-1],
    "transpose": lambda a: a.T,
    "quarter turn": lambda a: np.rot90(a),
}


def cut(mask: NDArray[np.bool_]) -> Labels:
    return watershed(mask, h_px=0.5, smoothing_px=1.0)


def grow(nucleus_map: NucleusMap, min_marker_px: int = 5) -> Labels:
    return by_boundary(nucleus_map, threshold=0.5, inside_threshold=0.5, min_marker_px=min_marker_px)


def equal_up_to_names(a: Labels, b: Labels, pixels: int) -> bool:
    """Whether the same nuclei but for that many pixels between them."""
    table = metrics.overlaps(a, b)
    same = table.count_true == table.count_pred == np.count_nonzero(table.iou > 0.5)
    return same and np.count_nonzero(a) - table.intersection_px[table.iou > 0.5].sum() <= pixels


# Components


def test_diagonal_neighbours_are_not_connected() -> None:
    labels = components(MASK)
    expected = [[1, 1, 0, 0, 2], [0, 1, 0, 3, 0], [0, 0, 4, 0, 0]]
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32


def test_ids_have_no_gaps_after_small_ones_are_removed() -> None:
    mask = np.array([[1, 0, 1, 1, 0, 1, 0, 1, 1]], dtype=bool)
    np.testing.assert_array_equal(components(mask, min_area_px=2), [[0, 0, 1, 1, 0, 0, 0, 2, 2]])


def test_a_component_of_exactly_the_minimum_area_stays() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[:7, :10] = True  # 70 px
    mask[10:13, :23] = True  # 69 px
    labels = components(mask, min_area_px=70)
    assert labels.max() == 1
    assert np.count_nonzero(labels) == 70


def test_more_than_65535_nuclei() -> None:
    mask = np.zeros((600, 600), dtype=bool)
    mask[::2, ::2] = True
    assert components(mask).max() == 90_000


@pytest.mark.parametrize("method", [components, cut])
@pytest.mark.parametrize("fill", [False, True])
def test_uniform_masks(method: Callable[[NDArray[np.bool_]], Labels], fill: bool) -> None:
    np.testing.assert_array_equal(method(np.full((5, 6), fill)), np.full((5, 6), int(fill)))


@pytest.mark.parametrize("method", [components, cut])
def test_an_image_without_pixels(method: Callable[[NDArray[np.bool_]], Labels]) -> None:
    assert method(np.zeros((0, 4), dtype=bool)).shape == (0, 4)


@pytest.mark.parametrize("method", [components, cut])
@pytest.mark.parametrize("mask", [np.zeros((3, 3)), np.zeros((3, 3), np.uint8), MASK[0]])
def test_only_boolean_masks(method: Callable[[NDArray], Labels], mask: NDArray) -> None:
    with pytest.raises(ValueError, match=r"bool \[H, W\]"):
        method(mask)


def test_negative_minimum_area() -> None:
    with pytest.raises(ValueError, match="min_area_px"):
        components(MASK, min_area_px=-1)


# Watershed


@given(arrays(bool, (12, 14)))
def test_watershed_of_any_mask_covers_it(mask: NDArray[np.bool_]) -> None:
    assert_sound(watershed(mask, h_px=0.5, smoothing_px=1.0), mask)
    assert_sound(watershed(mask, h_px=0.0, smoothing_px=0.0), mask)


@pytest.mark.parametrize("degrees", [0, 30, 45, 77])
def test_two_overlapping_discs_are_cut_where_they_meet(degrees: float) -> None:
    y, x = 10 * np.sin(np.deg2rad(degrees)), 10 * np.cos(np.deg2rad(degrees))
    truth = discs((30 - y, 40 - x, 12), (30 + y, 40 + x, 12))
    labels = cut(truth > 0)
    assert_sound(labels, truth > 0)
    assert equal_up_to_names(truth, labels, pixels=20), "the waist is 13 px long"


def test_nuclei_that_stand_alone_are_left_as_they_are() -> None:
    mask = discs((15, 15, 10), (15, 50, 8), (45, 20, 5), (45, 45, 12)) > 0
    once = components(mask)
    np.testing.assert_array_equal(cut(mask), once)
    np.testing.assert_array_equal(cut(once > 0), once)


@pytest.mark.parametrize("degrees", [0, 20, 45, 70, 90])
def test_a_long_nucleus_stays_whole(degrees: float) -> None:
    """Its summits share a ridge, and those of one height are not two markers."""
    rows, columns = np.indices((61, 61)) - 30
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    mask = ((c * columns + s * rows) / 25) ** 2 + ((c * rows - s * columns) / 8) ** 2 <= 1
    assert watershed(mask, h_px=1.0, smoothing_px=1.0).max() == 1


def test_more_height_cuts_less() -> None:
    mask = discs((30, 28, 14), (30, 48, 14)) > 0
    assert watershed(mask, h_px=0.5, smoothing_px=0.0).max() == 2
    assert watershed(mask, h_px=10.0, smoothing_px=0.0).max() == 1


def test_the_smallest_nuclei_are_found_next_to_large_ones() -> None:
    mask = discs((30, 40, 20)) > 0
    mask[2, 2] = mask[5, 60] = mask[6, 61] = True  # thinner than h; two that touch at a corner only
    labels = watershed(mask, h_px=3.0, smoothing_px=2.0)
    assert_sound(labels, mask)
    assert labels.max() == 4
    assert watershed(mask, h_px=3.0, smoothing_px=2.0, min_area_px=2).max() == 1


def test_a_nucleus_that_the_image_cuts_is_one() -> None:
    truth = discs((0, 40, 15), (30, 0, 12), (59, 79, 14))
    np.testing.assert_array_equal(cut(truth > 0), components(truth > 0))


@pytest.mark.parametrize("name", SYMMETRIES)
def test_a_turned_image_has_the_same_nuclei(name: str) -> None:
    move, nucleus_map = SYMMETRIES[name], perfect(TOUCHING)
    assert nucleus_map.boundary is not None
    moved = NucleusMap(move(nucleus_map.nucleus), move(nucleus_map.boundary))
    assert equal_up_to_names(move(cut(nucleus_map.mask)), cut(moved.mask), pixels=8)
    assert equal_up_to_names(move(grow(nucleus_map)), grow(moved), pixels=8)


@pytest.mark.parametrize("values", [{"h_px": -1.0}, {"smoothing_px": float("nan")}, {"min_area_px": -1}])
def test_parameters_out_of_range(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        watershed(MASK, **({"h_px": 1.0, "smoothing_px": 1.0} | values))  # type: ignore[arg-type]


# By boundary


def test_nuclei_that_touch_are_parted_by_their_boundaries() -> None:
    """Even without a waist: a square cut in two."""
    truth = np.zeros((40, 40), np.int32)
    truth[10:30, 10:18], truth[10:30, 18:30] = 1, 2
    assert cut(truth > 0).max() == 1
    labels = grow(perfect(truth))
    assert_sound(labels, truth > 0)
    assert equal_up_to_names(truth, labels, pixels=40)
    assert equal_up_to_names(TOUCHING, grow(perfect(TOUCHING)), pixels=20)


def test_a_nucleus_without_an_inside_is_not_lost() -> None:
    truth = discs((30, 40, 12), (10, 10, 2), (50, 10, 4.5))
    nucleus_map = perfect(truth)
    for min_marker_px in (0, 30, 10_000):
        labels = grow(nucleus_map, min_marker_px)
        assert_sound(labels, truth > 0)
        assert labels.max() == 3


def test_an_inside_of_few_pixels_is_no_nucleus() -> None:
    nucleus = (discs((30, 40, 15)) > 0).astype(np.float32)
    boundary = np.zeros_like(nucleus)
    boundary[28:33, 38:43], boundary[30, 40] = 1, 0  # a ring of boundary around a single pixel
    assert grow(NucleusMap(nucleus, boundary), min_marker_px=1).max() == 2
    assert grow(NucleusMap(nucleus, boundary), min_marker_px=2).max() == 1


@given(
    arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32)),
)
def test_nuclei_by_boundary_cover_the_mask(nucleus: NDArray, share: NDArray) -> None:
    nucleus_map = NucleusMap(nucleus, nucleus * share)
    assert_sound(grow(nucleus_map), nucleus_map.mask)


# By depth


def deep(truth: Labels) -> NucleusMap:
    """What a network says that knows how deep each pixel lies in its nucleus."""
    nucleus = (truth > 0).astype(np.float32)
    return NucleusMap(nucleus, nucleus * (1 - relative_depth(truth).astype(np.float32) / 255))


def dive(nucleus_map: NucleusMap, h: float = 0.2, smoothing_px: float = 1.0) -> Labels:
    return by_depth(nucleus_map, threshold=0.5, h=h, smoothing_px=smoothing_px)


def test_nuclei_that_touch_are_parted_between_their_middles() -> None:
    """Even where their common mask has no waist: two halves of one disc."""
    halves = discs((30, 40, 16))
    halves[:, 40:] *= 2
    for truth in (TOUCHING, halves):
        found = dive(deep(truth))
        assert_sound(found, truth > 0)
        assert equal_up_to_names(truth, found, pixels=0 if truth is TOUCHING else 4)


def test_a_summit_must_rise_over_its_pass() -> None:
    """The depth of two overlapping discs falls to about a tenth between them."""
    assert [dive(deep(TOUCHING), h).max() for h in (0.1, 0.5, 0.95)] == [4, 4, 3]


def test_the_lowest_nucleus_is_one() -> None:
    """All boundary: its summit is the ground."""
    nucleus = (discs((20, 20, 8)) > 0).astype(np.float32)
    assert dive(NucleusMap(nucleus, nucleus)).max() == 1


@given(
    arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32)),
)
def test_nuclei_by_depth_cover_the_mask(nucleus: NDArray, share: NDArray) -> None:
    assert_sound(dive(NucleusMap(nucleus, nucleus * share)), nucleus > 0.5)


def test_without_a_boundary_the_error_says_what_to_change() -> None:
    with pytest.raises(UserError, match=r"instances\.method = 'boundary' .*model\.num_classes = 3"):
        dive(NucleusMap(np.ones((4, 4), np.float32)))
    with pytest.raises(UserError, match=r"instances\.method = 'boundary' .*model\.num_classes = 3"):
        grow(NucleusMap(np.zeros((4, 4), np.float32)))


# By config


@pytest.fixture
def config() -> ConfigDict:
    return get_config().instances


def test_the_default_is_the_papers_way(config: ConfigDict) -> None:
    nucleus_map = perfect(TOUCHING)
    np.testing.assert_array_equal(split(nucleus_map, config, 1.0), components(nucleus_map.mask))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_threshold_and_minimum_area(method: str, config: ConfigDict) -> None:
    config.method = method
    config[method].min_area_um2 = 160  # the smallest disc has about 150 px
    labels = split(perfect(TOUCHING), config, 1.0)
    assert labels.max() == (2 if method == "components" else 3)
    assert np.count_nonzero(labels[43:58, 63:78]) == 0

    faint = NucleusMap(np.full((6, 6), 0.4, np.float32), np.full((6, 6), 0.1, np.float32))
    config[method].min_area_um2 = 0
    assert split(faint, config, 1.0).max() == 0
    config[method].threshold = 0.3
    np.testing.assert_array_equal(split(faint, config, 1.0), np.ones((6, 6)))
