"""Eosin around drawn nuclei, whose rings are known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from nucseg_jax.inference.rings import NOT_MEASURED, RING_UM, densities
from nucseg_jax.inference.tile_store import LARGEST_DENSITY

STEP = LARGEST_DENSITY / 255  # density that a stored value stands for
NEAR, FAR, INSIDE = 60, 10, 200


def distances(mpp: float, *centre_um: float, side_um: float = 40.0) -> NDArray[np.float64]:
    """µm from a point to the centres of pixels."""
    places = (np.arange(round(side_um / mpp)) + 0.5) * mpp
    return np.hypot(places[:, None] - centre_um[0], places - centre_um[1])


def of(label_map: NDArray, eosin: NDArray, mpp: float = 0.5, corner: tuple[int, int] = (0, 0)) -> list[float]:
    """Of each nucleus, in stored values."""
    labels = label_map.astype(np.int32)
    result = densities(labels, labels > 0, eosin.astype(np.uint8), corner, mpp) / STEP
    assert np.isnan(result[0])
    return result[1:].tolist()


@pytest.mark.parametrize("mpp", [0.1, 0.2, 0.23, 0.25, 0.34, 0.5, 1.0])
def test_a_disc_in_one_field_with_another_beyond_the_ring(mpp: float) -> None:
    """Neither what is in the nucleus nor what is farther than 5 µm counts."""
    distance = distances(mpp, 20, 20)
    eosin = np.where(distance < 6, INSIDE, np.where(distance < 6 + RING_UM, NEAR, FAR))
    assert of(distance < 6, eosin, mpp) == pytest.approx([NEAR])


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_the_ring_is_five_um_wide(mpp: float) -> None:
    """The area-weighted mean of an inner and an outer part of it."""
    distance = distances(mpp, 20, 20)
    eosin = np.where(distance < 6, INSIDE, np.where(distance < 8, NEAR, FAR))
    inner = (8**2 - 6**2) / (11**2 - 6**2)
    assert of(distance < 6, eosin, mpp) == pytest.approx([NEAR * inner + FAR * (1 - inner)], rel=0.05)


def test_20x_and_40x_mean_the_same() -> None:
    """On the same tissue with a field that rises from one side and falls off the nucleus."""
    values = []
    for mpp in (0.25, 0.5):
        one, other = distances(mpp, 15, 17), distances(mpp, 25.5, 25)
        label_map = np.where(one < 4.2, 1, np.where(other < 5.1, 2, 0))
        eosin = np.round(110 - 6 * np.minimum(one, other) + np.arange(len(one)) * mpp)
        values.append(of(label_map, eosin, mpp))
    np.testing.assert_allclose(*values, rtol=0.01)


def test_nuclei_that_touch_share_no_pixel() -> None:
    """Left and right of the line that they touch along there are two fields."""
    label_map = np.zeros((60, 80), np.int32)
    label_map[20:40, 20:40], label_map[20:40, 40:60] = 1, 2
    eosin = np.where(np.arange(80) < 40, NEAR, FAR) * np.ones((60, 1))
    eosin[label_map > 0] = INSIDE
    assert of(label_map, eosin) == pytest.approx([NEAR, FAR])


def test_a_nucleus_at_the_edge_has_the_part_of_its_ring_that_is_there() -> None:
    label_map = np.zeros((50, 50), np.int32)
    label_map[:8, 20:30] = 1
    eosin = np.full((50, 50), FAR)
    eosin[8:18, 20:30] = NEAR  # below; left and right of it are two quarters of a disc, and 8 rows of 10
    quarter = sum(np.hypot(y, x) <= 10 for y in range(1, 11) for x in range(1, 11))
    below, beside = 10 * 10, 2 * (8 * 10 + quarter)
    assert of(label_map, eosin) == pytest.approx([(below * NEAR + beside * FAR) / (below + beside)])


def test_what_is_masked_or_of_nucleus_does_not_count() -> None:
    """Nor what is nearest to nuclear pixels that no nucleus was made of."""
    label_map = np.zeros((50, 60), np.int32)
    label_map[20:30, 20:30] = 1
    nuclear = label_map > 0
    nuclear[:, 35] = True
    eosin = np.full((50, 60), NEAR, np.uint8)
    eosin[:, 33:] = FAR  # columns 30 … 32 are the nucleus's
    eosin[nuclear] = INSIDE
    eosin[:20] = eosin[30:] = NOT_MEASURED
    eosin[20, 19] = NOT_MEASURED - 1  # the largest that is a density
    pixels = 10 * (10 + 3)
    value = densities(label_map, nuclear, eosin, (0, 0), 0.5)[1] / STEP
    assert value == pytest.approx((NEAR * (pixels - 1) + NOT_MEASURED - 1) / pixels)


def test_nothing_to_measure() -> None:
    label_map = np.zeros((20, 20), np.int32)
    eosin = np.full(label_map.shape, NEAR)
    assert of(label_map, eosin) == []
    label_map[:] = 1
    assert np.isnan(of(label_map, eosin)).all()  # no pixel around it
    label_map[:5] = 0
    assert np.isnan(of(label_map, np.full(label_map.shape, NOT_MEASURED))).all()
    label_map[:] = 0
    label_map[3] = 1
    assert np.isnan(of(label_map, eosin, 0.25)).all()  # between the rows of the grid


@pytest.mark.parametrize(
    ("mpp", "shape"), [(0.5, (37, 52)), (0.25, (60, 71)), (0.34, (4, 90)), (0.5, (60, 1))]
)
def test_each_pixel_is_of_its_nearest_nucleus(mpp: float, shape: tuple[int, int]) -> None:
    """Against all pairs of pixels; of several nearest pixels the uppermost counts, then the leftmost."""
    generator = np.random.default_rng(5)
    nuclear = generator.random(shape) < 0.02
    label_map = np.where(nuclear, generator.integers(0, 4, shape), 0)
    eosin = generator.integers(0, 256, shape).astype(np.uint8)
    corner = 3, 8
    step = max(1, round(0.5 / mpp))
    rows, columns = (np.arange(-first % step, side, step) for first, side in zip(corner, shape, strict=True))
    grid = np.ix_(rows, columns)
    taken = np.argwhere(nuclear[grid])
    sums, counts = np.zeros(4), np.zeros(4)
    for y, x in np.argwhere(~nuclear[grid] & (eosin[grid] < NOT_MEASURED)):
        square = ((taken - (y, x)) ** 2).sum(1)
        if len(taken) and square.min() * (step * mpp) ** 2 <= RING_UM**2 + 1e-9:
            owner = label_map[grid][tuple(taken[square.argmin()])]  # the first one, row by row
            sums[owner] += eosin[grid][y, x]
            counts[owner] += 1
    result = densities(label_map.astype(np.int32), nuclear, eosin, corner, mpp)
    expected = (sums / np.where(counts, counts, np.nan))[1 : len(result)]
    np.testing.assert_allclose(result[1:] / STEP, expected)


@pytest.mark.parametrize("mpp", [0.25, 0.5])
def test_a_window_sees_the_ring_that_the_whole_has(mpp: float) -> None:
    generator = np.random.default_rng(1)
    label_map = np.zeros((200, 200), np.int32)
    label_map[101:115, 97:116], label_map[118:130, 90:110] = 1, 2
    eosin = generator.integers(0, 100, label_map.shape).astype(np.uint8)
    part = slice(61, 171), slice(50, 157)
    assert of(label_map[part], eosin[part], mpp, (61, 50)) == of(label_map, eosin, mpp)
