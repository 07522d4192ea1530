"""Ensembles: what each operator makes of the models' maps."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg_jax.ensemble import (
    OPERATORS,
    EnsembleError,
    Model,
    Operation,
    calibrated,
    check_scores,
    combine,
    parse,
    vote,
)
from nucseg_jax.instances import components
from nucseg_jax.maps import NucleusMap

NAMES = ("unet", "psp_segnet", "self_correction", "a", "b", "c")


def row(*values):
    """A label map one pixel high."""
    return np.array([values], dtype=np.int32)


def pixels(*probabilities, boundary=None):
    """A nucleus map one pixel high."""
    edge = None if boundary is None else np.array([boundary], np.float32)
    return NucleusMap(np.array([probabilities], np.float32), edge)


def span(start, stop, width=24):
    """One nucleus, in columns start … stop - 1 of a row."""
    return intervals((start, stop), width=width)


def intervals(*ranges, width=24):
    """Nuclei 1, 2, …, each a range of columns of a row."""
    label_map = np.zeros((1, width), np.int32)
    for nucleus, (start, stop) in enumerate(ranges, 1):
        label_map[0, start:stop] = nucleus
    return label_map


def of_ids(label_map):
    """A map that `to_ids` splits into these very nuclei."""
    return NucleusMap(label_map.astype(np.float32))


def to_ids(_, nucleus_map):
    return nucleus_map.nucleus.astype(np.int32)


def combined(text, maps, scores=None):
    """The map that the pixel operators of the text give to `split`."""
    given_to_split = []

    def split(_, nucleus_map):
        given_to_split.append(nucleus_map)
        return components(nucleus_map.mask)

    label_map = combine(parse(text, maps), maps, split, scores)
    (result,) = given_to_split
    np.testing.assert_array_equal(label_map, components(result.mask))
    return result


# --- thresholds ------------------------------------------------------------------------------


def test_a_threshold_is_moved_to_a_half():
    moved = calibrated(pixels(0.0, 0.2, 0.4, 0.41, 0.7, 1.0, boundary=[0.0, 0.1, 0.4, 0.0, 0.35, 0.0]), 0.4)
    np.testing.assert_allclose(moved.nucleus, [[0.0, 0.25, 0.5, 0.5083, 0.75, 1.0]], atol=1e-4)
    np.testing.assert_allclose(moved.boundary, [[0.0, 0.125, 0.5, 0.0, 0.375, 0.0]], atol=1e-4)
    assert moved.mask.tolist() == [[False, False, False, True, True, True]]


@given(
    arrays(np.float32, (1, 20), elements=st.floats(0, 1, width=32)),
    st.floats(0.01, 0.99),
)
def test_masks_are_those_of_each_models_own_threshold(probabilities, threshold):
    moved = calibrated(NucleusMap(probabilities), threshold)
    np.testing.assert_array_equal(moved.mask, probabilities > np.float32(threshold))
    assert moved.nucleus.min() >= 0 and moved.nucleus.max() <= 1


def test_masks_of_different_thresholds_are_combined():
    """At 0.5 for all, as once, nothing of `a` would be left."""
    maps = {"a": calibrated(pixels(0.45, 0.3), 0.4), "b": calibrated(pixels(0.55, 0.65), 0.6)}
    assert combined("or(a, b)", maps).mask.tolist() == [[True, True]]
    assert combined("and(a, b)", maps).mask.tolist() == [[False, False]]


# --- pixels ----------------------------------------------------------------------------------

THREE = {
    "a": pixels(0.9, 0.9, 0.9, 0.4, 0.0),
    "b": pixels(0.8, 0.6, 0.2, 0.4, 0.1),
    "c": pixels(0.7, 0.3, 0.1, 0.9, 0.2),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [0.9, 0.9, 0.9, 0.4, 0]),
        ("or(a, b)", [1, 1, 1, 0, 0]),
        ("or(a, b, c)", [1, 1, 1, 1, 0]),
        ("and(a, b)", [1, 1, 0, 0, 0]),
        ("and(a, b, c)", [1, 0, 0, 0, 0]),
        ("majority(a, b, c)", [1, 1, 0, 0, 0]),
        ("majority(a, b)", [1, 1, 0, 0, 0]),  # one of two is not more than half
        ("majority(a, b, c, c)", [1, 0, 0, 0, 0]),  # nor are two of four
        ("mean(a, b, c)", [0.8, 0.6, 0.4, 1.7 / 3, 0.1]),
        ("weighted(a, b)", [0.875, 0.825, 0.725, 0.4, 0.025]),  # ¾ a + ¼ b
        ("or(c, and(a, b))", [1, 1, 0, 1, 0]),
        ("mean(a, or(b, c))", [0.95, 0.95, 0.45, 0.7, 0]),
        ("and(a, mean(b, c))", [1, 0, 0, 0, 0]),
        ("or(weighted(a, b), c)", [1, 1, 1, 1, 0]),
    ],
)
def test_pixel_operators(text, expected):
    result = combined(text, THREE, {"a": 0.9, "b": 0.3})
    np.testing.assert_allclose(result.nucleus, [expected], rtol=1e-6)
    assert result.nucleus.dtype == np.float32
    assert result.boundary is None


def test_one_half_is_not_nucleus():
    assert combined("or(a, b)", {"a": pixels(0.5), "b": pixels(0.5)}).nucleus == 0


@pytest.mark.parametrize("operator", ["or", "and", "majority", "mean"])
def test_the_boundary_is_the_mean_of_those_there_are(operator):
    maps = {
        "a": pixels(1, 1, boundary=[0.2, 0.8]),
        "b": pixels(1, 0),
        "c": pixels(1, 0, boundary=[0.6, 0.0]),
    }
    result = combined(f"{operator}(a, b, c)", maps)
    assert result.boundary is not None and result.boundary.dtype == np.float32
    np.testing.assert_allclose(result.boundary, [[0.4, 0.4]], rtol=1e-6)


def test_weighted_weighs_the_boundary_too():
    maps = {"a": pixels(1, boundary=[0.2]), "b": pixels(1), "c": pixels(1, boundary=[0.6])}
    boundary = combined("weighted(a, b, c)", maps, {"a": 0.3, "b": 0.8, "c": 0.1}).boundary
    np.testing.assert_allclose(boundary, [[(0.3 * 0.2 + 0.1 * 0.6) / 0.4]], rtol=1e-6)


def test_a_nested_boundary_is_the_mean_of_the_operators():
    maps = {
        "a": pixels(1, boundary=[1.0]),
        "b": pixels(1, boundary=[0.0]),
        "c": pixels(1, boundary=[0.5]),
        "d": pixels(1),
    }
    assert combined("or(a, and(b, c, d))", maps).boundary == (1 + 0.25) / 2


def test_what_split_makes_is_the_result():
    expected = row(3, 0, 7, 0, 0)
    assert combine(parse("or(a, b)", THREE), THREE, lambda *_: expected) is expected


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (None, r"^weighted\(a, b\) needs a validation score of 'a', which has none"),
        ({"a": 0.5, "c": 1.0}, "needs a validation score of 'b'"),
        ({"a": 0.5, "b": 0.0}, "needs scores above 0, got 0.0 of 'b'"),
        ({"a": float("nan"), "b": 0.5}, "got nan of 'a'"),
        ({"a": float("inf"), "b": 0.5}, "got inf of 'a'"),
    ],
)
def test_weighted_needs_a_score_of_each_model(scores, message):
    with pytest.raises(EnsembleError, match=message):
        combine(parse("or(c, weighted(a, b))", THREE), THREE, to_ids, scores)


def test_scores_are_not_needed_elsewhere():
    check_scores(parse("vote(or(a, b), mean(c, a))", NAMES), {})
    check_scores(parse("or(c, weighted(a, b))", NAMES), {"a": 0.1, "b": 0.2})


def test_maps_of_different_shapes_are_named():
    maps = {"a": pixels(1, 1), "b": pixels(1, 1, 1), "c": pixels(1, 1)}
    with pytest.raises(ValueError, match=r"differ in shape: a \(1, 2\), b \(1, 3\)$"):
        combine(parse("or(a, b)", maps), maps, to_ids)
    combine(parse("or(a, c)", maps), maps, to_ids)  # b has no part in it


def test_a_model_without_a_map_is_named():
    with pytest.raises(ValueError, match="no map of d, e$"):
        combine(parse("or(a, d, e)", "ade"), THREE, to_ids)


def test_vote_gives_no_pixels():
    inner = Operation("vote", (Model("a"), Model("b")))
    with pytest.raises(ValueError, match="'vote' does not combine masks"):
        combine(Operation("or", (inner, Model("c"))), THREE, to_ids)


# --- nuclei ----------------------------------------------------------------------------------


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


LEFT, SHORT_LEFT = (0, 10), (0, 8)
RIGHT, SHORT_RIGHT = (8, 18), (10, 18)  # LEFT and RIGHT dispute columns 8 and 9


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


TIE = [intervals(LEFT), intervals(LEFT, SHORT_RIGHT), intervals(SHORT_LEFT, RIGHT), intervals(RIGHT)]


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


def test_vote_splits_each_argument():
    maps = {"a": pixels(1, 1, 0, 1, 1, 0), "b": pixels(1, 1, 0, 0, 1, 1), "c": pixels(1, 0, 1, 1, 1, 1)}
    split = []

    def by_components(_, nucleus_map):
        split.append(nucleus_map.mask.astype(int).tolist())
        return components(nucleus_map.mask)

    label_map = combine(parse("vote(a, and(b, c), mean(a, b, b))", maps), maps, by_components)
    both, mean = [[1, 0, 0, 0, 1, 1]], [[1, 1, 0, 0, 1, 1]]
    assert sorted(split) == sorted([[[1, 1, 0, 1, 1, 0]], both, mean])
    # Columns 0 and 1 of a and of the mean, 4 and 5 of the other two.
    np.testing.assert_array_equal(label_map, [[1, 1, 0, 0, 2, 2]])


# --- order -----------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_order_of_arguments_changes_nothing(operator):
    rng = np.random.default_rng(0)
    maps = {name: NucleusMap(*rng.random((2, 40, 40), dtype=np.float32)) for name in "abcd"}
    scores = {"a": 0.1, "b": 0.7, "c": 0.31, "d": 0.53}
    results = set()
    for order in itertools.permutations("abcd"):
        seen = []

        def split(_, nucleus_map, seen=seen):
            seen.append(nucleus_map.nucleus.tobytes() + nucleus_map.boundary.tobytes())
            return components(nucleus_map.mask)

        label_map = combine(parse(f"{operator}({','.join(order)})", maps), maps, split, scores)
        results.add((label_map.tobytes(), *seen))
    assert len(results) == 1  # to the last bit


def test_nor_does_it_where_votes_tie():
    maps = {name: of_ids(label_map) for name, label_map in zip("abcd", TIE, strict=True)}
    for order in itertools.permutations("abcd"):
        label_map = combine(parse(f"vote({','.join(order)})", maps), maps, to_ids)
        np.testing.assert_array_equal(label_map, intervals(LEFT, SHORT_RIGHT))


def test_nor_does_the_order_inside_an_argument():
    a, x, y, d = map(of_ids, TIE)
    maps = {"a": a, "x": x, "y": y, "d": d, "z": a}
    # The `or` of a and z is the earliest voter, even if it is written or(z, a), which sorts after or(d, d).
    for text in ("vote(or(a, z), x, y, or(d, d))", "vote(x, or(d, d), or(z, a), y)"):
        label_map = combine(parse(text, maps), maps, to_ids)
        np.testing.assert_array_equal(label_map, intervals(LEFT, SHORT_RIGHT))
