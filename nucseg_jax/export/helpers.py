"""Batches whose text, outlines and measures other processes make, while this one finds nuclei and writes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

from nucseg_jax.export.batches import Batch, Maker, make_all

_SPARE = 2  # batches for each helper's next, so that none waits for this process


@dataclass(frozen=True)
class Helpers:
    """Processes that make what formats write.

    Attributes:
        pool: of these processes; it may have other work, too.
        count: of them.
        on_seconds: is told the seconds that they worked, less those that this process waited for them.
    """

    pool: Executor
    count: int
    on_seconds: Callable[[float], None]


class Ahead:
    """Batches that helpers are at work on; they come back in the order in which they were put.

    Memory is bounded: as many wait as there are helpers, and `_SPARE` more.

    Args:
        helpers: the processes.
        makers: what they make of each batch.
    """

    def __init__(self, helpers: Helpers, makers: Sequence[Maker]) -> None:
        self._helpers, self._makers = helpers, tuple(makers)
        self._waiting: deque[tuple[Batch, Future[tuple[list[Any], float]]]] = deque()

    def put(self, batch: Batch) -> Iterator[Batch]:
        """Have one made, and give those that are; wait for some if too many are under way.

        Raises:
            ValueError: as the makers; it may be of a batch that was put earlier.
        """
        future = self._helpers.pool.submit(make_all, self._makers, batch)
        self._waiting.append((batch, future))
        while self._waiting and (
            len(self._waiting) > self._helpers.count + _SPARE or self._waiting[0][1].done()
        ):
            yield self._oldest()

    def rest(self) -> Iterator[Batch]:
        """All that are under way."""
        while self._waiting:
            yield self._oldest()

    def cancel(self) -> None:
        """Have nothing more made."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    def _oldest(self) -> Batch:
        batch, future = self._waiting.popleft()
        start = time.perf_counter()
        results, seconds = future.result()
        self._helpers.on_seconds(seconds - (time.perf_counter() - start))
        batch.take(self._makers, results)
        return batch
