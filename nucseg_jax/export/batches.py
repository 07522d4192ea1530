"""Many nuclei at once: what several formats need of them is computed once, without a loop over nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.measurements import Measurements, measure
from nucseg_jax.export.outlines import Outlines, trace
from nucseg_jax.nuclei import Frame, Nucleus

MOST_NUCLEI = 1024
MOST_CANVAS_PX = 1 << 22
"""Where `Gathering` ends a batch. A batch takes about 20 bytes of memory for a pixel of its canvas."""

LARGEST_ID = np.iinfo(np.int32).max


class Runs(NamedTuple):
    """Horizontal rows of pixels that belong together, nucleus by nucleus, top to bottom, left to right.

    Attributes:
        nucleus: int64 `[N]`, index in the batch.
        y: int64 `[N]`, row in pixels of the network's level.
        start: int64 `[N]`, the first column.
        stop: int64 `[N]`, the column after the last one.
    """

    nucleus: NDArray[np.int64]
    y: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


class Batch:
    """Some nuclei of one slide, their masks one below the other on a canvas.

    Args:
        nuclei: at least one.
        frame: the slide they are of.

    Raises:
        ValueError: an id that is no positive int32, a mask that is no bool `[h, w]` or has no pixel, or a
            nucleus that is not within the slide. The message names the nucleus.
    """

    def __init__(self, nuclei: Sequence[Nucleus], frame: Frame) -> None:
        size = frame.network_size
        for nucleus in nuclei:
            _check(nucleus, size)
        self.nuclei = tuple(nuclei)
        self.frame = frame
        self.ids = np.array([nucleus.id for nucleus in nuclei], dtype=np.int64)
        self.top = np.array([nucleus.top for nucleus in nuclei], dtype=np.int64)
        self.left = np.array([nucleus.left for nucleus in nuclei], dtype=np.int64)
        self.height = np.array([nucleus.mask.shape[0] for nucleus in nuclei], dtype=np.int64)
        self.width = np.array([nucleus.mask.shape[1] for nucleus in nuclei], dtype=np.int64)
        # An empty row above each mask and below the last, an empty column left and at least one right: what
        # looks at neighbours needs no case for edges, and never sees two nuclei at once.
        self._first_row = np.cumsum(self.height + 1) - self.height
        rows = int(self._first_row[-1] + self.height[-1] + 1)
        self.canvas = np.zeros((rows, int(self.width.max()) + 2), dtype=np.uint8)
        for nucleus, row in zip(nuclei, self._first_row.tolist(), strict=True):
            height, width = nucleus.mask.shape
            self.canvas[row : row + height, 1 : width + 1] = nucleus.mask
        self._check_pixels()

    def __len__(self) -> int:
        return len(self.nuclei)

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """int64 `[rows]`: for each row of the canvas, the nucleus whose mask it is of.

        The empty row above a mask counts as the mask's, the last row as the last mask's.
        """
        counts = self.height + 1
        counts[-1] += 1
        return np.repeat(np.arange(len(self)), counts)

    @cached_property
    def quads(self) -> NDArray[np.uint8]:
        """uint8 `[rows - 1, columns - 1]`: the four pixels around each corner of the canvas's pixels.

        The sum of 1 for the pixel above and left of the corner, 2 above and right, 4 below and left, 8 below
        and right, of those that are of a nucleus. Row r belongs to the nucleus `owner[r]`.
        """
        canvas = self.canvas
        return (
            canvas[:-1, :-1]
            | (canvas[:-1, 1:] << np.uint8(1))
            | (canvas[1:, :-1] << np.uint8(2))
            | (canvas[1:, 1:] << np.uint8(3))
        )

    @cached_property
    def runs(self) -> Runs:
        """The pixels of all masks as runs."""
        return self.runs_of(self.canvas)

    def runs_of(self, canvas: NDArray[np.uint8]) -> Runs:
        """What is 1 on another canvas of the same shape, e.g. the outlines of the nuclei, as runs."""
        flat = canvas.ravel()
        # No run reaches over the end of a row: the first and the last column are empty.
        starts, stops = np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2).T + 1
        row, start = np.divmod(starts, canvas.shape[1])
        nucleus = self.owner[row]
        shift = self.left[nucleus] - 1  # the mask's first column is the canvas's second
        y = row - self._first_row[nucleus] + self.top[nucleus]
        return Runs(nucleus, y, start + shift, start + shift + (stops - starts))

    @cached_property
    def outlines(self) -> Outlines:
        """The outlines of all nuclei; see `outlines.trace`."""
        return trace(self)

    @cached_property
    def measurements(self) -> Measurements:
        """Sizes, shapes and places of all nuclei; see `measurements.measure`."""
        return measure(self)

    def corner_places(
        self, row: NDArray[np.integer], column: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The nucleus, x and y (pixels of the network's level) of corners, given as indices into `quads`."""
        nucleus = self.owner[row]
        x = column + self.left[nucleus]
        y = row - self._first_row[nucleus] + 1 + self.top[nucleus]
        return nucleus, x, y

    def _check_pixels(self) -> None:
        counts = np.add.reduceat(self.canvas.sum(axis=1, dtype=np.int64), self._first_row)
        if not counts.all():
            raise ValueError(f"nucleus {self.ids[counts.argmin()]} has no pixel in its mask")


class Gathering:
    """Nuclei that wait until they are enough for a batch.

    Args:
        frame: the slide they are of.
    """

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._waiting: list[Nucleus] = []
        self._rows = self._columns = 0

    def add(self, nucleus: Nucleus) -> Batch | None:
        """Keep a nucleus; give the batch that was full without it, if one was."""
        rows = self._rows + nucleus.mask.shape[0] + 1
        columns = max(self._columns, nucleus.mask.shape[1] + 2)
        # One wide nucleus makes the canvas wide for all: better two batches.
        full = len(self._waiting) >= MOST_NUCLEI or rows * columns > MOST_CANVAS_PX
        batch = self.rest() if full else None
        self._waiting.append(nucleus)
        self._rows += nucleus.mask.shape[0] + 1
        self._columns = max(self._columns, nucleus.mask.shape[1] + 2)
        return batch

    def rest(self) -> Batch | None:
        """The batch of all that wait; None without any."""
        nuclei, self._waiting = self._waiting, []
        self._rows = self._columns = 0
        return Batch(nuclei, self._frame) if nuclei else None


def _check(nucleus: Nucleus, size: tuple[int, int]) -> None:
    mask = nucleus.mask
    if not 0 < nucleus.id <= LARGEST_ID:
        raise ValueError(f"the id of a nucleus must be 1 to {LARGEST_ID}, got {nucleus.id}")
    if mask.dtype != bool or mask.ndim != 2 or not mask.size:
        raise ValueError(
            f"the mask of nucleus {nucleus.id} must be bool [h, w], is {mask.dtype} {mask.shape}"
        )
    height, width = size
    inside = nucleus.top >= 0 and nucleus.left >= 0
    if not (inside and nucleus.top + mask.shape[0] <= height and nucleus.left + mask.shape[1] <= width):
        raise ValueError(
            f"nucleus {nucleus.id}, a mask of {mask.shape[0]} x {mask.shape[1]} px at row {nucleus.top}, "
            f"column {nucleus.left}, is not within the slide's {height} x {width} px of the network's level"
        )
