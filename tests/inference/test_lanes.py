"""Batches side by side: each at work with others, in order, and nothing lost when one fails."""

import threading
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax.inference.lanes import Lanes
from nucseg_jax.inference.timing import StageTimes
from nucseg_jax.slides import slide_of_array
from tests.drawn_tissue import MPP, segmenter, tissue


def batch(value: int) -> list[NDArray[np.uint8]]:
    return [np.full((4, 4, 3), value, np.uint8)]


def started(tiles: Sequence[NDArray[np.uint8]]) -> tuple[jax.Array, jax.Array]:
    images = jnp.asarray(np.stack(tiles))
    return images, images[:, None, :, :, 0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_order(count: int) -> None:
    times = StageTimes()
    with Lanes(started, count, times) as lanes:
        assert lanes.in_flight == max(2, count)
        values = [int(kept[0, 0, 0, 0]) for kept in lanes.over(batch(i) for i in range(40))]
    assert values == list(range(40))
    assert times["network"] > 0


def test_batches_are_at_work_together() -> None:
    together = threading.Barrier(3, timeout=20)
    threads = set()

    def start(tiles: Sequence[NDArray[np.uint8]]) -> tuple[jax.Array, jax.Array]:
        if tiles[0].max():  # the first batch compiles, alone
            threads.add(threading.current_thread().name)
            together.wait()
        return started(tiles)

    with Lanes(start, 3, StageTimes()) as lanes:
        assert len(list(lanes.over(batch(i) for i in range(7)))) == 7
    assert len(threads) == 3 and threading.main_thread().name not in threads


def test_what_goes_wrong_in_a_lane_is_raised_where_its_result_is_taken() -> None:
    def start(tiles: Sequence[NDArray[np.uint8]]) -> tuple[jax.Array, jax.Array]:
        if tiles[0].max() == 2:
            raise MemoryError("no room")
        return started(tiles)

    with Lanes(start, 2, StageTimes()) as lanes:
        results = lanes.over(batch(i) for i in range(4))
        assert [int(next(results).max()) for _ in range(2)] == [0, 1]
        with pytest.raises(MemoryError, match="no room"):
            next(results)


@pytest.mark.parametrize("small_px", [1, 2**23])
def test_lanes_change_no_nucleus(small_px: int) -> None:
    image = tissue(400, 500, 60)

    def labels(lanes: int) -> NDArray[np.int32]:
        network = RedIsNucleus(tile=64, margin=4, batch_size=2, blend=8, lanes=lanes)
        with slide_of_array(image, MPP) as slide:
            found = segmenter(network=network, small_px=small_px)
            return found.label_map(slide, found.frame(slide))

    one, four = labels(1), labels(4)
    assert one.max() > 20
    np.testing.assert_array_equal(one, four)
