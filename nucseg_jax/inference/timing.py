"""Where the time goes: seconds each stage was at work, whoever did it."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

STAGES = ("tissue", "reading", "stain", "network", "instances", "export")
"""In the order of the road. They run side by side, so their sum is more than the time on the clock."""


class StageTimes(Mapping[str, float]):
    """Seconds by stage, as a mapping that grows; may be added to from any thread."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(STAGES, 0.0)
        self._running: dict[object, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] += seconds

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes; while it runs, what it has taken counts."""
        token, start = object(), time.perf_counter()
        with self._lock:
            self._running[token] = stage, start
        try:
            yield
        finally:
            with self._lock:
                del self._running[token]
                self._seconds[stage] += time.perf_counter() - start

    def __getitem__(self, stage: str) -> float:
        with self._lock:
            running = [start for of, start in self._running.values() if of == stage]
            return self._seconds[stage] + len(running) * time.perf_counter() - sum(running)

    def __iter__(self) -> Iterator[str]:
        return iter(STAGES)

    def __len__(self) -> int:
        return len(STAGES)
