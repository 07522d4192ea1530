"""The scores as plain loops over pairs of nuclei: what `nucseg_jax.metrics` is timed and tested against.

Masks of the whole image are compared for each pair that overlaps, as the challenge's MATLAB code
(Kumar et al., IEEE TMI 36(7), 2017) and HoVer-Net's Python (Graham et al., Medical Image Analysis 58, 2019)
do it. Those do it anew for every score; here all scores share the pairs, and pixels are counted by NumPy's
fastest way. Nothing of `nucseg_jax` is used.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Pairs = dict[tuple[int, int], tuple[int, int]]
"""(true id, predicted id) → (intersection, union) in pixels, of the pairs that overlap."""


def score(truth: NDArray, prediction: NDArray) -> dict[str, float]:
    """The keys and values of `nucseg_jax.metrics.score`, from the same label maps int [H, W]."""
    true_area, predicted_area = areas(truth), areas(prediction)
    pairs = compare(truth, prediction)
    scores = panoptic_quality(pairs, true_area, predicted_area)
    for percent in (50, 60, 70, 80, 90):
        scores[f"f1_iou_{percent}"] = detection(pairs, true_area, predicted_area, percent / 100)[2]
    precision, recall, _ = detection(pairs, true_area, predicted_area, 0.5)
    return scores | {
        "aji": aji(pairs, true_area, predicted_area),
        "aji_plus": aji_plus(pairs, true_area, predicted_area),
        "dice": pixel_f1(truth > 0, prediction > 0),
        "f1_macro": (pixel_f1(truth > 0, prediction > 0) + pixel_f1(truth == 0, prediction == 0)) / 2,
        "detection_precision": precision,
        "detection_recall": recall,
        "count_true": len(true_area),
        "count_pred": len(predicted_area),
        "count_error": len(predicted_area) - len(true_area),
    }


def areas(label_map: NDArray) -> dict[int, int]:
    """id → pixels, of the nuclei."""
    return {int(i): int(np.count_nonzero(label_map == i)) for i in np.unique(label_map) if i != 0}


def compare(truth: NDArray, prediction: NDArray) -> Pairs:
    """Intersection and union of every pair of nuclei that overlaps."""
    pairs: Pairs = {}
    for t in np.unique(truth):
        if t == 0:
            continue
        true_mask = truth == t
        for p in np.unique(prediction[true_mask]):
            if p == 0:
                continue
            predicted_mask = prediction == p
            intersection = int(np.count_nonzero(true_mask & predicted_mask))
            pairs[int(t), int(p)] = intersection, int(np.count_nonzero(true_mask | predicted_mask))
    return pairs


def aji(pairs: Pairs, true_area: dict[int, int], predicted_area: dict[int, int]) -> float:
    """Every true nucleus takes the predicted one of highest IoU, the lowest id of several."""
    best: dict[int, int] = {}
    best_iou: dict[int, float] = {}
    for t, p in sorted(pairs):
        intersection, union = pairs[t, p]
        if intersection / union > best_iou.get(t, 0.0):
            best[t], best_iou[t] = p, intersection / union
    return jaccard(list(best.items()), pairs, true_area, predicted_area)


def aji_plus(pairs: Pairs, true_area: dict[int, int], predicted_area: dict[int, int]) -> float:
    """One to one, of the highest total IoU, by the matrix of all nuclei."""
    true_ids, predicted_ids = list(true_area), list(predicted_area)
    iou = np.zeros((len(true_ids), len(predicted_ids)))
    for (t, p), (intersection, union) in pairs.items():
        iou[true_ids.index(t), predicted_ids.index(p)] = intersection / union
    rows, columns = linear_sum_assignment(-iou)
    chosen = [(true_ids[row], predicted_ids[column]) for row, column in zip(rows, columns, strict=True)]
    return jaccard([pair for pair in chosen if pair in pairs], pairs, true_area, predicted_area)


def jaccard(
    chosen: list[tuple[int, int]], pairs: Pairs, true_area: dict[int, int], predicted_area: dict[int, int]
) -> float:
    """Intersections of the chosen pairs over their unions and the areas of the nuclei in none of them."""
    if not true_area and not predicted_area:
        return 1.0
    intersection = union = 0
    for pair in chosen:
        intersection += pairs[pair][0]
        union += pairs[pair][1]
    with_partner, taken = {t for t, _ in chosen}, {p for _, p in chosen}
    for t, area in true_area.items():
        if t not in with_partner:
            union += area
    for p, area in predicted_area.items():
        if p not in taken:
            union += area
    return intersection / union


def detection(
    pairs: Pairs, true_area: dict[int, int], predicted_area: dict[int, int], min_iou: float
) -> tuple[float, float, float]:
    """(precision, recall, F1) of the nuclei found at IoU > `min_iou`."""
    if not true_area and not predicted_area:
        return 1.0, 1.0, 1.0
    if not true_area or not predicted_area:
        return 0.0, 0.0, 0.0
    found = sum(intersection / union > min_iou for intersection, union in pairs.values())
    precision, recall = found / len(predicted_area), found / len(true_area)
    f1 = 2 * precision * recall / (precision + recall) if found else 0.0
    return precision, recall, f1


def panoptic_quality(
    pairs: Pairs, true_area: dict[int, int], predicted_area: dict[int, int]
) -> dict[str, float]:
    """`pq`, `dq`, `sq` at IoU > 0.5, by Kirillov et al.'s sums."""
    if not true_area and not predicted_area:
        return {"pq": 1.0, "dq": 1.0, "sq": 1.0}
    matched = [i / u for i, u in pairs.values() if i / u > 0.5]
    missed, false = len(true_area) - len(matched), len(predicted_area) - len(matched)
    size = len(matched) + missed / 2 + false / 2
    sq = sum(matched) / len(matched) if matched else 0.0
    return {"pq": sum(matched) / size, "dq": len(matched) / size, "sq": sq}


def pixel_f1(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """F1 of the pixels that are True: bool [H, W]."""
    if not truth.any() and not prediction.any():
        return 1.0
    return float(2 * np.sum(truth & prediction) / (np.sum(truth) + np.sum(prediction)))
