"""Two sets of nuclei of one slide against each other: scores, and what became of each nucleus."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import shown
from nucseg_jax.metrics import Overlaps, PixelCounts, aji, aji_plus, panoptic_quality
from nucseg_jax.metrics.outcomes import outcomes
from nucseg_jax.metrics.overlaps import of_pairs
from nucseg_jax.nuclei import Frame
from nucseg_jax.view.nuclei.index import NucleiIndex
from nucseg_jax.view.nuclei.pixel_runs import Integers, PixelNuclei, Runs, annotated_runs, shared, within

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

    Where one of them annotates a part of the slide, that part is compared, by the rules of
    `metrics.cut_to_annotated`.

    Args:
      reference: what the other is measured by: the ground truth, or the earlier result.
      other: of the same slide.
      on_count: is told how many nuclei of the reference are done.
    """
    nuclei = PixelNuclei(reference.index, reference.frame), PixelNuclei(other.index, other.frame)
    counted = _counted(nuclei, (reference.index, other.index), reference.frame.size, on_count)
    numbers = _numbers(counted, reference.index.ids, other.index.ids)
    table = _table(counted, *numbers)
    pq, dq, sq = panoptic_quality(table)
    found = outcomes(table)
    scores = {
        **{"aji": aji(table), "aji_plus": aji_plus(table), "pq": pq, "dq": dq, "sq": sq},
        "dice": table.pixels.f1_nucleus,
    }
    counts = {
        **{"reference": table.count_true, "other": table.count_pred},
        **{outcome.name.lower(): count for outcome, count in found.count().items()},
    }
    notes = [
        *_notes(reference, nuclei[0], counted.whole_px[0], numbers[0]),
        *_notes(other, nuclei[1], counted.whole_px[1], numbers[1]),
    ]
    by_row = _by_row(found.truth, numbers[0]), _by_row(found.prediction, numbers[1])
    return Comparison(scores, counts, *by_row, notes)


@dataclass(frozen=True)
class _Counted:
    """Pixels of the nuclei of the reference and of the other.

    Attributes:
      whole_px: int64 [nuclei] of both, wherever they are.
      area_px: the same of what is annotated.
      pairs: int64 [3, P]: a row of the reference, a row of the other, and the annotated pixels they share in
        a strip.
      annotated_px: pixels of the slide that are annotated.
    """

    whole_px: tuple[Integers, Integers]
    area_px: tuple[Integers, Integers]
    pairs: Integers
    annotated_px: int

    @property
    def pixels(self) -> PixelCounts:
        """The annotated pixels by class, of all nuclei."""
        tp = int(self.pairs[2].sum())
        fn, fp = (int(area.sum()) - tp for area in self.area_px)
        return PixelCounts(tp=tp, fp=fp, fn=fn, tn=self.annotated_px - tp - fp - fn)


