"""`vote`: the nuclei that more than half of the label maps have, by hand and against the definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg_jax.evaluation.ensemble import vote
from tests.evaluation.ensemble.rows import LEFT, RIGHT, SHORT_LEFT, SHORT_RIGHT, TIE, intervals, span


def test_a_nucleus_that_two_of_three_have_is_their_intersection():
    maps = [intervals((2, 10)), intervals((3, 12)), intervals((15, 20))]  # the third is alone with its own
    np.testing.assert_array_equal(vote(maps), span(3, 10))


def test_a_nucleus_that_three_of_three_have_is_what_two_share():
    np.testing.assert_array_equal(vote([span(2, 12), span(4, 14), span(5, 15)]), span(4, 14))


def test_two_must_agree():
    np.testing.assert_array_equal(
        vote([intervals((0, 5), (10, 16)), intervals((11, 16), (20, 24))]), span(11, 16)
    )


def test_an_iou_of_one_half_is_another_nucleus():
    assert not vote([span(0, 8), span(0, 4)]).any()
    assert vote([span(0, 8), span(0, 5)]).any()


def test_nuclei_may_be_the_same_through_a_third():
    # First and last: 4 of 16 px; each with the middle one: 7 of 13.
    np.testing.assert_array_equal(vote([span(0, 10), span(3, 13), span(6, 16)]), span(3, 13))


def test_nuclei_that_touch_stay_apart():
    maps = [intervals((0, 6), (6, 12)), intervals((0, 7), (7, 12)), intervals((1, 6), (6, 13))]
    np.testing.assert_array_equal(vote(maps), intervals((0, 6), (6, 12)))


def test_two_that_split_outvote_one_that_merges():
    parted = intervals((0, 6), (6, 12))
    np.testing.assert_array_equal(vote([span(0, 12), parted, parted]), parted)
    np.testing.assert_array_equal(vote([span(0, 12), span(0, 12), parted]), span(0, 12))


def test_a_group_has_one_nucleus_of_each_voter():
    # a–c₂ and b–c₁ have 6 of 10 px, and are joined first; a–b with 7 of 13 would bring c₁ and c₂ together.
    a, b, c = span(0, 10), span(3, 13), intervals((7, 13), (0, 6))
    np.testing.assert_array_equal(vote([a, b, c]), intervals((0, 6), (7, 13)))


def test_a_disputed_pixel_goes_to_the_group_with_more_members_there():
    maps = [
        intervals(LEFT),
        intervals(LEFT),
        intervals(SHORT_LEFT, RIGHT),
        intervals(RIGHT),
        intervals(RIGHT),
    ]
    # Both groups have three members of the five voters; there two of the left, three of the right.
    for order in (maps, maps[::-1]):
        np.testing.assert_array_equal(vote(order), intervals(SHORT_LEFT, RIGHT))


def test_a_pixel_disputed_by_as_many_goes_to_the_larger_group():
    maps = [intervals(LEFT), intervals(LEFT, SHORT_RIGHT), intervals(LEFT, SHORT_RIGHT)]
    maps += [intervals(SHORT_LEFT, RIGHT), intervals(RIGHT), intervals(RIGHT)]
    # There three members of each; the left group has four in all, the right one five.
    for order in (maps, maps[::-1]):
        np.testing.assert_array_equal(vote(order), intervals(SHORT_LEFT, RIGHT))


def test_a_tie_of_two_groups_goes_to_the_earlier_label_map():
    # Both groups have three members of the four voters, two of them there.
    np.testing.assert_array_equal(vote(TIE), intervals(LEFT, SHORT_RIGHT))
    np.testing.assert_array_equal(vote(TIE[::-1]), intervals(SHORT_LEFT, RIGHT))


def test_a_tie_of_two_pairs_goes_to_the_earlier_label_maps():
    a, b, c = (intervals(*r, width=25) for r in ([(0, 20)], [(5, 25)], [(0, 12), (13, 25)]))
    # a–b: 15 of 25 px; a with c's left one and b with its right one: 12 of 20.
    np.testing.assert_array_equal(vote([a, b, c]), intervals((0, 20), width=25))
    np.testing.assert_array_equal(vote([c, a, b]), c)


def test_an_empty_voter_counts():
    empty = np.zeros((1, 24), np.int32)
    np.testing.assert_array_equal(vote([span(2, 8), span(2, 8), empty]), span(2, 8))
    for maps in ([span(2, 8), empty], [span(2, 8), span(2, 8), empty, empty], [empty] * 3):
        result = vote(maps)
        assert result.dtype == np.int32 and result.shape == (1, 24) and not result.any()


def test_ids_are_in_the_order_of_first_pixels():
    label_map = np.array([[0, 9, 0, 4], [70_000, 0, 4, 4]])
    np.testing.assert_array_equal(vote([label_map, label_map]), [[0, 1, 0, 2], [3, 0, 2, 2]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.uint64])
def test_any_integer_dtype(dtype):
    result = vote([intervals((0, 4), (4, 9)).astype(dtype)] * 3)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, intervals((0, 4), (4, 9)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((1, 24), np.float32), "label map 1 must hold integer ids, got float32"),
        (np.full((1, 24), -1), "label map 1 must not hold negative ids"),
        (np.zeros((2, 24), np.int32), "differ in shape"),
    ],
)
def test_vote_rejects_what_is_no_label_map_of_the_same_shape(bad, message):
    with pytest.raises(ValueError, match=message):
        vote([span(0, 4), bad])


def reference_vote(label_maps):
    """The definition, nucleus by nucleus, as sets of pixels."""
    nuclei = [
        (voter, nucleus, set(np.flatnonzero(label_map == nucleus)))
        for voter, label_map in enumerate(label_maps)
        for nucleus in np.unique(label_map[label_map > 0])
    ]
    same = []
    for (a, first), (b, second) in itertools.combinations(enumerate(nuclei), 2):
        iou = len(first[2] & second[2]) / len(first[2] | second[2])
        if first[0] != second[0] and iou > 0.5:
            same.append((-iou, first[0], first[1], second[0], second[1], a, b))
    groups = [{i} for i in range(len(nuclei))]
    for *_, a, b in sorted(same):
        (of_a,), (of_b,) = [g for g in groups if a in g], [g for g in groups if b in g]
        if not {nuclei[i][0] for i in of_a} & {nuclei[i][0] for i in of_b}:
            groups = [g for g in groups if g not in (of_a, of_b)] + [of_a | of_b]
    owner = np.full(label_maps[0].size, -1)
    kept = sorted((g for g in groups if len(g) > len(label_maps) / 2), key=min)
    for pixel in range(owner.size):
        there = [sum(pixel in nuclei[i][2] for i in g) for g in kept]
        claims = [(n, len(g), -k) for k, (n, g) in enumerate(zip(there, kept, strict=True)) if n > len(g) / 2]
        if claims:
            owner[pixel] = -max(claims)[2]
    order = [k for k in dict.fromkeys(owner.tolist()) if k >= 0]
    return np.array([order.index(k) + 1 if k >= 0 else 0 for k in owner]).reshape(label_maps[0].shape)


def views(rng, voters):
    """What so many voters make of nuclei that they see shifted, merged, or not at all."""
    cells = np.kron(np.arange(1, 7).reshape(2, 3), np.ones((4, 4), int)) * (rng.random((8, 12)) < 0.95)
    maps = []
    for _ in range(voters):
        label_map = np.roll(cells, rng.integers(-1, 2, 2), axis=(0, 1))
        merged, lost = rng.integers(1, 7, 2)
        label_map = np.where(label_map == merged, rng.integers(1, 7), label_map)
        maps.append(np.where((label_map == lost) | (rng.random(cells.shape) < 0.05), 0, label_map))
    return maps


@pytest.mark.parametrize("voters", [2, 3, 4, 5, 6])
def test_vote_equals_its_definition(voters):
    rng = np.random.default_rng(voters)
    for _ in range(30):
        maps = views(rng, voters)
        np.testing.assert_array_equal(vote(maps), reference_vote(maps))


LABEL_MAPS = arrays(np.int32, (3, 5), elements=st.sampled_from([0, 1, 1, 2, 7]))


@given(st.lists(LABEL_MAPS, min_size=2, max_size=6))
@settings(max_examples=50)
def test_vote_equals_its_definition_on_any_maps(maps):
    result = vote(maps)
    np.testing.assert_array_equal(result, reference_vote(maps))
    assert result.dtype == np.int32
    assert set(np.unique(result)) | {0} == set(range(result.max() + 1))


@given(LABEL_MAPS, st.integers(2, 5))
@settings(max_examples=30)
def test_voters_that_agree_get_what_they_said(label_map, voters):
    result = vote([label_map] * voters)
    pairs = set(zip(label_map.ravel().tolist(), result.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(label_map)) == len(np.unique(result))
