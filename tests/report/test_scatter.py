"""Curves of a training."""

import re

from nucseg_jax.report import scatter
from tests.report.comparisons import CURVES


def test_curves_draw_what_there_is_and_average_the_rest():
    records = [{"step": i, "loss": 1 / i} for i in range(1, 5000)] + [{"step": 5000, "loss": float("nan")}]
    drawn = scatter.curves("unet", records, None)
    assert len(re.search(r'points="([^"]*)"', drawn)[1].split()) == 400
    assert "learning rate" not in drawn and "nan" not in drawn
    drawn = scatter.curves("unet", CURVES, 200)
    assert all(name in drawn for name in ("loss", "learning rate", "validation AJI", "validation Dice"))
    assert "step 200: 0.4000" in drawn and "step 200: 0.6000" in drawn
