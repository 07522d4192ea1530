"""The slides that are open: a few, those that were looked at last."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from nucseg_jax.view.slides.displayed_slide import DisplayedSlide, Opening

MOST_OPEN = 4
"""Images that are no slides are in memory as long as they are open."""


class _Open:
    """A slide that is open, or is just being opened.

    Attributes:
      slide: None until it is open.
      users: how many use it, or wait for it.
      lock: held while it is opened.
    """

    def __init__(self) -> None:
        self.slide: DisplayedSlide | None = None
        self.users = 0
        self.lock = threading.Lock()


class OpenSlides:
    """Opens slides when they are asked for, and closes those that nobody uses.

    Args:
      most: that stay open without a user.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[Opening, _Open] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def using(self, opening: Opening) -> Iterator[DisplayedSlide]:
        """An open slide, which stays open within the block.

        Raises:
          UserError: as `DisplayedSlide`.
        """
        with self._lock:
            entry = self._open.setdefault(opening, _Open())
            self._open.move_to_end(opening)
            entry.users += 1
        try:
            with entry.lock:
                if entry.slide is None:
                    entry.slide = DisplayedSlide(opening)
            yield entry.slide
        finally:
            with self._lock:
                entry.users -= 1
                self._close_unused(self._most)

    def close(self) -> None:
        """Close all that nobody uses."""
        with self._lock:
            self._close_unused(0)

    def _close_unused(self, most: int) -> None:
        for opening, entry in list(self._open.items()):
            if not entry.users and (entry.slide is None or len(self._open) > most):
                del self._open[opening]
                if entry.slide is not None:
                    entry.slide.close()
