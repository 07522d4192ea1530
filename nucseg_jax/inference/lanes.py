"""Batches of tiles on the device: several side by side where one alone leaves cores idle."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import jax
import numpy as np
from numpy.typing import NDArray

from nucseg_jax.inference.timing import StageTimes

Start = Callable[[Sequence[NDArray[np.uint8]]], tuple[jax.Array, jax.Array]]
"""Tiles → what the network gets, and what is kept of what it says: `Scan.start`."""


class Lanes:
    """Threads that each work on a batch.

    XLA's CPU backend works on the operations of a program in turn, and small ones keep few cores busy. An
    accelerator works on one batch while the next one waits: a second lane would gain nothing.

    Args:
      start: starts a batch.
      count: batches side by side.
      times: gets the seconds of "stain" and "network". While several batches are at work, each second counts
        once.

    Attributes:
      in_flight: batches that are worth submitting before the first one is taken.
    """

    def __init__(self, start: Start, count: int, times: StageTimes):
        self.in_flight = max(2, count)
        self._start, self._times = start, times
        self._side_by_side, self._compiled = count > 1, False
        self._pool = ThreadPoolExecutor(count, "lane")
        self._lock = threading.Lock()
        self._counted = 0.0  # the time up to which seconds have been counted

    def submit(self, tiles: Sequence[NDArray[np.uint8]]) -> Future[NDArray[np.uint8]]:
        """What is kept of a batch of tiles: uint8 [B, planes, kept, kept]."""
        if self._side_by_side and self._compiled:
            return self._pool.submit(self._work, tiles)
        # By this thread: so nothing is compiled twice, and several devices get their parts in order.
        started = time.perf_counter()
        result = self._start(tiles)
        self._compiled = True
        return self._pool.submit(self._fetch, started, *result)

    def over(self, batches: Iterable[Sequence[NDArray[np.uint8]]]) -> Iterator[NDArray[np.uint8]]:
        """What is kept of each batch, in order."""
        at_work: deque[Future[NDArray[np.uint8]]] = deque()
        for tiles in batches:
            at_work.append(self.submit(tiles))
            if len(at_work) == self.in_flight:
                yield at_work.popleft().result()
        while at_work:
            yield at_work.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _work(self, tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        return self._fetch(time.perf_counter(), *self._start(tiles))

    def _fetch(self, started: float, normalized: jax.Array, kept: jax.Array) -> NDArray[np.uint8]:
        """Wait for a batch, and take the time; calls to the device return before the work is done."""
        jax.block_until_ready(normalized)
        stained = time.perf_counter()
        values = np.asarray(kept)
        ended = time.perf_counter()
        with self._lock:
            started = max(started, self._counted)
            stained = max(started, stained)
            self._times.add("stain", stained - started)
            self._times.add("network", max(0.0, ended - stained))
            self._counted = max(self._counted, ended)
        return values
