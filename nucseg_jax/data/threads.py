"""Work on images in threads that are not far ahead of who takes its results."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from nucseg_jax.cores import usable_cores

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What a function makes of each item, in their order; two items a core are taken at a time.

    Args:
      function: called in threads, as many as cores may be used.
      items: may be more than memory holds.
    """
    waiting, threads = iter(items), usable_cores()
    at_once = done = 2 * threads
    with ThreadPoolExecutor(threads) as pool:
        while done == at_once:
            done = 0
            # No list of them: an item is let go as soon as the function has made something of it.
            for result in pool.map(function, islice(waiting, at_once)):
                yield result
                done += 1
