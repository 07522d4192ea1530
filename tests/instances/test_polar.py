"""Outlines around summits: of single nuclei, of touching ones, of what is no star; the same in any window."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from nucseg_jax import metrics
from nucseg_jax.data.distances import relative_depth
from nucseg_jax.errors import UserError
from nucseg_jax.instances import NucleusMap, by_depth, by_polar, components, refine
from nucseg_jax.instances.polar import summits, suppressed
from nucseg_jax.instances.star_outlines import Covered, Landscape, covered, radii_of
from tests.instances.drawn import TOUCHING, Labels, assert_sound, discs


def deep(truth: Labels) -> NucleusMap:
    """What a network says that knows how deep each pixel lies in its nucleus."""
    nucleus = (truth > 0).astype(np.float32)
    return NucleusMap(nucleus, nucleus * (1 - relative_depth(truth).astype(np.float32) / 255))


def cut(nucleus_map: NucleusMap, **changes: float) -> Labels:
    parameters = {"threshold": 0.5, "h": 0.05, "smoothing_px": 1.0, "rise": 0.2, "overlap": 0.5}
    return by_polar(nucleus_map, **(parameters | {"reach_px": 40.0, "min_rest_px": 20.0} | changes))


def again(nucleus_map: NucleusMap, labels: Labels, **changes: float) -> Labels:
    parameters = {"threshold": 0.5, "smoothing_px": 1.0, "rise": 0.2, "reach_px": 40.0}
    return refine(nucleus_map, labels, **(parameters | changes))


def wrong_pixels(truth: Labels, found: Labels) -> int:
    """Pixels of the other nucleus, where the nuclei are the same; else all."""
    table = metrics.overlaps(truth, found)
    same = table.count_true == table.count_pred == np.count_nonzero(table.iou > 0.5)
    return int(np.count_nonzero(truth) - table.intersection_px[table.iou > 0.5].sum()) if same else truth.size


def turned_ellipse(degrees: float, half_length: float, half_width: float) -> Labels:
    rows, columns = np.indices((81, 81)) - 40
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    along, across = c * columns + s * rows, c * rows - s * columns
    return ((along / half_length) ** 2 + (across / half_width) ** 2 <= 1).astype(np.int32)


def outline_of(truth: Labels) -> tuple[NDArray[np.float32], Covered]:
    """Radii around the summit of the only nucleus, and the pixels in that outline."""
    height = relative_depth(truth).astype(np.float32) / 255
    points = summits(truth, height)
    landscape = Landscape((truth > 0).astype(np.float32), height, truth)
    radii = radii_of(landscape, points, threshold=0.5, rise=0.2, reach_px=40.0)
    return radii, covered(radii, points, truth)


# Outlines


def test_the_outline_of_a_disc_is_its_radius() -> None:
    truth = discs((40, 40, 15), shape=(81, 81))
    radii, found = outline_of(truth)
    np.testing.assert_allclose(radii[0], 15, atol=1.0)
    assert len(found.pixel) > 0.95 * truth.sum() and not found.owner.any()


@pytest.mark.parametrize("degrees", [0, 30, 45, 77])
def test_an_ellipse_three_times_as_long_as_wide_is_inside_of_its_outline(degrees: float) -> None:
    truth = turned_ellipse(degrees, 24, 8)
    _, found = outline_of(truth)
    assert len(found.pixel) > 0.9 * truth.sum()
    assert truth.ravel()[found.pixel].all(), "it ends at the piece"


def test_a_thin_spur_is_left_outside() -> None:
    truth = discs((40, 30, 12), shape=(81, 81))
    truth[40, 40:70] = 1
    radii, _ = outline_of(truth)
    assert radii.max() < 20


def test_an_outline_ends_where_the_next_nucleus_begins() -> None:
    truth = discs((40, 25, 14), (40, 53, 14), shape=(81, 81))
    height = relative_depth(truth).astype(np.float32) / 255
    points = summits(truth, height)
    landscape = Landscape((truth > 0).astype(np.float32), height, np.minimum(truth, 1))
    radii = radii_of(landscape, points, threshold=0.5, rise=0.1, reach_px=40.0)
    np.testing.assert_allclose(radii, 14, atol=2.5)
    far = radii_of(landscape, points, threshold=0.5, rise=0.9, reach_px=40.0)
    assert far.max() > 20, "a climb of less than `rise` is of the same nucleus"


def test_no_nucleus() -> None:
    nothing = np.zeros((5, 6), np.float32)
    landscape = Landscape(nothing, nothing, nothing.astype(np.int32))
    points = np.zeros(0, np.intp)
    radii = radii_of(landscape, points, threshold=0.5, rise=0.2, reach_px=9.0)
    assert radii.shape[0] == 0 and len(covered(radii, points, landscape.pieces).pixel) == 0


# Summits


def test_a_summit_lies_in_its_nucleus() -> None:
    """Of a ring that is open at the top: its centroid does not."""
    rows, columns = np.indices((61, 61)) - 30
    distance = np.hypot(rows, columns)
    bent = ((distance > 15) & (distance < 25) & (rows > -10)).astype(np.int32)
    height = relative_depth(bent).astype(np.float32)
    (point,) = summits(bent, height)
    assert height.ravel()[point] == height.max()
    (middle,) = summits(np.ones((5, 7), np.int32), np.ones((5, 7), np.float32))
    assert divmod(int(middle), 7) == (2, 3), "of a plateau its middle"


# Suppression


def test_an_outline_in_a_higher_one_is_dropped() -> None:
    """0 and 1 share a pixel of three, 1 and 2 all of two; a dropped one drops none."""
    found = Covered(np.repeat([0, 1, 2], [3, 3, 2]), np.array([1, 2, 3, 3, 4, 5, 4, 5]))
    heights = np.array([3, 2, 1], np.float32)
    assert suppressed(found, heights, 0.5).tolist() == [True, True, False]
    assert suppressed(found, heights, 0.3).tolist() == [True, False, True]
    assert suppressed(found, heights[::-1], 0.5).tolist() == [True, False, True]
    assert suppressed(found, np.ones(3, np.float32), 0.5).tolist() == [True, True, False]


# Cutting


@pytest.mark.parametrize("degrees", [0, 30, 45, 77])
def test_two_overlapping_discs_are_cut_where_they_meet(degrees: float) -> None:
    y, x = 10 * np.sin(np.deg2rad(degrees)), 10 * np.cos(np.deg2rad(degrees))
    truth = discs((30 - y, 40 - x, 12), (30 + y, 40 + x, 12))
    found = cut(deep(truth))
    assert_sound(found, truth > 0)
    assert wrong_pixels(truth, found) <= 5


def test_nuclei_of_any_size_are_cut_and_those_alone_are_left_as_they_are() -> None:
    found = cut(deep(TOUCHING))
    assert_sound(found, TOUCHING > 0)
    assert wrong_pixels(TOUCHING, found) <= 8
    alone = discs((15, 15, 10), (15, 50, 8), (45, 20, 5), (45, 45, 12))
    np.testing.assert_array_equal(cut(deep(alone)), components(alone > 0))


def with_two_summits() -> NucleusMap:
    """One disc, whose depth dips by half across its middle."""
    truth = discs((30, 40, 15))
    nucleus_map = deep(truth)
    assert nucleus_map.boundary is not None
    dip = np.exp(-(((np.indices(truth.shape)[1] - 40) / 2) ** 2))
    inside = (nucleus_map.nucleus - nucleus_map.boundary) * (1 - 0.5 * dip)
    return NucleusMap(nucleus_map.nucleus, (nucleus_map.nucleus - inside).astype(np.float32))


def test_two_summits_of_one_nucleus_are_one() -> None:
    nucleus_map = with_two_summits()
    assert by_depth(nucleus_map, threshold=0.5, h=0.05, smoothing_px=1.0).max() == 2
    found = cut(nucleus_map, rise=0.5)
    assert found.max() == 1
    assert_sound(found, nucleus_map.mask)
    assert cut(nucleus_map, rise=0.05).max() == 2


def test_what_no_outline_reaches_is_a_nucleus_if_it_is_large_enough() -> None:
    """Two summits, of which one's outline is dropped, with a lobe that the other's does not cover."""
    found = cut(with_two_summits(), rise=0.5, reach_px=14.0, min_rest_px=1.0)
    assert_sound(found, with_two_summits().mask)
    assert found.max() > 1
    assert cut(with_two_summits(), rise=0.5, reach_px=14.0, min_rest_px=200.0).max() == 1


def test_a_nucleus_that_is_no_star_stays_as_it_is() -> None:
    """A bent one, of which no point sees more than a part."""
    rows, columns = np.indices((61, 61)) - 30
    distance = np.hypot(rows, columns)
    bent = ((distance > 15) & (distance < 22) & (rows > -10)).astype(np.int32)
    bent[5:12, 27:34] = 2
    found = cut(deep(bent), h=0.5, min_rest_px=0.0)
    assert found.max() == 2
    np.testing.assert_array_equal(found > 0, bent > 0)
    np.testing.assert_array_equal(again(deep(bent), components(bent > 0)), components(bent > 0))


def test_a_nucleus_longer_than_the_reach_stays_as_it_is() -> None:
    truth = turned_ellipse(30, 36, 9)
    np.testing.assert_array_equal(again(deep(truth), truth, reach_px=10.0), truth)


@given(
    arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32)),
    arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32)),
)
def test_nuclei_cover_the_mask(nucleus: NDArray, share: NDArray) -> None:
    nucleus_map = NucleusMap(nucleus, nucleus * share)
    assert_sound(cut(nucleus_map, min_rest_px=2.0), nucleus > 0.5)
    assert_sound(again(nucleus_map, components(nucleus > 0.5)), nucleus > 0.5)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 60), st.sampled_from([0.0, 1.0]))
def test_a_clump_is_cut_alike_wherever_it_lies(seed: int, down: int, right: int, smoothing: float) -> None:
    """In eighths, so that much is equal; amid nothing, and amid others that end a few pixels away."""
    generator = np.random.default_rng(seed)
    clump = TOUCHING > 0
    values = generator.integers(0, 9, (2, *clump.shape)).astype(np.float32) / 8
    nucleus = np.where(clump, 0.5 + values[0] / 2, 0).astype(np.float32)
    boundary = nucleus * values[1]
    alone = cut(NucleusMap(nucleus, boundary), smoothing_px=smoothing, min_rest_px=5.0)
    larger = [np.zeros((140, 160), np.float32) for _ in range(2)]
    place = slice(down, down + clump.shape[0]), slice(right, right + clump.shape[1])
    for there, part in zip(larger, (nucleus, boundary), strict=True):
        there[place] = part
    larger[0][132:, 142:] = 0.9
    found = cut(NucleusMap(larger[0], larger[1]), smoothing_px=smoothing, min_rest_px=5.0)
    np.testing.assert_array_equal(found[place], alone)


# Refining


def test_a_wrong_border_is_moved_to_where_the_nuclei_meet() -> None:
    truth = discs((30, 28, 13), (30, 52, 13))
    wrong = np.where(truth > 0, np.where(np.indices(truth.shape)[1] < 45, 1, 2), 0).astype(np.int32)
    assert wrong_pixels(truth, wrong) > 60
    better = again(deep(truth), wrong)
    assert_sound(better, truth > 0)
    assert wrong_pixels(truth, better) <= 10
    np.testing.assert_array_equal(again(deep(truth), better), better)


def test_without_a_boundary_the_distance_to_the_background_is_the_height() -> None:
    truth = discs((30, 28, 13), (30, 50, 13))
    wrong = np.where(truth > 0, np.where(np.indices(truth.shape)[1] < 43, 1, 2), 0).astype(np.int32)
    better = again(NucleusMap((truth > 0).astype(np.float32)), wrong)
    assert_sound(better, truth > 0)
    assert wrong_pixels(truth, better) <= 15 < wrong_pixels(truth, wrong)


def test_what_is_refused() -> None:
    nucleus_map = deep(TOUCHING)
    for name, value in (("rise", 0.0), ("overlap", 1.0), ("reach_px", 0.0), ("min_rest_px", -1.0)):
        with pytest.raises(UserError, match=name):
            cut(nucleus_map, **{name: value})
    with pytest.raises(UserError, match=r"instances\.method = 'boundary' .*model\.num_classes = 3"):
        cut(NucleusMap(nucleus_map.nucleus))
    with pytest.raises(ValueError, match="differ in size"):
        again(nucleus_map, TOUCHING[1:])
