"""What the network said of an image's pixels: written tile by tile, blended and read in any rectangle."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.inference.tiles import TISSUE_PX, Tiling
from nucseg_jax.io.disk import named_when_full

LARGEST_DENSITY = 10.0
"""Optical density that a plane's 255 stands for. A pixel of three channels has at most ln 255 · √3 = 9.6."""


class Tiles(Protocol):
    """Where the kept parts of tiles are put: [planes, kept, kept] each."""

    def put(self, row: int, column: int, values: NDArray) -> None:
        """Keep a tile's values."""

    def get(self, row: int, column: int, planes: int) -> NDArray | None:
        """The first `planes` of them; None for a tile that was never put."""


@dataclass(frozen=True)
class TilesInMemory:
    """Tiles of a small image."""

    _tiles: dict[tuple[int, int], NDArray] = field(default_factory=dict)

    def put(self, row: int, column: int, values: NDArray) -> None:
        self._tiles[row, column] = values

    def get(self, row: int, column: int, planes: int) -> NDArray | None:
        values = self._tiles.get((row, column))
        return None if values is None else values[:planes]


@dataclass(frozen=True)
class TilesOnDisk:
    """Tiles of uint8 of a slide of any size, a file for each row of them.

    Only plain reads and writes: mapped into memory, the pages of a slide would count as the process's own.
    May be sent to other processes, which read what this one has written.

    Attributes:
      folder: that holds the files; it exists and is this store's own.
      planes: values a pixel.
      kept: side of the tiles in pixels.
      written: bool [rows, columns], the tiles that will be put; others are holes in the files.
    """

    folder: Path
    planes: int
    kept: int
    written: NDArray[np.bool_]

    def put(self, row: int, column: int, values: NDArray) -> None:
        # Tiles in between that are never put are holes, which take no space on most file systems.
        mode = "r+b" if self._path(row).exists() else "w+b"
        with named_when_full(self.folder), open(self._path(row), mode) as file:
            file.seek(column * self.planes * self.kept**2)
            file.write(np.ascontiguousarray(values, np.uint8).data)

    def get(self, row: int, column: int, planes: int) -> NDArray | None:
        if not self.written[row, column]:
            return None
        with open(self._path(row), "rb", buffering=0) as file:
            file.seek(column * self.planes * self.kept**2)
            stored = file.read(planes * self.kept**2)
        return np.frombuffer(stored, np.uint8).reshape(planes, self.kept, self.kept)

    def drop_rows(self, end: int) -> None:
        """Delete the rows of tiles before `end`."""
        for path in self.folder.glob("*.planes"):
            if int(path.stem) < end:
                path.unlink()

    def _path(self, row: int) -> Path:
        return self.folder / f"{row}.planes"


@dataclass(frozen=True)
class TileStore:
    """The planes of an image, put together of tiles.

    Attributes:
      tiles: where the kept parts of the tiles are.
      tiling: how they lie.
      shape: (height, width) of the image in pixels of the network's level.
      planes: values a pixel.
      squares: bool [rows, columns], the squares of TISSUE_PX pixels that are looked at; others are 0.
    """

    tiles: Tiles
    tiling: Tiling
    shape: tuple[int, int]
    planes: int
    squares: NDArray[np.bool_]

    def read(self, top: int, left: int, height: int, width: int, planes: int | None = None) -> NDArray:
        """A rectangle within the shape: [planes, height, width] of the tiles' dtype.

        Where kept parts of tiles overlap, the result is their weighted mean: of integers the nearest integer,
        computed without rounding before, so that the order of the tiles changes nothing.

        Args:
          top, left, height, width: in pixels.
          planes: only the first so many; None: all.
        """
        count = self.planes if planes is None else planes
        parts = self._parts((top, left), (height, width), count)
        if self.tiling.blend:
            result = _blended(parts, (count, height, width), self.tiling.weights)
        else:
            result = _joined(parts, (count, height, width))
        if not self.squares.all():
            rows, columns = (
                np.arange(start, start + length) // TISSUE_PX
                for start, length in ((top, height), (left, width))
            )
            result *= self.squares[np.ix_(rows, columns)]
        return result

    def _parts(self, corner: tuple[int, int], sides: tuple[int, int], planes: int) -> list["_Part"]:
        """What each tile has of a rectangle."""
        spans = [
            self._spans(start, length, side)
            for start, length, side in zip(corner, sides, self.shape, strict=True)
        ]
        parts = []
        for row, at_rows, tile_rows in spans[0]:
            for column, at_columns, tile_columns in spans[1]:
                values = self.tiles.get(row, column, planes)
                if values is not None:
                    within = tile_rows, tile_columns
                    parts.append(_Part((at_rows, at_columns), within, values[:, tile_rows, tile_columns]))
        return parts

    def _spans(self, start: int, length: int, side: int) -> list[tuple[int, slice, slice]]:
        """Of each row (or column) of tiles that `length` pixels meet: where in these and in the tile."""
        spans = []
        for index in range(self.tiling.count(side)):
            first = self.tiling.first_kept(index)
            begin, end = max(first, start), min(first + self.tiling.kept, start + length)
            if begin < end:
                spans.append((index, slice(begin - start, end - start), slice(begin - first, end - first)))
        return spans


_ROWS_AT_ONCE = 64  # whose float64 values stay in a processor's cache


class _Part(NamedTuple):
    """What a tile has of a rectangle.

    Attributes:
      at: where in the rectangle.
      within: where in the tile.
      values: [planes, h, w].
    """

    at: tuple[slice, slice]
    within: tuple[slice, slice]
    values: NDArray


def _joined(parts: list[_Part], shape: tuple[int, int, int]) -> NDArray:
    result = np.zeros(shape, _dtype(parts))
    for part in parts:
        result[:, *part.at] = part.values
    return result


def _blended(parts: list[_Part], shape: tuple[int, int, int], weights: NDArray[np.uint32]) -> NDArray:
    """The weighted mean; `weights`: along one side of a tile."""
    dtype = _dtype(parts)
    is_integer = np.issubdtype(dtype, np.integer)
    total = np.zeros(shape, np.uint32 if is_integer else dtype)
    sums = np.zeros(shape[1:], np.uint32)
    for part in parts:
        own = np.outer(*(weights[span] for span in part.within))
        total[:, *part.at] += part.values * own.astype(total.dtype)
        sums[part.at] += own
    sums = np.maximum(sums, 1)
    if not is_integer:
        return total / sums.astype(dtype)
    result = np.empty(shape, dtype)
    for first in range(0, shape[1], _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        # As float64, which is several times as fast as integers. It is as exact: 32 bits by 32 bits is never
        # so near below a whole number that it would be rounded up to it.
        result[:, rows] = (total[:, rows] + sums[rows] // 2) / sums[rows]
    return result


def _dtype(parts: list[_Part]) -> np.dtype:
    return parts[0].values.dtype if parts else np.dtype(np.uint8)
