"""The one-to-one assignment of the highest total IoU, as AJI+ uses it."""

import pytest

from nucseg_jax.metrics import score
from tests.metrics.drawn_maps import row


def test_aji_plus_maximises_the_total_and_does_not_go_greedily():
    truth = row(1, 1, 1, 1, 1, 2, 2)
    prediction = row(6, 6, 5, 5, 5, 5, 5)
    # IoU 1–5: 3/7, 1–6: 2/5, 2–5: 2/5. Together 1–6 and 2–5 have 0.8, more than 3/7 alone.
    assert score(truth, prediction)["aji_plus"] == pytest.approx((2 + 2) / (5 + 5))
    # The challenge's: 1–5: 3 of 7, 2–5: 2 of 5, 6 left over: 2.
    assert score(truth, prediction)["aji"] == pytest.approx((3 + 2) / (7 + 5 + 2))
