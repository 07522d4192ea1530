"""Two sets of nuclei of one slide against each other: scores, and what became of each nucleus."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from nucseg_jax.metrics import Overlaps, PixelCounts, aji, aji_plus, panoptic_quality
from nucseg_jax.metrics.outcomes import outcomes
from nucseg_jax.nuclei import Frame
from nucseg_jax.view.nuclei_index import NucleiIndex
from nucseg_jax.view.pixel_runs import Integers, PixelNuclei, shared

MOST_PX = 1 << 25
"""Of the strips of a slide that are compared one after the other, so that memory is bounded."""

_LEAST_ROWS = 64  # of a strip: what lies on its border is looked at twice


@dataclass(frozen=True)
class Side:
    """One of two sets of nuclei.

    Attributes:
      name: for messages.
      index: with outlines.
      frame: of its coordinates.
    """

    name: str
    index: NucleiIndex
    frame: Frame


@dataclass(frozen=True)
class Comparison:
    """What two sets of nuclei have in common.

    Attributes:
      scores: aji, aji_plus, pq, dq, sq and dice, each in 0 … 1.
      counts: nuclei of the reference and of the other, and the outcomes (`Outcomes.count`) by name.
      reference: float32 [nuclei of the reference], the Outcome of each row of its index; NaN where it was not
        compared.
      other: the same of the other.
      notes: what a user should be told.
    """

    scores: dict[str, float]
    counts: dict[str, int]
    reference: NDArray[np.float32]
    other: NDArray[np.float32]
    notes: list[str]


def compare(reference: Side, other: Side, on_count: Callable[[int], None]) -> Comparison:
    """Compare them as label maps of the slide's base level.

    Args:
      reference: what the other is measured by: the ground truth, or the earlier result.
      other: of the same slide.
      on_count: is told how many nuclei of the reference are done.
    """
    sides = [PixelNuclei(side.index, side.frame) for side in (reference, other)]
    overlaps = _count_overlaps(sides, reference.frame.size, on_count)
    numbers = [
        _numbers(side.index.ids, area) for side, area in zip((reference, other), overlaps.areas, strict=True)
    ]
    table = _table(overlaps, numbers)
    pq, dq, sq = panoptic_quality(table)
    found = outcomes(table)
    return Comparison(
        {
            "aji": aji(table),
            "aji_plus": aji_plus(table),
            "pq": pq,
            "dq": dq,
            "sq": sq,
            "dice": table.pixels.f1_nucleus,
        },
        {
            "reference": table.count_true,
            "other": table.count_pred,
            **{outcome.name.lower(): count for outcome, count in found.count().items()},
        },
        _by_row(found.truth, numbers[0]),
        _by_row(found.prediction, numbers[1]),
        [
            *_notes(reference.name, sides[0], numbers[0]),
            *_notes(other.name, sides[1], numbers[1]),
        ],
    )


@dataclass(frozen=True)
class _Counted:
    """Pixels that were counted.

    Attributes:
      areas: of the nuclei of both, int64 [nuclei].
      pairs: int64 [3, P]: a row of the reference, a row of the other, and the pixels they share in a strip.
      slide_px: of the slide.
    """

    areas: tuple[Integers, Integers]
    pairs: Integers
    slide_px: int


def _count_overlaps(
    sides: list[PixelNuclei], size: tuple[int, int], on_count: Callable[[int], None]
) -> _Counted:
    """Count the pixels of nuclei, and of pairs that overlap, strip by strip."""
    height, width = size
    rows = max(_LEAST_ROWS, MOST_PX // width)
    areas = np.zeros(sides[0].count, np.int64), np.zeros(sides[1].count, np.int64)
    pairs = [np.zeros((3, 0), np.int64)]
    for top in range(0, height, rows):
        runs = [side.runs(top, min(height, top + rows)) for side in sides]
        for area, of in zip(areas, runs, strict=True):
            area += np.bincount(of.owner, of.length, len(area)).astype(np.int64)  # exact below 2**53
        one, other, length = shared(*runs)
        pairs.append(_summed(runs[0].owner[one], runs[1].owner[other], length))
        on_count(int(np.count_nonzero(areas[0])))
    return _Counted(areas, np.concatenate(pairs, axis=1), height * width)


def _summed(one: Integers, other: Integers, length: Integers) -> Integers:
    """int64 [3, P]: each pair once, and the sum of its lengths."""
    order = np.lexsort((other, one))
    one, other, length = one[order], other[order], length[order]
    first = np.flatnonzero(np.append(True, (np.diff(one) != 0) | (np.diff(other) != 0))[: len(one)])
    return np.stack([one[first], other[first], np.add.reduceat(length, first) if len(first) else length])


def _numbers(ids: NDArray[np.int32], area: Integers) -> Integers:
    """int64 [nuclei]: the numbers 0, 1, … in the order of ids of those that have pixels; -1: it has none.

    On a slide that is coarser than the network's level, a nucleus of a few pixels may have none.
    """
    there = np.flatnonzero(area)
    numbers = np.full(len(area), -1)
    numbers[there[np.argsort(ids[there], kind="stable")]] = np.arange(len(there))
    return numbers


def _table(counted: _Counted, numbers: list[Integers]) -> Overlaps:
    """The library's table of overlaps, whose nuclei are numbered."""
    truth_area, prediction_area = (
        area[np.argsort(number, kind="stable")[np.count_nonzero(number < 0) :]]
        for area, number in zip(counted.areas, numbers, strict=True)
    )
    one, other, length = counted.pairs
    table = coo_array(
        (length, (numbers[0][one], numbers[1][other])), shape=(len(truth_area), len(prediction_area))
    ).tocsr()  # adds up what strips have of a pair
    table.sort_indices()
    tp = int(table.data.sum())
    fn, fp = int(truth_area.sum()) - tp, int(prediction_area.sum()) - tp
    return Overlaps(
        truth=np.repeat(np.arange(len(truth_area)), np.diff(table.indptr)),
        prediction=table.indices,
        intersection_px=table.data,
        truth_area_px=truth_area,
        prediction_area_px=prediction_area,
        pixels=PixelCounts(tp=tp, fp=fp, fn=fn, tn=counted.slide_px - tp - fp - fn),
    )


def _by_row(outcome: NDArray[np.int8], numbers: Integers) -> NDArray[np.float32]:
    """The outcome of each row of an index, float32, NaN without one."""
    return np.append(outcome.astype(np.float32), np.float32(np.nan))[numbers]


def _notes(name: str, nuclei: PixelNuclei, numbers: Integers) -> list[str]:
    notes = []
    if nuclei.are_simplified:
        notes.append(
            f"{name}: its outlines are simplified, so that scores are not those of its label map. Run nucseg "
            "predict without --simplify for exact ones"
        )
    if without := int(np.count_nonzero(numbers < 0)):
        notes.append(f"{name}: nuclei without a pixel of the slide, which are not compared: {without:,}")
    return notes
