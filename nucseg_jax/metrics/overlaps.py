"""What two label maps have in common: pixels by class, and the pixels that each pair of nuclei shares."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array

from nucseg_jax.metrics.checks import check_ignore, check_label_map, check_same_shape
from nucseg_jax.metrics.pixels import PixelCounts


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
        pixels: the image's pixels by class, instances ignored.
    """

    truth: NDArray[np.integer]
    prediction: NDArray[np.integer]
    intersection_px: NDArray[np.int64]
    truth_area_px: NDArray[np.int64]
    prediction_area_px: NDArray[np.int64]
    pixels: PixelCounts

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


def overlaps(truth: ArrayLike, prediction: ArrayLike, ignore: ArrayLike | None = None) -> Overlaps:
    """Counts the pixels that every true nucleus shares with every predicted one.

    Args:
        truth: integer label map `[H, W]`, 0 = background.
        prediction: the same, of the same shape.
        ignore: boolean `[H, W]`, True on the pixels that nobody annotated: nuclei are those that
            `cut_to_annotated` leaves, and pixels are the others. None: all pixels are annotated.

    Raises:
        ValueError: shapes differ, a map is not `[H, W]`, not of integers, or has negative ids; or `ignore` is
            not boolean.
    """
    if ignore is None:
        return _table(truth, prediction)
    table = _table(*cut_to_annotated(truth, prediction, ignore))
    return replace(table, pixels=PixelCounts.of(truth, prediction, ignore))


