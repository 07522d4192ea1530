"""The model of a step's time on many devices."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import scaling
from benchmarks.scaling import GPUS, Machine, Work

WORK = Work(flops=1e12, norms=(64, 128), gradients=10**6)
# One link for all, without hops.
PLAIN = Machine(1e12, 1, math.inf, 1e9, 0.0, 0.0)


def test_a_message_over_one_network() -> None:
    """Twice through the link, less a device's own part; and a hop for each doubling, there and back."""
    assert scaling.message_seconds(1e9, 4, PLAIN) == pytest.approx(2 * 3 / 4)
    assert scaling.message_seconds(0, 8, replace(PLAIN, hop=0.5)) == pytest.approx(2 * 3 * 0.5)
    assert scaling.message_seconds(1e9, 1, PLAIN) == 0


def test_a_message_over_hosts_is_put_together_in_each_first() -> None:
    machine = Machine(1e12, 8, 1e10, 1e9, 0.0, 0.0)
    assert scaling.message_seconds(1e9, 8, machine) == pytest.approx(2 * 7 / 8 / 10)
    assert scaling.message_seconds(1e9, 32, machine) == pytest.approx(2 * 7 / 8 / 10 + 2 / 8 * 3 / 4)


def test_efficiency() -> None:
    talk = scaling.gradient_seconds(WORK, 4, PLAIN) + scaling.norm_seconds(WORK, 4, PLAIN)
    assert talk == pytest.approx((4e6 + 4 * 5 * 192) * 1.5e-9)
    assert scaling.efficiency(WORK, PLAIN, 4, 3) == pytest.approx(3 / (3 + talk))
    local = scaling.efficiency(WORK, PLAIN, 4, 3, local_norms=True)
    assert local == pytest.approx(3 / (3 + 4e6 * 1.5e-9))


def test_the_images_for_a_good_efficiency_are_the_fewest() -> None:
    images = scaling.images_for(WORK, GPUS, 512)
    assert scaling.efficiency(WORK, GPUS, 512, images) >= 0.95
    assert images > 1 and scaling.efficiency(WORK, GPUS, 512, images - 1) < 0.95


@pytest.mark.slow
def test_the_page_has_the_tables() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "scaling.md").read_text()
    assert scaling.tables() in page
