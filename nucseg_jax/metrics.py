"""Scores of a predicted nuclei segmentation against the truth.

Label maps are integer arrays `[H, W]`: 0 is the background, every other value one nucleus; ids need
not be contiguous. `overlaps` counts the pixels that every pair of nuclei shares, once, and every
score is a function of that table. `score` gives them all.

Empty cases, for every score: nothing to find and nothing found is perfect (1.0); one of the two
empty is 0.0. The macro F1 applies this to each of its two classes, then takes their mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Ids up to this value are counted through a table indexed by id; sparser ones are sorted instead.
_DENSE_IDS = 1 << 20


@dataclass(frozen=True)
class PixelCounts:
    """Pixels by (truth, prediction), nucleus = positive. Counts of several images add up with `+`.

    The F1 that the paper's code prints pools the pixels of all images first:
    `sum((PixelCounts.of(t, p) for t, p in pairs), PixelCounts()).f1_macro`. That is not the mean
    of the images' scores.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @classmethod
    def of(cls, truth: NDArray, prediction: NDArray) -> PixelCounts:
        """Counts of two maps `[H, W]`, boolean or integer; a pixel that is not 0 is nucleus.

        Raises:
            ValueError: the shapes differ, or a map is of floats (a probability is no class).
        """
        _check_same_shape(truth, prediction)
        for name, pixels in (("truth", truth), ("prediction", prediction)):
            if pixels.dtype.kind not in "biu":
                raise ValueError(f"{name} must be boolean or integer, got {pixels.dtype}")
        truth, prediction = truth != 0, prediction != 0
        tp = int(np.count_nonzero(truth & prediction))
        fn = int(np.count_nonzero(truth)) - tp
        fp = int(np.count_nonzero(prediction)) - tp
        return cls(tp=tp, fp=fp, fn=fn, tn=truth.size - tp - fp - fn)

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def f1_nucleus(self) -> float:
        """F1 of the nucleus pixels, in [0, 1]: Dice. 1.0 where neither map has any."""
        return _f1(self.tp, self.fp, self.fn)

    @property
    def f1_background(self) -> float:
        """F1 of the background pixels, in [0, 1]. 1.0 where neither map has any."""
        return _f1(self.tn, self.fn, self.fp)

    @property
    def f1_macro(self) -> float:
        """Mean of the nucleus and the background F1, in [0, 1]."""
        return (self.f1_nucleus + self.f1_background) / 2


@dataclass(frozen=True)
class Overlaps:
    """The overlapping pairs of nuclei of two label maps; all a score needs to know of them.

    Nuclei are numbered from 0 in the order of their ids. Pairs are sorted by (truth, prediction).

    Attributes:
        truth: int `[pairs]`, the true nucleus of each pair.
        prediction: int `[pairs]`, its predicted nucleus.
        intersection_px: int64 `[pairs]`, the pixels they share, at least 1.
        truth_area_px: int64 `[true nuclei]`.
        prediction_area_px: int64 `[predicted nuclei]`.
        image_area_px: pixels of the image.
    """

    truth: NDArray[np.integer]
    prediction: NDArray[np.integer]
    intersection_px: NDArray[np.int64]
    truth_area_px: NDArray[np.int64]
    prediction_area_px: NDArray[np.int64]
    image_area_px: int

    @property
    def count_true(self) -> int:
        """Number of true nuclei."""
        return len(self.truth_area_px)

    @property
    def count_pred(self) -> int:
        """Number of predicted nuclei."""
        return len(self.prediction_area_px)

    @property
    def union_px(self) -> NDArray[np.int64]:
        """int64 `[pairs]`: pixels in either nucleus of each pair."""
        areas = self.truth_area_px[self.truth] + self.prediction_area_px[self.prediction]
        return areas - self.intersection_px

    @property
    def iou(self) -> NDArray[np.float64]:
        """float64 `[pairs]`: intersection over union of each pair, in (0, 1]."""
        return self.intersection_px / self.union_px

    @property
    def pixels(self) -> PixelCounts:
        """The image's pixels by class, instances ignored."""
        tp = int(self.intersection_px.sum())
        fn = int(self.truth_area_px.sum()) - tp
        fp = int(self.prediction_area_px.sum()) - tp
        return PixelCounts(tp=tp, fp=fp, fn=fn, tn=self.image_area_px - tp - fp - fn)


