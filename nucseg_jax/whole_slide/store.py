"""What the network said of a slide's pixels, on disk: written tile by tile, read in any rectangle."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LARGEST_DENSITY = 10.0
"""Optical density that a plane's 255 stands for. A pixel of three channels has at most ln 255 · √3 = 9.6."""


@dataclass(frozen=True)
class TileStore:
    """Planes of uint8 in squares, a file for each row of squares; squares that were not written are 0.

    Only plain reads and writes: mapped into memory, the pages of a slide would count as the process's own.
    May be sent to other processes, which read what this one has written.

    Attributes:
      folder: that holds the files; it exists and is this store's own.
      shape: (height, width) in pixels.
      square: side of the squares in pixels.
      planes: values a pixel.
    """

    folder: Path
    shape: tuple[int, int]
    square: int
    planes: int

    def write(self, row: int, column: int, values: NDArray[np.uint8]) -> None:
        """Write a square: uint8 [planes, square, square]."""
        # Squares in between that are never written are holes, which take no space on most file systems.
        with open(self._path(row), "r+b" if self._path(row).exists() else "w+b") as file:
            file.seek(column * self._bytes)
            file.write(np.ascontiguousarray(values).data)

    def read(
        self, top: int, left: int, height: int, width: int, planes: int | None = None
    ) -> NDArray[np.uint8]:
        """uint8 [planes, height, width] of a rectangle within the shape; `planes`: only the first so many."""
        count = self.planes if planes is None else planes
        result = np.zeros((count, height, width), np.uint8)
        for row in range(top // self.square, -(-(top + height) // self.square)):
            if not self._path(row).exists():
                continue
            with open(self._path(row), "rb") as file:
                for column in range(left // self.square, -(-(left + width) // self.square)):
                    self._read_square(file.fileno(), row, column, top, left, result)
        return result

    def drop_above(self, y: int) -> None:
        """Delete the squares that end at or above pixel row `y`; they read as 0 after that."""
        for path in self.folder.glob("*.planes"):
            if (int(path.stem) + 1) * self.square <= y:
                path.unlink()

    @property
    def _bytes(self) -> int:
        return self.planes * self.square**2

    def _path(self, row: int) -> Path:
        return self.folder / f"{row}.planes"

    def _read_square(
        self, file: int, row: int, column: int, top: int, left: int, result: NDArray[np.uint8]
    ) -> None:
        """Copy what a square has of a rectangle that begins at (top, left) into `result`."""
        count, height, width = result.shape
        stored = os.pread(file, count * self.square**2, column * self._bytes)
        if not stored:  # past the last square that was written
            return
        values = np.frombuffer(stored, np.uint8).reshape(count, self.square, self.square)
        y, x = row * self.square, column * self.square
        first_y, last_y = max(y, top), min(y + self.square, top + height)
        first_x, last_x = max(x, left), min(x + self.square, left + width)
        result[:, first_y - top : last_y - top, first_x - left : last_x - left] = values[
            :, first_y - y : last_y - y, first_x - x : last_x - x
        ]
