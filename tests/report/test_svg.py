"""Scales, their ticks and limits; names that are too wide."""

import pytest

from nucseg_jax.report import svg


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.29, False, [0.15, 0.2, 0.25]),
        (0, 1389, False, [0, 500, 1000]),
        (8, 300, True, [10, 20, 50, 100, 200]),
        (0.5, 9000, True, [1, 10, 100, 1000]),
    ],
)
def test_ticks_are_round(low, high, log, ticks):
    assert svg.Scale(low, high, 0, 100, log).ticks() == pytest.approx(ticks)


def test_scales_put_the_ends_where_they_belong():
    for log in (False, True):
        scale = svg.Scale(10, 1000, 400, 40, log)
        assert (scale(10), scale(1000)) == (400, 40)
    assert svg.Scale(10, 1000, 0, 100, True)(100) == pytest.approx(50)


@pytest.mark.parametrize("values", [[0.5], [0, 0], [1, 1], [0.2, 0.9], [300.0, 1400.0]])
def test_limits_hold_the_values(values):
    low, high = svg.around(values, floor=0)
    assert 0 <= low <= min(values) and max(values) <= high and low < high


def test_names_that_are_too_wide_are_cut_in_the_middle():
    name = "a_network_of_a_very_long_name_at_the_end_of_which_it_differs"
    cut = svg.shorten(name, 120)
    assert cut[0] == "a" and cut.endswith("differs"[-4:]) and "…" in cut
    assert svg.text_width(cut) <= 120
    lines = svg.wrap("or(unet_small, and(psp_small, self_correction_small))", 180)
    assert lines == ["or(unet_small,", "and(psp_small,", "self_correction_small))"]
