"""Scores where only a part of the image is annotated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax.metrics import PixelCounts, cut_to_annotated, overlaps, score
from tests.metrics.drawn_maps import discs, row

KINDS = st.integers(0, 2**32 - 1)


def ignored(*pixels):
    return np.array([pixels], dtype=bool)


# --- by hand ---------------------------------------------------------------------------------


def test_pixels_that_are_ignored_count_neither_as_pixels_nor_in_nuclei():
    truth = row(1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    prediction = row(5, 5, 5, 0, 0, 6, 6, 8, 8, 8)
    found = score(truth, prediction, ignored(0, 0, 0, 0, 0, 0, 1, 1, 1, 1))
    # 1–5: 3 of 4. 6 has half of its pixels outside and stays, with one; 8 lies outside.
    assert (found["count_true"], found["count_pred"]) == (1, 2)
    assert found["aji"] == pytest.approx(3 / (4 + 1))
    assert found["pq"] == pytest.approx(3 / 4 / 1.5)
    # Of six pixels three are right nucleus, one is missed, one false, one right background.
    assert found["dice"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    assert found["f1_macro"] == pytest.approx((3 / 4 + 2 * 1 / (2 * 1 + 1 + 1)) / 2)


def test_a_false_nucleus_that_lies_mostly_outside_is_left_out():
    """But its annotated pixel counts as one."""
    truth = row(1, 1, 0, 0, 0, 0)
    prediction = row(2, 2, 0, 3, 3, 3)
    found = score(truth, prediction, ignored(0, 0, 0, 0, 1, 1))
    assert found["count_pred"] == 1 and found["aji"] == found["pq"] == 1
    assert found["dice"] == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_a_nucleus_that_the_border_cuts_is_found_by_the_prediction_that_has_its_piece():
    """The truth has a third of it: the rest is not annotated. So a perfect prediction is perfect."""
    truth, prediction = row(1, 1, 0, 2, 0, 0), row(1, 1, 0, 2, 2, 2)
    found = score(truth, prediction, ignored(0, 0, 0, 0, 1, 1))
    assert found["count_true"] == found["count_pred"] == 2
    assert found["aji"] == found["aji_plus"] == found["pq"] == found["dice"] == 1


def test_a_truth_that_goes_on_outside_is_cut_and_left_out_likewise():
    truth, prediction = row(1, 1, 1, 2, 2, 2), row(4, 4, 4, 0, 0, 0)
    found = score(truth, prediction, ignored(0, 0, 0, 0, 1, 1))
    assert found["count_true"] == 1 and found["aji"] == 1, "nucleus 2 lies mostly outside"
    cut_truth, cut_prediction = cut_to_annotated(truth, prediction, ignored(0, 0, 1, 0, 1, 1))
    assert cut_truth.tolist() == [[1, 1, 0, 0, 0, 0]] and cut_prediction.tolist() == [[4, 4, 0, 0, 0, 0]]
    assert truth.tolist() == [[1, 1, 1, 2, 2, 2]], "the argument is not changed"


def test_annotated_pixels_without_a_nucleus_score_as_an_empty_image():
    found = score(row(0, 0, 0), row(0, 3, 3), ignored(0, 1, 1))
    assert found["aji"] == found["dice"] == found["pq"] == 1 and found["count_pred"] == 0


def test_a_mask_of_nothing_changes_nothing():
    for seed in range(5):
        truth, prediction = discs(np.random.default_rng(seed))
        assert score(truth, prediction, np.zeros(truth.shape, bool)) == score(truth, prediction)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((1, 2), bool), r"ignore and the label maps differ in shape: \(1, 2\) and \(1, 3\)"),
        (row(0, 1, 0), "ignore must be boolean, True where a pixel does not count, got int32"),
        (np.ones((1, 3), bool), "ignore is True everywhere: no pixel is left to score"),
        ("mask.png", r"ignore must be an array \[H, W\] of booleans, got str"),
    ],
)
def test_a_mask_that_is_none_is_refused_in_one_line(bad, message):
    with pytest.raises(ValueError, match=message) as error:
        score(row(0, 1, 1), row(0, 1, 1), bad)
    assert "\n" not in str(error.value)


# --- drawn ones ------------------------------------------------------------------------------


def drawn(seed):
    """Truth, prediction, and a rectangle that is annotated."""
    rng = np.random.default_rng(seed)
    truth, prediction = discs(rng)
    top, left = rng.integers(0, 20, 2)
    ignore = np.ones(truth.shape, bool)
    ignore[top : top + rng.integers(10, 30), left : left + rng.integers(10, 30)] = False
    return truth, prediction, ignore


def without_crossing(label_map, ignore):
    """The label map without nuclei on both sides of the border."""
    crossing = np.intersect1d(label_map[ignore], label_map[~ignore])
    return np.where(np.isin(label_map, crossing), 0, label_map)


@given(KINDS)
@settings(max_examples=60)
def test_where_no_nucleus_crosses_the_border_it_scores_what_lies_inside(seed):
    truth, prediction, ignore = drawn(seed)
    truth, prediction = (without_crossing(m, ignore) for m in (truth, prediction))
    found, inside = score(truth, prediction, ignore), [np.where(ignore, 0, m) for m in (truth, prediction)]
    expected = score(*inside)
    # The background inside is smaller than that of the whole image.
    pixels = PixelCounts.of(*(m[~ignore] for m in inside))
    assert found == {**expected, "f1_macro": pixels.f1_macro}


@given(KINDS)
@settings(max_examples=60)
def test_what_lies_outside_does_not_matter(seed):
    """New nuclei there, and other ones, change nothing while those that cross the border stay."""
    truth, prediction, ignore = drawn(seed)
    rng = np.random.default_rng(seed)
    changed = []
    for label_map in (truth, prediction):
        crossing = np.intersect1d(label_map[ignore], label_map[~ignore])
        free = ignore & ~np.isin(label_map, crossing[crossing > 0])
        strangers = int(label_map.max()) + rng.integers(0, 3, label_map.shape)
        strangers[strangers == label_map.max()] = 0
        changed.append(np.where(free, strangers, label_map))
    assert score(*changed, ignore) == score(truth, prediction, ignore)


@given(KINDS)
@settings(max_examples=60)
def test_a_prediction_that_is_the_truth_is_perfect(seed):
    """Whether the truth goes on outside or ends at the border."""
    truth, _, ignore = drawn(seed)
    for known in (truth, np.where(ignore, 0, truth)):
        found = score(known, truth, ignore)
        assert found["aji"] == found["pq"] == found["dice"] == found["f1_macro"] == 1
        assert found["count_error"] == 0


@given(KINDS)
@settings(max_examples=60)
def test_pixels_are_those_of_the_annotated_part(seed):
    truth, prediction, ignore = drawn(seed)
    expected = PixelCounts.of(truth[~ignore], prediction[~ignore])
    assert overlaps(truth, prediction, ignore).pixels == expected
    assert PixelCounts.of(truth > 0, prediction > 0, ignore) == expected
