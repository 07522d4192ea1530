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
_TILE_BYTES = TILE_PX * TILE_PX * 4
_OVERHEAD_BYTES = 300  # of a part, besides its pixels

# Of zlib-ng: 0.9 ms for a tile of 98 nuclei, 9.4 kB; libdeflate's level 6 takes 2.8 ms for 8.3 kB.
_EFFORT = 3

_Key = tuple[int, int, int]  # level, row and column of a tile


class _Part(NamedTuple):
    """Runs of pixels in one tile, int32 [n] each.

    Attributes:
        place: of the first pixel, counted row by row.
        length: in pixels.
        label: of them.
    """

    place: NDArray[np.int32]
    length: NDArray[np.int32]
    label: NDArray[np.int32]

    @property
    def bytes(self) -> int:
        return 3 * self.place.nbytes + _OVERHEAD_BYTES


class LabelPyramid:
    """A slide's label map, int32, 0 where nothing was painted, and the pyramid above it.

    Runs of pixels wait in memory for their tile. When they are too many, the tiles with the most to paint are
    painted, each once for all that waits, and compressed, as TIFF's Deflate wants them, to the end of the
    scratch file. A tile that gets more later is read back and written anew; what it took before is lost until
    the file is closed. So a slide's nuclei may come row by row or region by region; only if neighbours came
    far apart in a very large slide would tiles be written often.

    Args:
        shape: (height, width) of the map.
        scratch: a file open for reading and writing, empty.
        most_waiting_bytes: that waiting runs may take.

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
        self._empty = zlib.compress(bytes(_TILE_BYTES), 9)

    def paint(
        self,
        row: NDArray[np.int64],
        start: NDArray[np.int64],
        stop: NDArray[np.int64],
        label: NDArray[np.int64],
    ) -> None:
        """Give pixels labels; one that gets several keeps the last.

        Args:
            row: int64 [N], of horizontal runs of pixels.
            start, stop: int64 [N], the first column, and the one after the last, which is farther right.
            label: int64 [N].
        """
        # A run is cut where tiles meet.
        first = start // TILE_PX
        pieces = (stop - 1) // TILE_PX - first + 1
        index = np.repeat(np.arange(len(row)), pieces)
        column = np.arange(len(index)) + np.repeat(first - (np.cumsum(pieces) - pieces), pieces)
        row, label = row[index], label[index]
        start = np.maximum(start[index], column * TILE_PX)
        stop = np.minimum(stop[index], (column + 1) * TILE_PX)
        place = row % TILE_PX * TILE_PX + start % TILE_PX
        runs = np.stack([place, stop - start, label]).astype(np.int32)
        tile = row // TILE_PX * (self._shape[1] // TILE_PX + 1) + column
        order = np.argsort(tile, kind="stable")
        ends = np.flatnonzero(np.diff(tile[order])) + 1
        for chosen in np.split(order, ends) if len(order) else []:
            part = _Part(*runs[:, chosen])
            key = (0, int(row[chosen[0]]) // TILE_PX, int(column[chosen[0]]))
            self._waiting.setdefault(key, []).append(part)
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
            tile = _decompress(self._read(key))
            if not parts:
                return tile
            tile = tile.copy()
            del self._in_file[key]
        elif parts:
            tile = np.zeros((TILE_PX, TILE_PX), dtype="<i4")
        else:
            return None
        self.waiting_bytes -= sum(part.bytes for part in parts)
        paint_runs(tile, *(np.concatenate(values) for values in zip(*parts, strict=True)))
        return tile

    def _write(self, key: _Key, tile: NDArray[np.int32]) -> None:
        data = _compress(tile)
        self._in_file[key] = (self._scratch.seek(0, 2), len(data))
        self._scratch.write(data)

    def _read(self, key: _Key) -> bytes:
        offset, length = self._in_file[key]
        self._scratch.seek(offset)
        return self._scratch.read(length)


def paint_runs(
    pixels: NDArray[np.int32],
    place: NDArray[np.integer],
    length: NDArray[np.integer],
    label: NDArray[np.integer],
) -> None:
    """Give runs of an array's pixels labels, in place; a pixel that gets several keeps the last.

    Args:
        pixels: int32 [h, w], contiguous.
        place: int [N], of each run's first pixel, counted row by row.
        length: int [N], in pixels.
        label: int [N].
    """
    begin = np.cumsum(length) - length
    places = np.arange(int(length.sum())) + np.repeat(place - begin, length)
    pixels.reshape(-1)[places] = np.repeat(label, length)


def _compress(tile: NDArray[np.int32]) -> bytes:
    from imagecodecs import zlibng_encode

    return bytes(zlibng_encode(tile.tobytes(), level=_EFFORT))


def _decompress(data: bytes) -> NDArray[np.int32]:
    """A tile that must not be written to."""
    from imagecodecs import zlibng_decode

    return np.frombuffer(zlibng_decode(data, out=_TILE_BYTES), dtype="<i4").reshape(TILE_PX, TILE_PX)
