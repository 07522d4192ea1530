"""How far all slides of a cluster are, on the terminal and in the file of `--progress`."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tqdm import tqdm

from nucseg_jax.errors import shown
from nucseg_jax.predict.progress import BAR, Progress, ProgressFile

_LONELY_S = 30.0  # without a worker before that is said; a worker that starts again takes less


class Overview:
    """Shows the part of all slides that is done, and how many workers there are.

    Args:
      count: of the slides.
      trouble: gives what may keep workers away; "" for nothing.
      progress: the file of `--progress`.
    """

    def __init__(self, count: int, trouble: Callable[[], str], progress: ProgressFile):
        self._count, self._trouble, self._file = count, trouble, progress
        self._parts: dict[int, float] = {}
        self._done = 0
        self._alone_since = time.monotonic()
        self._is_told = False
        self._bar = tqdm(total=count, unit="slide", disable=None, bar_format=BAR)

    def at(self, number: int, part: float) -> None:
        """A slide is worked on, and so much of it is done."""
        self._parts[number] = min(part, 0.99)

    def back(self, number: int) -> None:
        """A slide is to be begun again."""
        self._parts.pop(number, None)

    def done(self, number: int) -> None:
        """A slide is finished, or has failed."""
        self.back(number)
        self._done += 1

    def show(self, workers: int) -> None:
        """Show all that, and say once where no worker is left."""
        now = time.monotonic()
        if workers:
            self._alone_since, self._is_told = now, False
        elif now - self._alone_since > _LONELY_S and not self._is_told:
            self._is_told = True
            why = f" ({trouble})" if (trouble := self._trouble()) else ""
            tqdm.write(shown(f"no worker is connected: waiting for one{why}. Ctrl-C stops"))
        plural = "" if workers == 1 else "s"
        self._bar.set_description(f"{workers} worker{plural}", refresh=False)
        self._bar.n = self._done + sum(self._parts.values())
        self._bar.refresh()
        self._file.tell(Progress("segmenting", done=self._done, of=self._count))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
