"""Ensembles: what each operator makes of the models' maps; votes on nuclei have a file of their own."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg_jax.evaluation.ensemble import (
    OPERATORS,
    EnsembleError,
    Model,
    Operation,
    calibrated,
    check_scores,
    combine,
    parse,
)
from nucseg_jax.instances import NucleusMap, components
from tests.evaluation.ensemble.rows import LEFT, SHORT_RIGHT, TIE, intervals, of_ids, pixels, row, to_ids

NAMES = ("unet", "psp_segnet", "self_correction", "a", "b", "c")


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
