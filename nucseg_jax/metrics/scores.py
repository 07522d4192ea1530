"""Every score of one image, each a function of its overlap table."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nucseg_jax.metrics.assignment import assign
from nucseg_jax.metrics.checks import as_array
from nucseg_jax.metrics.overlaps import Overlaps, overlaps
from nucseg_jax.metrics.pixels import f1

F1_IOU_PERCENT = (50, 60, 70, 80, 90)
"""IoU thresholds of `score`'s `f1_iou_50` … `f1_iou_90`."""


def aji(table: Overlaps) -> float:
    """Aggregated Jaccard Index of the MoNuSeg challenge, in [0, 1].

    Every true nucleus takes the predicted one of highest IoU (the lowest id where several tie), and
    several may take the same one, each time with its full union. The score is the sum of the
    intersections over the sum of the unions, of the areas of true nuclei that overlap nothing and
    of the areas of predicted nuclei that nobody took.

    Source: Kumar et al., IEEE TMI 36(7), 2017, algorithm 1.
    """
    # Last key first: by truth, then IoU descending, then prediction. Equal fractions give equal
    # floats (division is correctly rounded), so ties are exact.
    order = np.lexsort((table.prediction, -table.iou, table.truth))
    _, first = np.unique(table.truth[order], return_index=True)
    return _aggregated_jaccard(table, order[first])


def aji_plus(table: Overlaps) -> float:
    """AJI with a one-to-one assignment that maximises the total IoU, in [0, 1].

    Where several assignments reach the same total, which of them counts depends on the order of the
    ids.

    Source: Graham et al., HoVer-Net, Medical Image Analysis 58, 2019.
    """
    return _aggregated_jaccard(table, assign(table.truth, table.prediction, table.iou))


def detection_precision(table: Overlaps, min_iou: float = 0.5) -> float:
    """Share of the predicted nuclei that are true ones, in [0, 1]: in a pair of IoU > `min_iou`.

    1.0 where there are neither true nor predicted nuclei, 0.0 where only one kind is missing.

    Raises:
        ValueError: `min_iou` is outside [0.5, 1): below 0.5 a nucleus may have several partners.
    """
    return _share(_count_found(table, min_iou), table.count_pred, table.count_true)


def detection_recall(table: Overlaps, min_iou: float = 0.5) -> float:
    """Share of the true nuclei that were found, in [0, 1]; as `detection_precision`."""
    return _share(_count_found(table, min_iou), table.count_true, table.count_pred)


def detection_f1(table: Overlaps, min_iou: float = 0.5) -> float:
    """F1 of the nuclei found, in [0, 1]: a pair of IoU > `min_iou` is a nucleus found.

    Harmonic mean of `detection_precision` and `detection_recall`; raises and is empty as they do.
    """
    found = _count_found(table, min_iou)
    return f1(found, table.count_pred - found, table.count_true - found)


def panoptic_quality(table: Overlaps) -> tuple[float, float, float]:
    """(PQ, DQ, SQ), each in [0, 1], of pairs at IoU > 0.5.

    DQ is the F1 of the nuclei found, SQ their mean IoU (0 where none is found), PQ = DQ × SQ.

    Source: Kirillov et al., Panoptic Segmentation, CVPR 2019, equation 1.
    """
    dq = detection_f1(table, 0.5)
    if table.count_true == table.count_pred == 0:
        return 1.0, 1.0, 1.0
    iou = table.iou
    matched = iou[iou > 0.5]
    sq = float(matched.mean()) if len(matched) else 0.0
    return dq * sq, dq, sq


def score(truth: ArrayLike, prediction: ArrayLike, ignore: ArrayLike | None = None) -> dict[str, float]:
    """All scores of one image.

    With `ignore` they are scores of the annotated part of the image. Pixels that are ignored count nowhere.
    Nuclei are cut to the annotated pixels first. Of those with more than half of their pixels ignored, true
    ones are left out, and predicted ones too unless they are a true nucleus: of IoU > 0.5 after the cut
    (`cut_to_annotated`). `dice` and `f1_macro` look at pixels alone: every annotated one counts.

    Args:
        truth: integer label map `[H, W]`, 0 = background; ids need not be contiguous. An array of any library
            that NumPy can read, or nested lists.
        prediction: the same, of the same shape.
        ignore: boolean `[H, W]`, True on the pixels that nobody annotated; None: all are annotated.

    Returns:
        In [0, 1]: `aji`, `aji_plus`, `pq`, `dq`, `sq`; `dice` (F1 of the nucleus pixels) and `f1_macro`
        (mean of the F1 of nucleus and of background pixels); `f1_iou_50`, `f1_iou_60` … `f1_iou_90`
        (F1 of the nuclei found at IoU > 0.5 … 0.9), `detection_precision` and `detection_recall` (at
        IoU > 0.5). Numbers of nuclei: `count_true`, `count_pred`, `count_error` (predicted - true,
        negative where too few are found). Both maps empty: every score is 1 and every count 0. One
        empty: every score is 0, but `f1_macro` is half of the background's F1.

    Raises:
        ValueError: shapes differ, a map is not `[H, W]`, not of integers, or has negative ids; or `ignore` is
            not boolean, or True everywhere.
    """
    table = overlaps(truth, prediction, ignore)
    if ignore is not None and as_array("ignore", ignore).all():
        raise ValueError("ignore is True everywhere: no pixel is left to score")
    pq, dq, sq = panoptic_quality(table)
    return {
        "aji": aji(table),
        "aji_plus": aji_plus(table),
        "pq": pq,
        "dq": dq,
        "sq": sq,
        "dice": table.pixels.f1_nucleus,
        "f1_macro": table.pixels.f1_macro,
        **{f"f1_iou_{percent}": detection_f1(table, percent / 100) for percent in F1_IOU_PERCENT},
        "detection_precision": detection_precision(table),
        "detection_recall": detection_recall(table),
        "count_true": float(table.count_true),
        "count_pred": float(table.count_pred),
        "count_error": float(table.count_pred - table.count_true),
    }


def _count_found(table: Overlaps, min_iou: float) -> int:
    """Pairs of IoU > `min_iou`; from 0.5 on no nucleus is in two of them."""
    if not 0.5 <= min_iou < 1:
        raise ValueError(f"min_iou must be in [0.5, 1), got {min_iou}")
    return int(np.count_nonzero(table.iou > min_iou))


def _share(found: int, total: int, counterpart: int) -> float:
    """found / total; where there are none at all, 1.0 if the other map has none either, else 0.0."""
    if total == 0:
        return float(counterpart == 0)
    return found / total


def _aggregated_jaccard(table: Overlaps, chosen: NDArray[np.intp]) -> float:
    """Sum of the chosen pairs' intersections over their unions and the areas left over."""
    if table.count_true == table.count_pred == 0:
        return 1.0
    truth_left = np.delete(table.truth_area_px, table.truth[chosen]).sum()
    prediction_left = np.delete(table.prediction_area_px, table.prediction[chosen]).sum()
    total = table.union_px[chosen].sum() + truth_left + prediction_left
    return float(table.intersection_px[chosen].sum() / total)
