"""Rectangles of pictures that lie in pieces (tiles, strips, chunks): only the pieces needed are decoded."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CACHE_BYTES = 128 * 2**20
"""Decoded pieces that are kept: a row of pieces is read again for the next row of the network's tiles."""

MOST_PIECE_BYTES = 2**30
"""Of a piece, which is decoded whole."""

_DECODERS = 64  # pieces that may be decoded at once


class Grid(NamedTuple):
    """How a level is cut into pieces.

    Attributes:
      height, width: of the level, in pixels.
      rows, columns: of a piece, in pixels; those at the bottom and on the right reach out of the level.
    """

    height: int
    width: int
    rows: int
    columns: int


class Pieces:
    """The pieces of all levels, the last ones kept; safe for threads.

    Args:
      grids: of each level.
      decode: (level, row, column) → uint8 [rows, columns, 3] of the piece in that row and column of the grid.
      cache_bytes: of decoded pieces that are kept; the last one always is.
      at_once: pieces of a rectangle that are decoded at the same time.
    """

    def __init__(
        self,
        grids: Sequence[Grid],
        decode: Callable[[int, int, int], NDArray[np.uint8]],
        *,
        cache_bytes: int = CACHE_BYTES,
        at_once: int = 1,
    ):
        self._grids, self._decode, self._cache_bytes = tuple(grids), decode, cache_bytes
        self._cache: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
        self._cached_bytes = 0
        self._lock = threading.Lock()
        self._decoding = tuple(threading.Lock() for _ in range(_DECODERS))
        self._pool = ThreadPoolExecutor(at_once, "pieces") if at_once > 1 else None

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """uint8 [height, width, 3] of a rectangle within a level."""
        rows, columns = self._grids[level].rows, self._grids[level].columns
        region = np.empty((height, width, 3), np.uint8)

        def fill(place: tuple[int, int]) -> None:
            piece = self._piece(level, *place)
            y, x = place[0] * rows, place[1] * columns
            first_y, first_x = max(y, top), max(x, left)
            last_y, last_x = min(y + rows, top + height), min(x + columns, left + width)
            region[first_y - top : last_y - top, first_x - left : last_x - left] = piece[
                first_y - y : last_y - y, first_x - x : last_x - x
            ]

        places = [
            (row, column)
            for row in range(top // rows, -(-(top + height) // rows))
            for column in range(left // columns, -(-(left + width) // columns))
        ]
        for _ in map(fill, places) if self._pool is None else self._pool.map(fill, places):
            pass
        return region

    def close(self) -> None:
        """Forget what is kept."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        with self._lock:
            self._cache.clear()
            self._cached_bytes = 0

    def _piece(self, level: int, row: int, column: int) -> NDArray[np.uint8]:
        """uint8 [rows, columns, 3], from the cache where it is there."""
        key = (level, row, column)
        with self._decoding[hash(key) % _DECODERS]:  # a huge strip is decoded by one thread, not by all
            with self._lock:
                if key in self._cache:
                    self._cache.move_to_end(key)
                    return self._cache[key]
            piece = self._decode(level, row, column)
            with self._lock:
                self._cache[key] = piece
                self._cached_bytes += piece.nbytes
                while self._cached_bytes > self._cache_bytes and len(self._cache) > 1:
                    self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
            return piece
