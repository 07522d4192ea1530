"""Each nucleus is right, missed, false, merged or split."""

import numpy as np
import pytest

from nucseg_jax import metrics
from nucseg_jax.metrics.outcomes import Outcome, outcomes
from tests.metrics.square_nuclei import EMPTY, FLAWED, TRUTH, squares


def test_each_nucleus_is_right_missed_false_merged_or_split():
    found = outcomes(metrics.overlaps(TRUTH, FLAWED))
    right, merged, split, missed, false = Outcome
    assert found.truth.tolist() == [right, missed, merged, merged, split]
    assert found.prediction.tolist() == [right, merged, split, split, false]
    assert found.count() == {right: 1, merged: 2, split: 1, missed: 1, false: 1}


def test_exactly_half_of_a_nucleus_is_not_covered():
    truth = squares((0, 0, 10, 10), (0, 10, 10, 10))
    half_of_the_second = squares((0, 0, 10, 15))
    found = outcomes(metrics.overlaps(truth, half_of_the_second))
    assert found.truth.tolist() == [Outcome.RIGHT, Outcome.MISSED]
    half_outside = squares((0, 0, 10, 14), (0, 15, 10, 10))
    found = outcomes(metrics.overlaps(squares((0, 0, 10, 20)), half_outside))
    assert found.prediction.tolist() == [Outcome.RIGHT, Outcome.FALSE]
    more = squares((0, 0, 10, 16))
    assert outcomes(metrics.overlaps(truth, more)).truth.tolist() == [Outcome.MERGED, Outcome.MERGED]


def test_a_nucleus_too_large_is_missed_and_false():
    found = outcomes(metrics.overlaps(squares((10, 10, 10, 10)), squares((5, 5, 20, 20))))
    assert found.truth.tolist() == [Outcome.MISSED]
    assert found.prediction.tolist() == [Outcome.FALSE]


def test_outcomes_exchange_merged_and_split_with_the_maps():
    forth, back = (outcomes(metrics.overlaps(a, b)) for a, b in ((TRUTH, FLAWED), (FLAWED, TRUTH)))
    exchanged = {
        Outcome.MERGED: Outcome.SPLIT,
        Outcome.SPLIT: Outcome.MERGED,
        Outcome.MISSED: Outcome.FALSE,
        Outcome.FALSE: Outcome.MISSED,
        Outcome.RIGHT: Outcome.RIGHT,
    }
    assert [exchanged[o] for o in forth.truth] == back.prediction.tolist()
    assert [exchanged[o] for o in forth.prediction] == back.truth.tolist()


@pytest.mark.parametrize(("truth", "prediction"), [(EMPTY, EMPTY), (TRUTH, EMPTY), (EMPTY, FLAWED)])
def test_outcomes_of_empty_maps(truth, prediction):
    count = outcomes(metrics.overlaps(truth, prediction)).count()
    assert count[Outcome.MISSED] == len(np.unique(truth)) - 1
    assert count[Outcome.FALSE] == len(np.unique(prediction)) - 1
    assert sum(count.values()) == count[Outcome.MISSED] + count[Outcome.FALSE]
