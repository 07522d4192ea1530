"""Workers that were lost, and the slides that they were lost at."""

from collections import Counter

from nucseg_jax.predict.cluster.messages import Event

MOST_LOSSES = 3
"""Workers that may be lost at a slide before it has failed."""


class LostWorkers:
    """Knows which slide each worker is at. A slide that only waited for a lost worker is not to blame."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._begun: Counter[int] = Counter()
        self._lost: Counter[int] = Counter()
        self._over_memory: set[str] = set()
        self._gone: set[str] = set()

    def begun(self, event: Event) -> None:
        """A worker has begun with a slide."""
        self._at[event.worker] = event.number
        self._gone.discard(event.worker)
        self._begun[event.number] += 1

    def ended(self, number: int, worker: str) -> None:
        """A worker has said how it ended with a slide."""
        self._begun[number] = 0
        if self._at.get(worker) == number:
            del self._at[worker]

    def over_memory(self, worker: str) -> None:
        """A worker is being ended because it uses too much memory."""
        self._over_memory.add(worker)

    def at_work(self) -> set[int]:
        """The slides that workers are at."""
        return {number for worker, number in self._at.items() if worker not in self._gone}

    def blame(self, number: int, worker: str) -> int:
        """A worker was lost that had a slide.

        Returns:
          How many have been lost at the slide; 0 where this one was lost at another slide.
        """
        self._gone.add(worker)
        if self._at.get(worker, number) != number:
            return 0
        # A scheduler of the user may have tried it several times before it says so.
        self._lost[number] += max(1, self._begun[number])
        self._begun[number] = 0
        return self._lost[number]

    def why(self, worker: str) -> str:
        """What is known of why a worker was lost."""
        return "out of memory" if worker in self._over_memory else "killed, or its machine was"