def cut_to_annotated(
    truth: ArrayLike, prediction: ArrayLike, ignore: ArrayLike
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Two label maps as they are scored where only a part of the image is annotated.

    Nuclei are cut to the annotated pixels. Of those with more than half of their pixels outside, true ones
    are left out, and so are predicted ones that are no true nucleus: whose IoU with each true one, both cut,
    is at most 0.5. Nobody knows whether they are right or false. The piece of a nucleus that the border cuts
    off is thus found where the prediction has it.

    Source: the void labels of Kirillov et al., Panoptic Segmentation, CVPR 2019.

    Args:
        truth: integer label map `[H, W]`, 0 = background. It is not changed.
        prediction: the same, of the same shape.
        ignore: boolean `[H, W]`, True on the pixels that nobody annotated.

    Returns:
        Both maps, 0 where nobody annotated; other ids stay.

    Raises:
        ValueError: as of `overlaps`.
    """
    truth = check_label_map("truth", truth)
    prediction = check_label_map("prediction", prediction)
    check_same_shape(truth, prediction)
    ignore = check_ignore(ignore, truth.shape)
    truth = _cut(truth, ignore, outside=_mostly_ignored(truth, ignore))
    strangers = _mostly_ignored(prediction, ignore)
    prediction = _cut(prediction, ignore, outside=strangers[:0])
    table = _table(truth, prediction)
    ids = np.unique(prediction[prediction > 0])
    true_ones = ids[table.prediction[table.iou > 0.5]]
    return truth, _cut(prediction, ignore, outside=np.setdiff1d(strangers, true_ones))


def _mostly_ignored(label_map: NDArray[np.integer], ignore: NDArray[np.bool_]) -> NDArray[np.integer]:
    """Ids of the nuclei with more than half of their pixels in `ignore`."""
    ids, area_px = np.unique(label_map, return_counts=True)
    ignored, ignored_px = np.unique(label_map[ignore], return_counts=True)
    outside = 2 * ignored_px > area_px[np.searchsorted(ids, ignored)]
    return ignored[outside & (ignored > 0)]


def _cut(
    label_map: NDArray[np.integer], ignore: NDArray[np.bool_], outside: NDArray[np.integer]
) -> NDArray[np.integer]:
    """The label map without the pixels of `ignore` and without the nuclei of the ids `outside`."""
    return np.where(ignore | np.isin(label_map, outside), label_map.dtype.type(0), label_map)


def _table(truth: ArrayLike, prediction: ArrayLike) -> Overlaps:
    """`overlaps` of maps that are annotated everywhere."""
    truth = check_label_map("truth", truth)
    prediction = check_label_map("prediction", prediction)
    check_same_shape(truth, prediction)
    (truth_ids, prediction_ids), length_px = _runs(truth, prediction)
    truth_area, rows = _number_nuclei(truth_ids, length_px)
    prediction_area, columns = _number_nuclei(prediction_ids, length_px)
    both = np.flatnonzero((rows > 0) & (columns > 0))
    tp = int(length_px[both].sum())
    fn, fp = int(truth_area.sum()) - tp, int(prediction_area.sum()) - tp
    pixels = PixelCounts(tp=tp, fp=fp, fn=fn, tn=truth.size - tp - fp - fn)
    return of_pairs(rows[both] - 1, columns[both] - 1, length_px[both], truth_area, prediction_area, pixels)


def of_pairs(
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    shared_px: NDArray[np.integer],
    truth_area_px: NDArray[np.int64],
    prediction_area_px: NDArray[np.int64],
    pixels: PixelCounts,
) -> Overlaps:
    """The table of pairs that come in any order, and in several parts.

    Args:
        truth: int `[parts]`, the true nucleus of each part, from 0.
        prediction: int `[parts]`, its predicted nucleus.
        shared_px: int `[parts]`, pixels that they share in this part.
        truth_area_px, prediction_area_px, pixels: as of `Overlaps`.
    """
    table = coo_array(
        (shared_px, (truth, prediction)), shape=(len(truth_area_px), len(prediction_area_px))
    ).tocsr()  # adds up the parts of a pair
    table.sort_indices()
    return Overlaps(
        truth=np.repeat(np.arange(len(truth_area_px)), np.diff(table.indptr)),
        prediction=table.indices,
        intersection_px=table.data,
        truth_area_px=truth_area_px,
        prediction_area_px=prediction_area_px,
        pixels=pixels,
    )


def remove_small(label_map: ArrayLike, min_area_px: float) -> NDArray:
    """The label map without the nuclei of fewer than `min_area_px` pixels; other ids stay.

    The paper counts nuclei of at least 70 px.

    Args:
        label_map: integer `[H, W]`, 0 = background. It is not changed.
        min_area_px: smallest area, in pixels, of a nucleus that stays.

    Raises:
        ValueError: the map is not `[H, W]`, not of integers, or has negative ids; or the area is NaN.
    """
    if math.isnan(min_area_px):
        raise ValueError("min_area_px is NaN")
    label_map = check_label_map("label_map", label_map)
    (ids,), length_px = _runs(label_map)
    area, number = _number_nuclei(ids, length_px)
    stays = np.concatenate([[False], area >= min_area_px])[number]
    return np.repeat(np.where(stays, ids, ids.dtype.type(0)), length_px).reshape(label_map.shape)


def _runs(*label_maps: NDArray) -> tuple[list[NDArray], NDArray[np.int64]]:
    """The maps `[H, W]`, row after row, as runs of pixels in which none of them changes.

    Two maps of 900 nuclei on a million pixels are some 70,000 runs: what is done for each run instead of
    each pixel takes little time.

    Returns:
        For each map the id `[runs]` of each run; int64 `[runs]`, the runs' lengths in pixels.
    """
    flat = [label_map.ravel() for label_map in label_maps]
    changes = np.zeros(max(flat[0].size - 1, 0), dtype=bool)
    for ids in flat:
        changes |= ids[1:] != ids[:-1]
    first = np.zeros(min(flat[0].size, 1), dtype=np.intp)
    starts = np.concatenate([first, np.flatnonzero(changes) + 1])
    return [ids[starts] for ids in flat], np.diff(starts, append=flat[0].size).astype(np.int64)


def _number_nuclei(
    ids: NDArray[np.integer], length_px: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.integer]]:
    """Areas `[nuclei]` in the order of the ids, and the runs' ids renumbered 1, 2, … (0 stays).

    Counting through a table is faster than sorting, but its size is the largest id.
    """
    top = int(ids.max(initial=0))
    if top > len(ids):
        distinct, ids = np.unique(ids, return_inverse=True)
        ids = ids + (distinct[0] != 0)
        top = len(distinct)
    # Sums of float64, exact below 2**53 pixels.
    area = np.bincount(ids.astype(np.intp, copy=False), weights=length_px, minlength=top + 1)
    present = area > 0
    present[0] = False
    number = np.where(present, np.cumsum(present), 0)
    return area[present].astype(np.int64), number[ids]
