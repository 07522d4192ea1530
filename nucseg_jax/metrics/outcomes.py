"""What became of each nucleus: found, missed, invented, merged with others or split."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.metrics import Overlaps


class Outcome(IntEnum):
    """Of a true or a predicted nucleus; MISSED is only said of true ones, FALSE only of predicted ones."""

    RIGHT = 0
    MERGED = 1
    SPLIT = 2
    MISSED = 3
    FALSE = 4


@dataclass(frozen=True)
class Outcomes:
    """Attributes:
    truth: int8 [true nuclei], Outcome of each, in the order of the ids.
    prediction: int8 [predicted nuclei], the same.
    """

    truth: NDArray[np.int8]
    prediction: NDArray[np.int8]

    def count(self) -> dict[Outcome, int]:
        """True nuclei by outcome, which add up to all of them; and the false predictions."""
        of_truth = {o: int(np.count_nonzero(self.truth == o)) for o in Outcome if o != Outcome.FALSE}
        return of_truth | {Outcome.FALSE: int(np.count_nonzero(self.prediction == Outcome.FALSE))}


def outcomes(table: Overlaps) -> Outcomes:
    """The outcome of every nucleus of two label maps.

    The first that holds, for true and predicted nuclei alike:

    * MERGED: a prediction that covers more than half of each of several true nuclei; and these.
    * SPLIT: a true nucleus that covers more than half of each of several predictions; and these.
    * RIGHT: a pair of IoU > 0.5, as in DQ and PQ.
    * MISSED and FALSE: the true and the predicted nuclei that are left.

    More than half of a nucleus lies in at most one other, so nothing depends on an order. A pair of IoU > 0.5
    may be called merged or split, so RIGHT can be fewer than the pairs that DQ counts.
    """
    covered = 2 * table.intersection_px > table.truth_area_px[table.truth]
    inside = 2 * table.intersection_px > table.prediction_area_px[table.prediction]
    merging = np.bincount(table.prediction[covered], minlength=table.count_pred) > 1
    being_split = np.bincount(table.truth[inside], minlength=table.count_true) > 1
    merged_pair = covered & merging[table.prediction]
    split_pair = inside & being_split[table.truth]

    truth = np.full(table.count_true, Outcome.MISSED, np.int8)
    prediction = np.full(table.count_pred, Outcome.FALSE, np.int8)
    # What is written later wins.
    for pairs, outcome in (
        (table.iou > 0.5, Outcome.RIGHT),
        (split_pair, Outcome.SPLIT),
        (merged_pair, Outcome.MERGED),
    ):
        truth[table.truth[pairs]] = outcome
        prediction[table.prediction[pairs]] = outcome
    return Outcomes(truth, prediction)
