"""The nuclei drawn on the slide's thumbnail."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

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
        self._coverage = Coverage(frame.network_size, shape)
        self._thickness_px = max(1, round(max(height / shape[0], width / shape[1])))

    def _open(self, stack: ExitStack) -> None:
        self._temporary = stack.enter_context(appearing(self._path))

    def _write(self, batch: Batch) -> None:
        pixels = batch.canvas.pixels
        inside = _eroded(pixels, self._thickness_px)
        self._coverage.add(batch.canvas.runs_of(pixels & ~inside))

    def _finish(self) -> None:
        covered = np.minimum(1, self._coverage.total())
        drawn = np.empty_like(self._thumbnail)
        for channel, colour in enumerate(PREDICTION):  # one by one, for the memory's sake
            below = self._thumbnail[..., channel]
            drawn[..., channel] = np.rint(below + covered * (colour - below.astype(np.float32)))
        Image.fromarray(drawn).save(self._temporary, format="PNG")


class Coverage:
    """How much of each pixel of a coarse grid is covered by runs of a fine one.

    A run adds, in the coarse rows that its own lies in, the change of coverage where it begins and where it
    ends; the sums along rows are the coverage.

    Args:
        fine: (height, width) of the grid that runs are given in.
        coarse: (height, width) of the grid that covers the same area; not finer.
    """

    def __init__(self, fine: tuple[int, int], coarse: tuple[int, int]) -> None:
        self._scale_y, self._scale_x = coarse[0] / fine[0], coarse[1] / fine[1]
        # Rows and columns more for what begins at the edge, or is beyond it by rounding.
        self._changes = np.zeros((coarse[0] + 2, coarse[1] + 2), dtype=np.float32)

    def add(self, runs: Runs) -> None:
        """Cover the pixels of runs; those covered twice count twice."""
        top, bottom = runs.y * self._scale_y, (runs.y + 1) * self._scale_y
        row = top.astype(np.int64)
        below = np.maximum(0, bottom - (row + 1))  # of this height in the next row
        places, changes = [], []
        for position, sign in ((runs.start, 1), (runs.stop, -1)):
            x = position * self._scale_x
            column = x.astype(np.int64)
            later = x - column  # of this change in the next column
            for rows, height in ((row, bottom - top - below), (row + 1, below)):
                place = rows * self._changes.shape[1] + column
                places += [place, place + 1]
                changes += [sign * height * (1 - later), sign * height * later]
        self._add(np.concatenate(places), np.concatenate(changes))

    def _add(self, places: NDArray[np.int64], changes: NDArray[np.float64]) -> None:
        """Add to `_changes.ravel()[places]`: faster than ufunc.at by counting in the stretch they are in."""
        first = places.min(initial=self._changes.size)
        sums = np.bincount(places - first, changes)
        self._changes.ravel()[first : first + len(sums)] += sums.astype(np.float32)

    def total(self) -> NDArray[np.float32]:
        """float32 `[height, width]` of the coarse grid, from 0 to 1 where nothing is covered twice."""
        sums = np.cumsum(self._changes[:-2, :-2], axis=1)
        return np.maximum(0, sums, out=sums)


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
