"""The scores: by hand, of empty maps, and against plain loops over all pairs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks import metrics_loops
from nucseg_jax.metrics import (
    PixelCounts,
    aji,
    aji_plus,
    detection_f1,
    detection_precision,
    detection_recall,
    overlaps,
    panoptic_quality,
    remove_small,
    score,
)
from tests.metrics.drawn_maps import blocks, discs, noise, row, strangers, tessellations

F1_AT_IOU = tuple(f"f1_iou_{percent}" for percent in (50, 60, 70, 80, 90))
OF_NUCLEI = ("aji", "aji_plus", "pq", "dq", "sq", *F1_AT_IOU, "detection_precision", "detection_recall")
SCORES = (*OF_NUCLEI, "dice", "f1_macro")
COUNTS = ("count_true", "count_pred", "count_error")
LABEL_MAPS = arrays(np.int32, (6, 7), elements=st.sampled_from([0, 0, 1, 2, 5, 70_000]))


# --- by hand ---------------------------------------------------------------------------------


def test_aji_counts_a_prediction_chosen_twice_with_its_full_union_each_time():
    truth = row(1, 1, 1, 2, 2, 2, 0, 0)
    prediction = row(7, 7, 7, 7, 7, 7, 0, 9)
    # 1–7: 3 of 6; 2–7: 3 of 6; 9 is nobody's choice: 1.
    assert score(truth, prediction)["aji"] == pytest.approx((3 + 3) / (6 + 6 + 1))
    # One to one: one nucleus has 7 (3 of 6), the other is left over (3), as is 9 (1).
    assert score(truth, prediction)["aji_plus"] == pytest.approx(3 / (6 + 3 + 1))


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        (3, 8, 2 / (6 + 6)),  # takes `inner`: 2 of 6, leaves `outer`: 6
        (8, 3, 3 / (9 + 2)),  # takes `outer`: 3 of 9, leaves `inner`: 2
    ],
)
def test_aji_gives_a_tie_to_the_lowest_id(inner, outer, expected):
    truth = row(1, 1, 1, 1, 1, 1, 0, 0, 0)
    # IoU of `inner` 2 / 6, of `outer` 3 / (6 + 6 - 3): both a third.
    prediction = row(inner, inner, 0, *[outer] * 6)
    assert score(truth, prediction)["aji"] == pytest.approx(expected)


def test_aji_adds_the_area_of_a_true_nucleus_without_overlap():
    truth = row(1, 1, 1, 0, 4, 4, 0)
    prediction = row(0, 2, 2, 2, 0, 0, 0)
    # 1–2: 2 of 4; 4 is missed: 2.
    assert score(truth, prediction)["aji"] == pytest.approx(2 / (4 + 2))


def test_panoptic_quality():
    truth = row(1, 1, 1, 1, 0, 2, 2, 0, 0, 3, 0, 0)
    prediction = row(4, 4, 4, 0, 0, 5, 5, 5, 0, 0, 0, 6)
    # 1–4: 3/4, 2–5: 2/3; 3 is missed, 6 is false: DQ = 2 / (2 + 1/2 + 1/2).
    dq, sq = 2 / 3, (3 / 4 + 2 / 3) / 2
    pq_dq_sq = panoptic_quality(overlaps(truth, prediction))
    assert pq_dq_sq == pytest.approx((dq * sq, dq, sq))


def test_iou_of_exactly_one_half_is_no_match():
    result = score(row(1, 1, 0), row(1, 0, 0))
    assert (result["pq"], result["dq"], result["sq"]) == (0, 0, 0)


def test_detection_f1_at_a_higher_threshold():
    table = overlaps(row(1, 1, 1, 1, 0, 2, 2), row(4, 4, 4, 0, 0, 5, 5))  # IoU 3/4 and 1
    assert detection_f1(table, 0.7) == 1
    assert detection_f1(table, 0.75) == 0.5


@pytest.mark.parametrize("detection", [detection_f1, detection_precision, detection_recall])
@pytest.mark.parametrize("min_iou", [0.49, 1.0, np.nan])
def test_detection_rejects_thresholds_without_unique_matches(detection, min_iou):
    with pytest.raises(ValueError, match="min_iou"):
        detection(overlaps(row(1), row(1)), min_iou)


def test_f1_at_iou_thresholds_counts_pairs_above_not_at_them():
    ten = [1] * 10
    for shared in range(1, 11):
        # One nucleus of ten pixels, and of it the first `shared`: IoU = shared / 10.
        result = score(row(*ten), row(*[3] * shared, *[0] * (10 - shared)))
        assert [result[key] for key in F1_AT_IOU] == [shared > t for t in (5, 6, 7, 8, 9)]


def test_precision_recall_and_count_error():
    truth = row(1, 1, 1, 0, 2, 2, 0, 3, 3, 0, 4)
    prediction = row(9, 9, 9, 0, 0, 2, 2, 0, 0, 0, 0)  # 1–9: IoU 1; 2–2: 1/3; 3 and 4 are missed
    result = score(truth, prediction)
    assert (result["detection_precision"], result["detection_recall"]) == (1 / 2, 1 / 4)
    assert result["f1_iou_50"] == result["dq"] == pytest.approx(1 / 3)
    assert [result[key] for key in COUNTS] == [4, 2, -2]
    assert score(prediction, truth)["count_error"] == 2
    table = overlaps(truth, prediction)
    assert (detection_precision(table, 0.9), detection_recall(table, 0.9)) == (1 / 2, 1 / 4)


def test_score_has_these_keys():
    assert set(score(row(1), row(1))) == {*SCORES, *COUNTS}
    assert all(type(value) is float for value in score(row(1), row(1)).values())


def test_dice_and_macro_f1():
    # tp 2, fp 1, fn 1, tn 2: nucleus 4/6, background 4/6; one more true background pixel: 6/8.
    result = score(row(1, 1, 2, 0, 0, 0, 0), row(1, 1, 0, 3, 0, 0, 0))
    assert result["dice"] == pytest.approx(2 / 3)
    assert result["f1_macro"] == pytest.approx((2 / 3 + 3 / 4) / 2)


# --- empty cases -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 5), (0, 0)])
def test_both_empty_is_perfect(shape):
    empty = np.zeros(shape, np.int32)
    result = score(empty, empty)
    assert [result[key] for key in SCORES] == [1.0] * len(SCORES)
    assert [result[key] for key in COUNTS] == [0, 0, 0]
    table = overlaps(empty, empty)
    assert detection_f1(table) == detection_precision(table) == detection_recall(table) == 1


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_is_zero(swap):
    pair = (np.zeros((1, 4), np.int32), row(1, 1, 0, 2))
    result = score(*(pair[::-1] if swap else pair))
    assert [result[key] for key in SCORES if key != "f1_macro"] == [0.0] * (len(SCORES) - 1)
    assert result["count_error"] == (2 if not swap else -2)
    # Background: tn 1, and 3 wrong pixels: 2 / 5; half of it with the nucleus F1 of 0.
    assert result["f1_macro"] == pytest.approx(1 / 5)
    assert {result["count_true"], result["count_pred"]} == {0.0, 2.0}


def test_nuclei_that_never_meet_score_zero():
    result = score(row(1, 1, 0, 0), row(0, 0, 1, 1))
    assert [result[key] for key in SCORES] == [0.0] * len(SCORES)


def test_maps_without_background_keep_all_their_nuclei():
    result = score(row(1, 1, 2, 2), row(3, 3, 3, 3))
    assert (result["count_true"], result["count_pred"]) == (2, 1)
    assert result["aji"] == pytest.approx((2 + 2) / (4 + 4))
    assert score(row(1, 1), row(1, 1))["f1_macro"] == 1


# --- any maps --------------------------------------------------------------------------------


def best_assignments(truth, prediction):
    """AJI+ of every assignment of the highest total IoU (there may be several), by trying them all."""
    pairs = metrics_loops.compare(truth, prediction)
    true_ids, predicted_ids = (list(metrics_loops.areas(label_map)) for label_map in (truth, prediction))
    area = int(np.count_nonzero(truth)) + int(np.count_nonzero(prediction))
    if not area:
        return [1.0]
    found = []
    slots = predicted_ids + [None] * len(true_ids)
    for choice in set(itertools.permutations(slots, len(true_ids))):
        chosen = [pairs[pair] for pair in zip(true_ids, choice, strict=True) if pair in pairs]
        numerator = sum(i for i, _ in chosen)
        # Areas of both maps hold each chosen intersection twice, its union once.
        found.append((sum(i / u for i, u in chosen), numerator / (area - numerator)))
    best = max(total for total, _ in found)
    return [value for total, value in found if total > best - 1e-12]


@pytest.mark.parametrize("kind", [blocks, discs, tessellations, noise, strangers])
def test_every_score_equals_a_plain_loop_over_all_pairs(kind):
    for seed in range(100):
        truth, prediction = kind(np.random.default_rng(seed))
        result, expected = score(truth, prediction), metrics_loops.score(truth, prediction)
        if kind is blocks:
            plus = result["aji_plus"]
            assert min(abs(plus - value) for value in best_assignments(truth, prediction)) < 1e-9
            expected["aji_plus"] = plus  # where assignments tie, the loops' may be another one
        assert result == pytest.approx(expected, abs=1e-9, rel=0), f"{kind.__name__}, seed {seed}"
        assert overlaps(truth, prediction).pixels == PixelCounts.of(truth, prediction)


@given(label_map=LABEL_MAPS)
@settings(max_examples=50, deadline=None)
def test_a_map_against_itself_is_perfect(label_map):
    result = score(label_map, label_map)
    assert [result[key] for key in SCORES] == [1.0] * len(SCORES)


@given(truth=LABEL_MAPS, prediction=LABEL_MAPS)
@settings(max_examples=50, deadline=None)
def test_scores_are_in_range_and_the_table_is_complete(truth, prediction):
    result = score(truth, prediction)
    assert all(0 <= result[key] <= 1 for key in SCORES)
    table = overlaps(truth, prediction)
    assert table.intersection_px.sum() == np.count_nonzero((truth > 0) & (prediction > 0))
    assert table.truth_area_px.sum() == np.count_nonzero(truth)
    assert table.prediction_area_px.sum() == np.count_nonzero(prediction)


def squares(rng, ids):
    """A 7×7 grid of squares of various sizes and places, one for each of the 49 ids."""
    label_map = np.zeros((84, 84), np.int32)
    for place, nucleus in enumerate(ids):
        top, left = 12 * (place // 7) + rng.integers(0, 4), 12 * (place % 7) + rng.integers(0, 4)
        height, width = rng.integers(4, 13, 2)
        label_map[top : top + height, left : left + width] = nucleus
    return label_map


@pytest.mark.parametrize("seed", range(5))
def test_which_id_a_nucleus_has_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    truth, prediction = squares(rng, range(1, 50)), squares(rng, range(1, 50))
    new_id = np.concatenate([[0], rng.choice(np.arange(1, 60_000), 49, replace=False)])
    # No two IoUs tie here, so AJI's rule for ties (the lowest id) has no say.
    assert score(new_id[truth], new_id[prediction]) == pytest.approx(score(truth, prediction))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.uint64])
def test_any_integer_dtype(dtype):
    truth, prediction = row(1, 1, 0, 2), row(1, 0, 0, 2)
    assert score(truth.astype(dtype), prediction) == score(truth, prediction)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_ids_too_large_for_a_table(dtype):
    truth, prediction = row(1, 1, 0, 2), row(1, 0, 0, 2)
    far = truth.astype(dtype) * dtype(10**15)
    assert score(far, prediction) == score(truth, prediction)
    assert score(far[:, :2], prediction[:, :2]) == score(truth[:, :2], prediction[:, :2])
    assert remove_small(far, 2).tolist() == [[10**15, 10**15, 0, 0]]


def test_helpers_agree_with_score():
    truth, prediction = discs(np.random.default_rng(3))
    table, result = overlaps(truth, prediction), score(truth, prediction)
    assert (aji(table), aji_plus(table)) == (result["aji"], result["aji_plus"])