def overlaps(truth: NDArray, prediction: NDArray) -> Overlaps:
    """Counts the pixels that every true nucleus shares with every predicted one.

    Args:
        truth: integer label map `[H, W]`, 0 = background.
        prediction: the same, of the same shape.

    Raises:
        ValueError: shapes differ, a map is not `[H, W]`, not of integers, or has negative ids.
    """
    check_label_map("truth", truth)
    check_label_map("prediction", prediction)
    _check_same_shape(truth, prediction)
    truth_area, truth_index = _number_nuclei(truth)
    prediction_area, prediction_index = _number_nuclei(prediction)
    rows, columns = truth_index.ravel(), prediction_index.ravel()
    both = np.flatnonzero((rows > 0) & (columns > 0))
    rows, columns = rows[both] - 1, columns[both] - 1
    ones = np.ones(len(both), dtype=np.int64)
    table = coo_array((ones, (rows, columns)), shape=(len(truth_area), len(prediction_area)))
    table = table.tocsr()  # adds up the entries of equal (row, column)
    table.sort_indices()
    return Overlaps(
        truth=np.repeat(np.arange(len(truth_area)), np.diff(table.indptr)),
        prediction=table.indices,
        intersection_px=table.data,
        truth_area_px=truth_area,
        prediction_area_px=prediction_area,
        image_area_px=truth.size,
    )


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
    iou = table.iou
    chosen = [_best_assignment(table, iou, pairs) for pairs in _pairs_by_component(table)]
    return _aggregated_jaccard(table, np.concatenate([*chosen, np.zeros(0, dtype=np.intp)]))


def detection_f1(table: Overlaps, min_iou: float = 0.5) -> float:
    """F1 of the nuclei found, in [0, 1]: a pair of IoU > `min_iou` is a nucleus found.

    Raises:
        ValueError: `min_iou` is outside [0.5, 1): below 0.5 a nucleus may have several partners.
    """
    if not 0.5 <= min_iou < 1:
        raise ValueError(f"min_iou must be in [0.5, 1), got {min_iou}")
    found = int(np.count_nonzero(table.iou > min_iou))
    return _f1(found, table.count_pred - found, table.count_true - found)


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


def score(truth: NDArray, prediction: NDArray) -> dict[str, float]:
    """All scores of one image.

    Args:
        truth: integer label map `[H, W]`, 0 = background; ids need not be contiguous.
        prediction: the same, of the same shape.

    Returns:
        `aji`, `aji_plus`, `pq`, `dq`, `sq`, `dice` (F1 of the nucleus pixels) and `f1_macro` (mean
        of the F1 of nucleus and of background pixels), in [0, 1]; `count_true` and `count_pred`,
        the numbers of nuclei. Both maps empty: every score is 1. One empty: every score is 0, but
        `f1_macro` is half of the background's F1.

    Raises:
        ValueError: shapes differ, a map is not `[H, W]`, not of integers, or has negative ids.
    """
    table = overlaps(truth, prediction)
    pq, dq, sq = panoptic_quality(table)
    return {
        "aji": aji(table),
        "aji_plus": aji_plus(table),
        "pq": pq,
        "dq": dq,
        "sq": sq,
        "dice": table.pixels.f1_nucleus,
        "f1_macro": table.pixels.f1_macro,
        "count_true": float(table.count_true),
        "count_pred": float(table.count_pred),
    }


def remove_small(label_map: NDArray, min_area_px: int) -> NDArray:
    """The label map without the nuclei of fewer than `min_area_px` pixels; other ids stay.

    The paper counts nuclei of at least 70 px.

    Args:
        label_map: integer `[H, W]`, 0 = background. It is not changed.
        min_area_px: smallest area, in pixels, of a nucleus that stays.

    Raises:
        ValueError: the map is not `[H, W]`, not of integers, or has negative ids.
    """
    check_label_map("label_map", label_map)
    area, index = _number_nuclei(label_map)
    stays = np.concatenate([[False], area >= min_area_px])
    return np.where(stays[index], label_map, label_map.dtype.type(0))


