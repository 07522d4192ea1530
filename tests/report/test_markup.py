"""Numbers as the page writes them."""

import pytest

from nucseg_jax.report import markup


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0004, "0.000"), (-0.0004, "0.000"), (0.0126, "+0.013"), (-1.5, "−1.500")]
)
def test_differences_have_signs(value, shown):
    assert markup.signed(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.012345, "0.0123"), (27.4187, "27.4"), (433.29, "433"), (1234.5, "1,234")],
)
def test_three_digits_count(value, shown):
    assert markup.significant(value) == shown
