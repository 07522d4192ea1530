"""What two label maps have in common: pixels by class, and the pixels that each pair of nuclei shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array

from nucseg_jax.errors import in_short


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
    def of(cls, truth: ArrayLike, prediction: ArrayLike) -> PixelCounts:
        """Counts of two maps `[H, W]`, boolean or integer; a pixel that is not 0 is nucleus.

        Raises:
            ValueError: the shapes differ, or a map is of floats (a probability is no class).
        """
        true, found = _as_array("truth", truth), _as_array("prediction", prediction)
        _check_same_shape(true, found)
        for name, pixels in (("truth", true), ("prediction", found)):
            if pixels.dtype.kind not in "biu":
                raise ValueError(f"{name} must be boolean or integer, got {pixels.dtype}")
        true, found = true != 0, found != 0
        tp = int(np.count_nonzero(true & found))
        fn = int(np.count_nonzero(true)) - tp
        fp = int(np.count_nonzero(found)) - tp
        return cls(tp=tp, fp=fp, fn=fn, tn=true.size - tp - fp - fn)

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def f1_nucleus(self) -> float:
        """F1 of the nucleus pixels, in [0, 1]: Dice. 1.0 where neither map has any."""
        return f1(self.tp, self.fp, self.fn)

    @property
    def f1_background(self) -> float:
        """F1 of the background pixels, in [0, 1]. 1.0 where neither map has any."""
        return f1(self.tn, self.fn, self.fp)

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


def overlaps(truth: ArrayLike, prediction: ArrayLike) -> Overlaps:
    """Counts the pixels that every true nucleus shares with every predicted one.

    Args:
        truth: integer label map `[H, W]`, 0 = background.
        prediction: the same, of the same shape.

    Raises:
        ValueError: shapes differ, a map is not `[H, W]`, not of integers, or has negative ids.
    """
    truth = check_label_map("truth", truth)
    prediction = check_label_map("prediction", prediction)
    _check_same_shape(truth, prediction)
    (truth_ids, prediction_ids), length_px = _runs(truth, prediction)
    truth_area, rows = _number_nuclei(truth_ids, length_px)
    prediction_area, columns = _number_nuclei(prediction_ids, length_px)
    both = np.flatnonzero((rows > 0) & (columns > 0))
    table = coo_array(
        (length_px[both], (rows[both] - 1, columns[both] - 1)),
        shape=(len(truth_area), len(prediction_area)),
    ).tocsr()  # adds up the entries of equal (row, column)
    table.sort_indices()
    return Overlaps(
        truth=np.repeat(np.arange(len(truth_area)), np.diff(table.indptr)),
        prediction=table.indices,
        intersection_px=table.data,
        truth_area_px=truth_area,
        prediction_area_px=prediction_area,
        image_area_px=truth.size,
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


def check_label_map(name: str, label_map: ArrayLike) -> NDArray[np.integer]:
    """A label map as NumPy's array; raises a ValueError, which calls the map `name`, if it is none.

    A label map is an array `[H, W]` of integers that are not negative: of NumPy, of a library whose arrays
    become NumPy's (JAX, PyTorch on a CPU), or nested lists. Boolean masks do not pass: read as labels, all
    their nuclei would be one.
    """
    array = _as_array(name, label_map)
    if array.ndim != 2:
        hint = ". Score one image at a time" if array.ndim in (3, 4) else ""
        raise ValueError(f"{name} must be a label map [H, W], got shape {array.shape}{hint}")
    if not np.issubdtype(array.dtype, np.integer):
        hint = "; label its components first" if array.dtype == bool else ""
        raise ValueError(f"{name} must hold integer ids, got {array.dtype}{hint}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not hold negative ids, got {array.min()}")
    return array


def _as_array(name: str, values: ArrayLike) -> NDArray:
    """NumPy's array of an array or of nested lists; a ValueError, which calls it `name`, for the rest."""
    is_array = hasattr(values, "__array__") or hasattr(values, "__array_interface__")  # Pillow has the latter
    if not (is_array or isinstance(values, (list, tuple))):
        found = f"{type(values).__name__}: {in_short(repr(values))}"
        raise ValueError(f"{name} must be an array [H, W] of integers, got {found}")
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} has masked pixels: fill them first, with {name}.filled(0)")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a GPU
        raise ValueError(
            f"{name} must be an array [H, W] of integers; this {type(values).__name__} cannot become one "
            f"({in_short(error)})"
        ) from error


def f1(tp: int, fp: int, fn: int) -> float:
    """F1 in [0, 1]; 1.0 where there is nothing to find and nothing was found."""
    total = 2 * tp + fp + fn
    return 2 * tp / total if total else 1.0


def _check_same_shape(truth: NDArray, prediction: NDArray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}")


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
