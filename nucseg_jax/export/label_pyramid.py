"""A large label map in compressed tiles in a scratch file, painted on in any order."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.limits import USUAL_LIMITS

TILE_PX = 512
_HALF_PX = TILE_PX // 2
_OVERHEAD_BYTES = 300  # of a part, besides its pixels

# Of libdeflate, which takes 2.1 ms a tile here; zlib took 3.4 ms for as many bytes (its level 4).
_EFFORT = 6

_Key = tuple[int, int, int]  # level, row and column of a tile


class _Part(NamedTuple):
    """What a mask has in one tile."""

    top: int
    left: int
    mask: NDArray[np.bool_]
    label: int

    @property
    def bytes(self) -> int:
        return self.mask.nbytes + _OVERHEAD_BYTES


class LabelPyramid:
    """A slide's label map, int32, 0 where nothing was painted, and the pyramid above it.

    Parts of masks wait in memory for their tile. When they are too many, the tiles with the most to paint are
    painted, each once for all that waits, and compressed, as TIFF's Deflate wants them, to the end of the
    scratch file. A tile that gets more later is read back and written anew; what it took before is lost until
    the file is closed. So a slide's nuclei may come row by row or region by region; only if neighbours came
    far apart in a very large slide would tiles be written often.

    Args:
        shape: (height, width) of the map.
        scratch: a file open for reading and writing, empty.
        most_waiting_bytes: that parts of masks may take.

    Attributes:
        waiting_bytes: that they take.
    """

    def __init__(
        self, shape: tuple[int, int], scratch: BinaryIO, most_waiting_bytes: int = USUAL_LIMITS.label_bytes
    ) -> None:
        self.waiting_bytes = 0
        self._shape = shape
        self._scratch = scratch
        self._most_waiting_bytes = most_waiting_bytes
        self._waiting: dict[_Key, list[_Part]] = {}
        self._in_file: dict[_Key, tuple[int, int]] = {}
        self._empty = zlib.compress(bytes(TILE_PX * TILE_PX * 4), 9)

    def paint(self, top: int, left: int, mask: NDArray[np.bool_], label: int) -> None:
        """Give the pixels of a mask, whose first pixel is at (top, left), a label."""
        bottom, right = top + mask.shape[0], left + mask.shape[1]
        for row in range(top // TILE_PX, (bottom - 1) // TILE_PX + 1):
            for column in range(left // TILE_PX, (right - 1) // TILE_PX + 1):
                y, x = row * TILE_PX, column * TILE_PX
                # A copy, so that what waits keeps no larger array in memory.
                piece = mask[max(0, y - top) : y + TILE_PX - top, max(0, x - left) : x + TILE_PX - left]
                part = _Part(max(0, top - y), max(0, left - x), piece.copy(), label)
                self._waiting.setdefault((0, row, column), []).append(part)
                self.waiting_bytes += part.bytes
        if self.waiting_bytes > self._most_waiting_bytes:
            self._write_fullest()

    def levels(self) -> list[tuple[int, int]]:
        """(height, width) of the map and of each half as large, rounded up, down to one tile."""
        shapes = [self._shape]
        while max(shapes[-1]) > TILE_PX:
            height, width = shapes[-1]
            shapes.append((-(-height // 2), -(-width // 2)))
        return shapes

    def compressed(self, level: int) -> Iterator[bytes]:
        """The tiles of a level, row by row, each compressed; 0 beyond the map's edges.

        Every second pixel of a level is the next: a level is made while this gives out the one before, so
        they are to be asked for in order, when all is painted.
        """
        height, width = self.levels()[level]
        rows, columns = -(-height // TILE_PX), -(-width // TILE_PX)
        smaller: dict[int, NDArray[np.int32]] = {}  # column → tile of the next level, half done
        for row in range(rows):
            for column in range(columns):
                key = (level, row, column)
                tile = self._tile(key)
                if tile is not None:
                    y, x = row % 2 * _HALF_PX, column % 2 * _HALF_PX
                    if column // 2 not in smaller:
                        smaller[column // 2] = np.zeros((TILE_PX, TILE_PX), dtype="<i4")
                    smaller[column // 2][y : y + _HALF_PX, x : x + _HALF_PX] = tile[::2, ::2]
                if column == columns - 1 and (row % 2 or row == rows - 1):
                    # Before the tile is given out: nobody may ask for what comes after the last one.
                    for half, done in smaller.items():
                        self._write((level + 1, row // 2, half), done)
                    smaller.clear()
                if tile is None:
                    yield self._empty
                else:
                    yield self._read(key) if key in self._in_file else _compress(tile)

    def _write_fullest(self) -> None:
        """Paint the tiles with the most to paint, until half of what waits is done."""
        sizes = {key: sum(part.bytes for part in parts) for key, parts in self._waiting.items()}
        for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
            tile = self._tile(key)
            if tile is not None:
                self._write(key, tile)
            if self.waiting_bytes <= self._most_waiting_bytes // 2:
                break

    def _tile(self, key: _Key) -> NDArray[np.int32] | None:
        """A tile with all that waits for it; None if nothing was ever painted on it."""
        parts = self._waiting.pop(key, [])
        if key in self._in_file:
            flat = np.frombuffer(zlib.decompress(self._read(key)), dtype="<i4")
            tile = flat.reshape(TILE_PX, TILE_PX)
            if not parts:
                return tile
            tile = tile.copy()
            del self._in_file[key]
        elif parts:
            tile = np.zeros((TILE_PX, TILE_PX), dtype="<i4")
        else:
            return None
        for part in parts:
            height, width = part.mask.shape
            tile[part.top : part.top + height, part.left : part.left + width][part.mask] = part.label
            self.waiting_bytes -= part.bytes
        return tile

    def _write(self, key: _Key, tile: NDArray[np.int32]) -> None:
        data = _compress(tile)
        self._in_file[key] = (self._scratch.seek(0, 2), len(data))
        self._scratch.write(data)

    def _read(self, key: _Key) -> bytes:
        offset, length = self._in_file[key]
        self._scratch.seek(offset)
        return self._scratch.read(length)


def _compress(tile: NDArray[np.int32]) -> bytes:
    from imagecodecs import deflate_encode

    return bytes(deflate_encode(tile.tobytes(), level=_EFFORT))