def _counted(
    nuclei: tuple[PixelNuclei, PixelNuclei],
    indexes: tuple[NucleiIndex, NucleiIndex],
    size: tuple[int, int],
    on_count: Callable[[int], None],
) -> _Counted:
    """Count the pixels of nuclei, and of pairs that overlap, strip by strip."""
    height, width = size
    rows = max(_LEAST_ROWS, MOST_PX // width)
    whole, area = (tuple(np.zeros(of.count, np.int64) for of in nuclei) for _ in range(2))
    pairs, annotated_px = [np.zeros((3, 0), np.int64)], 0
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        annotated = within(*(annotated_runs(index, size, top, bottom) for index in indexes))
        annotated_px += int(annotated.length.sum())
        cut = []
        for side, of in enumerate(nuclei):
            runs = of.runs(top, bottom)
            cut.append(within(runs, annotated))
            whole[side][:] += _sums(runs, of.count)
            area[side][:] += _sums(cut[side], of.count)
        one, other, length = shared(*cut)
        pairs.append(_summed(cut[0].owner[one], cut[1].owner[other], length))
        on_count(int(np.count_nonzero(whole[0])))
    return _Counted((whole[0], whole[1]), (area[0], area[1]), np.concatenate(pairs, axis=1), annotated_px)


def _sums(runs: Runs, count: int) -> Integers:
    """The pixels of each of some nuclei."""
    return np.bincount(runs.owner, runs.length, count).astype(np.int64)  # exact below 2**53


def _summed(one: Integers, other: Integers, length: Integers) -> Integers:
    """int64 [3, P]: each pair once, and the sum of its lengths."""
    order = np.lexsort((other, one))
    one, other, length = one[order], other[order], length[order]
    first = np.flatnonzero(np.append(True, (np.diff(one) != 0) | (np.diff(other) != 0))[: len(one)])
    return np.stack([one[first], other[first], np.add.reduceat(length, first) if len(first) else length])


def _numbers(
    counted: _Counted, reference_ids: NDArray[np.int32], other_ids: NDArray[np.int32]
) -> tuple[Integers, Integers]:
    """The numbers in the table of the nuclei that are compared, in the order of ids; -1: not compared.

    On a slide that is coarser than the network's level, a nucleus of a few pixels may have none. Those with
    more than half of their pixels where nobody annotated are left out, but of the other those that are a
    nucleus of the reference.
    """
    outside = [
        2 * (whole - area) > whole for whole, area in zip(counted.whole_px, counted.area_px, strict=True)
    ]
    there = [area > 0 for area in counted.area_px]
    reference = _numbered(there[0] & ~outside[0], reference_ids)
    other = _numbered(there[1], other_ids)
    if not (outside[1] & there[1]).any():
        return reference, other
    table = _table(counted, reference, other)
    is_true = np.isin(other, table.prediction[table.iou > 0.5])
    return reference, _numbered(there[1] & (~outside[1] | is_true), other_ids)


def _numbered(chosen: NDArray[np.bool_], ids: NDArray[np.int32]) -> Integers:
    """int64 [nuclei]: 0, 1, … in the order of ids for those that are chosen; -1 for the others."""
    rows = np.flatnonzero(chosen)
    numbers = np.full(len(chosen), -1)
    numbers[rows[np.argsort(ids[rows], kind="stable")]] = np.arange(len(rows))
    return numbers


def _table(counted: _Counted, reference: Integers, other: Integers) -> Overlaps:
    """The library's table of overlaps of the nuclei that have a number."""
    truth_area, prediction_area = (
        area[np.argsort(numbers, kind="stable")[np.count_nonzero(numbers < 0) :]]
        for area, numbers in zip(counted.area_px, (reference, other), strict=True)
    )
    one, two, length = reference[counted.pairs[0]], other[counted.pairs[1]], counted.pairs[2]
    both = (one >= 0) & (two >= 0)
    return of_pairs(one[both], two[both], length[both], truth_area, prediction_area, counted.pixels)


def _by_row(outcome: NDArray[np.int8], numbers: Integers) -> NDArray[np.float32]:
    """The outcome of each row of an index, float32, NaN without one."""
    return np.append(outcome.astype(np.float32), np.float32(np.nan))[numbers]


def _notes(side: Side, nuclei: PixelNuclei, whole_px: Integers, numbers: Integers) -> list[str]:
    notes = list(side.index.told.notes)
    if nuclei.are_simplified:
        notes.append(
            "its outlines are simplified, so that scores are not those of its label map. Run nucseg predict "
            "without --simplify for exact ones"
        )
    if without := int(np.count_nonzero(whole_px == 0)):
        notes.append(f"nuclei without a pixel of the slide, which are not compared: {without:,}")
    if outside := int(np.count_nonzero(numbers < 0)) - without:
        notes.append(f"nuclei outside of the annotated part, which are not compared: {outside:,}")
    return [shown(f"{side.name}: {note}") for note in notes]
