"""The numbers of a report, against their definitions."""

import dataclasses

import numpy as np
import pytest

from nucseg_jax.evaluation import scoring
from nucseg_jax.evaluation.results import Entry
from nucseg_jax.metrics.statistics import paired_difference
from nucseg_jax.report import numbers
from tests.metrics.square_nuclei import EMPTY
from tests.report.comparisons import AREA, EXAMPLES


def test_few_images_show_no_difference_however_narrow_their_interval():
    better, worse = np.array([0.7, 0.71, 0.72]), np.array([0.5, 0.52, 0.51])
    few = paired_difference(better, worse)
    assert few.low > 0 and not numbers.differs(few)
    assert numbers.differs(paired_difference(np.tile(better, 3), np.tile(worse, 3)))
    assert numbers.differs(paired_difference(np.tile(worse, 3), np.tile(better, 3)))


def counted(true, found):
    scored = scoring.score_image(EXAMPLES[0], EMPTY, AREA, 1.0)
    return dataclasses.replace(scored, scores={"count_true": float(true), "count_pred": float(found)})


def test_agreement_of_counts():
    generator = np.random.default_rng(0)
    true = generator.integers(100, 900, 9)
    found = true + generator.integers(-50, 50, 9)
    one = Entry("a", "network", tuple(counted(t, f) for t, f in zip(true, found, strict=True)))
    a = numbers.agreement(one)
    difference = found - true
    assert a.pearson == pytest.approx(np.corrcoef(true, found)[0, 1])
    assert a.bias == pytest.approx(difference.mean())
    assert a.limits == pytest.approx(difference.mean() + np.array([-1.96, 1.96]) * difference.std(ddof=1))
    # Lin 1989: 2 s_xy / (s_x² + s_y² + (x̄ − ȳ)²)
    covariance = np.cov(true, found, bias=True)
    assert a.concordance == pytest.approx(2 * covariance[0, 1] / (np.trace(covariance) + a.bias**2))


def test_agreement_of_equal_counts():
    perfect = numbers.agreement(Entry("a", "network", tuple(counted(n, n) for n in (3, 5, 9))))
    assert (perfect.pearson, perfect.concordance, perfect.bias) == (pytest.approx(1), pytest.approx(1), 0)
    constant = numbers.agreement(Entry("a", "network", tuple(counted(7, 7) for _ in range(3))))
    assert (constant.pearson, constant.concordance, constant.limits) == (None, None, (0, 0))
    alone = numbers.agreement(Entry("a", "network", (counted(7, 9),)))
    assert (alone.pearson, alone.limits, alone.bias) == (None, None, 2)
