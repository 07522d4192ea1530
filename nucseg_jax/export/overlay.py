"""The nuclei drawn on the slide's thumbnail."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.drawing import PREDICTION
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.canvas import Runs
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.files import appearing
from nucseg_jax.io.images import check_image
from nucseg_jax.nuclei import Frame


class Overlay(Sink):
    """A PNG of the thumbnail with outlines, one pixel of it wide, just inside the nuclei.

    Where a nucleus is no wider than two pixels of the thumbnail its outline is all of it: so nuclei are
    outlined on the picture of an image and filled on that of a slide. A pixel that is covered in part is
    coloured in part.

    Args:
        path: of the file, .png.
        frame: the slide.
        thumbnail: uint8 `[h, w, 3]` RGB, the whole slide. If it is finer than the network's level, it is made
            as coarse as that first.

    Raises:
        ValueError: the thumbnail is no such image.
    """

    def __init__(self, path: Path, frame: Frame, *, thumbnail: NDArray[np.uint8]) -> None:
        super().__init__(frame)
        check_image(thumbnail)
        height, width = frame.network_size
        shape = min(thumbnail.shape[0], height), min(thumbnail.shape[1], width)
        if thumbnail.shape[:2] != shape:
            picture = Image.fromarray(thumbnail).resize(shape[::-1], Image.Resampling.BOX)
            thumbnail = np.asarray(picture)
        self._path = path
        self._temporary: Path
        self._thumbnail = thumbnail
        grid = Grid(frame.network_size, shape)
        self._coverage = Coverage(grid)
        self._rims = _Rims(grid, max(1, round(max(height / shape[0], width / shape[1]))))
        self.makers = (self._rims,)

    def _open(self, stack: ExitStack) -> None:
        self._temporary = stack.enter_context(appearing(self._path))

    def _write(self, batch: Batch) -> None:
        self._coverage.add(batch.made(self._rims))

    def _finish(self) -> None:
        covered = np.minimum(1, self._coverage.total())
        drawn = np.empty_like(self._thumbnail)
        for channel, colour in enumerate(PREDICTION):  # one by one, for the memory's sake
            below = self._thumbnail[..., channel]
            drawn[..., channel] = np.rint(below + covered * (colour - below.astype(np.float32)))
        Image.fromarray(drawn).save(self._temporary, format="PNG")


class Changes(NamedTuple):
    """How coverage changes from one pixel of a coarse grid to the next; see `Coverage`.

    Attributes:
        first: place of the first change, counted row by row.
        sums: float32 `[N]`, of the changes there and at the places that follow.
    """

    first: int
    sums: NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """A coarse grid on a fine one.

    Attributes:
        fine: (height, width) of the grid that runs are given in.
        coarse: (height, width) of the grid that covers the same area; not finer.
    """

    fine: tuple[int, int]
    coarse: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the changes: rows and columns more for what begins at the edge, or is beyond it by rounding."""
        return self.coarse[0] + 2, self.coarse[1] + 2

    def changes(self, runs: Runs) -> Changes:
        """Of coverage by the pixels of runs; those covered twice count twice."""
        scale_y, scale_x = self.coarse[0] / self.fine[0], self.coarse[1] / self.fine[1]
        top, bottom = runs.y * scale_y, (runs.y + 1) * scale_y
        row = top.astype(np.int64)
        below = np.maximum(0, bottom - (row + 1))  # of this height in the next row
        places, changes = [], []
        for position, sign in ((runs.start, 1), (runs.stop, -1)):
            x = position * scale_x
            column = x.astype(np.int64)
            later = x - column  # of this change in the next column
            for rows, height in ((row, bottom - top - below), (row + 1, below)):
                place = rows * self.shape[1] + column
                places += [place, place + 1]
                changes += [sign * height * (1 - later), sign * height * later]
        return _summed(np.concatenate(places), np.concatenate(changes))


def _summed(places: NDArray[np.int64], changes: NDArray[np.float64]) -> Changes:
    """The sum of the changes at each place: faster than ufunc.at by counting in the stretch they are in."""
    first = int(places.min()) if len(places) else 0
    return Changes(first, np.bincount(places - first, changes).astype(np.float32))


class Coverage:
    """How much of each pixel of a coarse grid is covered by runs of a fine one.

    A run adds, in the coarse rows that its own lies in, the change of coverage where it begins and where it
    ends; the sums along rows are the coverage.

    Args:
        grid: the coarse one on the fine one.
    """

    def __init__(self, grid: Grid) -> None:
        self._changes = np.zeros(grid.shape, dtype=np.float32)

    def add(self, changes: Changes) -> None:
        """Cover what `Grid.changes` says."""
        first, sums = changes
        self._changes.ravel()[first : first + len(sums)] += sums

    def total(self) -> NDArray[np.float32]:
        """float32 `[height, width]` of the coarse grid, from 0 to 1 where nothing is covered twice."""
        sums = np.cumsum(self._changes[:-2, :-2], axis=1)
        return np.maximum(0, sums, out=sums)


@dataclass(frozen=True)
class _Rims:
    """The coverage by the outlines of a batch's nuclei.

    Attributes:
        grid: the thumbnail's on that of the network's level.
        thickness_px: of the outlines, in pixels of the network's level.
    """

    grid: Grid
    thickness_px: int

    def __call__(self, batch: Batch) -> Changes:
        pixels = batch.canvas.pixels
        inside = _eroded(pixels, self.thickness_px)
        return self.grid.changes(batch.canvas.runs_of(pixels & ~inside))


def _eroded(pixels: NDArray[np.uint8], thickness_px: int) -> NDArray[np.uint8]:
    """What is left of a canvas's masks without an outline of some pixels, counted along rows and columns."""
    # As one long row: the first and the last column are empty, so that no mask sees the row before or after.
    width = pixels.shape[1]
    left = pixels.ravel()
    for _ in range(thickness_px):
        smaller = np.zeros_like(left)
        inner = smaller[width:-width]
        np.bitwise_and(left[width:-width], left[: -2 * width], out=inner)
        for neighbours in (left[2 * width :], left[width - 1 : -width - 1], left[width + 1 : 1 - width]):
            inner &= neighbours
        left = smaller
        if not left.any():
            break
    return left.reshape(pixels.shape)