def check_label_map(name: str, label_map: NDArray) -> None:
    """Raises a ValueError, which calls the map `name`, unless it is a label map.

    A label map is an array `[H, W]` of integers that are not negative. Boolean masks do not pass:
    read as labels, all their nuclei would be one.
    """
    if label_map.ndim != 2:
        raise ValueError(f"{name} must be a label map [H, W], got shape {label_map.shape}")
    if not np.issubdtype(label_map.dtype, np.integer):
        hint = "; label its components first" if label_map.dtype == bool else ""
        raise ValueError(f"{name} must hold integer ids, got {label_map.dtype}{hint}")
    if label_map.size and label_map.min() < 0:
        raise ValueError(f"{name} must not hold negative ids, got {label_map.min()}")


def _check_same_shape(truth: NDArray, prediction: NDArray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}")


def _number_nuclei(label_map: NDArray) -> tuple[NDArray[np.int64], NDArray]:
    """Areas `[nuclei]` in the order of the ids, and the map `[H, W]` renumbered 1, 2, … (0 stays).

    Counting through a table is some ten times faster than sorting, but its size is the largest id.
    """
    top = int(label_map.max(initial=0))
    if top > max(_DENSE_IDS, label_map.size):
        ids, inverse = np.unique(label_map, return_inverse=True)
        label_map = (inverse + (ids[0] != 0)).reshape(label_map.shape)
        top = len(ids)
    area_of_id = np.bincount(label_map.ravel().astype(np.intp, copy=False), minlength=top + 1)
    present = area_of_id > 0
    present[0] = False
    number_of_id = np.where(present, np.cumsum(present, dtype=np.int32), np.int32(0))
    return area_of_id[present], number_of_id[label_map]


def _f1(tp: int, fp: int, fn: int) -> float:
    """F1 in [0, 1]; 1.0 where there is nothing to find and nothing was found."""
    total = 2 * tp + fp + fn
    return 2 * tp / total if total else 1.0


def _aggregated_jaccard(table: Overlaps, chosen: NDArray[np.intp]) -> float:
    """Sum of the chosen pairs' intersections over their unions and the areas left over."""
    if table.count_true == table.count_pred == 0:
        return 1.0
    truth_left = np.delete(table.truth_area_px, table.truth[chosen]).sum()
    prediction_left = np.delete(table.prediction_area_px, table.prediction[chosen]).sum()
    total = table.union_px[chosen].sum() + truth_left + prediction_left
    return float(table.intersection_px[chosen].sum() / total)


def _pairs_by_component(table: Overlaps) -> Iterator[NDArray[np.intp]]:
    """The pairs, grouped so that no nucleus is in two groups.

    Assignments in different groups do not affect each other, and a group has a few nuclei where the
    whole image has a thousand: the assignment's cost grows with the cube.
    """
    if not len(table.truth):
        return
    nodes = table.count_true + table.count_pred
    edges = (table.truth, table.count_true + table.prediction)
    graph = coo_array((np.ones(len(table.truth), dtype=np.int8), edges), shape=(nodes, nodes))
    _, component_of_node = connected_components(graph, directed=False)
    component = component_of_node[table.truth]
    order = np.argsort(component, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(component[order])) + 1)


def _best_assignment(table: Overlaps, iou: NDArray[np.float64], pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """Those of the pairs that a one-to-one assignment of the highest total IoU uses."""
    if len(pairs) == 1:
        return pairs
    truth_ids, row = np.unique(table.truth[pairs], return_inverse=True)
    prediction_ids, column = np.unique(table.prediction[pairs], return_inverse=True)
    gain = np.zeros((len(truth_ids), len(prediction_ids)))
    gain[row, column] = iou[pairs]
    rows, columns = linear_sum_assignment(gain, maximize=True)
    assigned = np.zeros(gain.shape, dtype=bool)
    assigned[rows, columns] = True
    return pairs[assigned[row, column]]
