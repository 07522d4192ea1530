"""The pixels of many nuclei in one array, so that no format needs a loop over nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.nuclei import Frame, Nucleus

LARGEST_ID = np.iinfo(np.int32).max


class Runs(NamedTuple):
    """Horizontal rows of pixels that belong together, nucleus by nucleus, top to bottom, left to right.

    Attributes:
        nucleus: int64 `[N]`, index on the canvas.
        y: int64 `[N]`, row in pixels of the network's level.
        start: int64 `[N]`, the first column.
        stop: int64 `[N]`, the column after the last one.
    """

    nucleus: NDArray[np.int64]
    y: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]


class Canvas:
    """Some nuclei of one slide, their masks one below the other in one array.

    Args:
        nuclei: at least one.
        frame: the slide they are of.

    Attributes:
        frame: as given.
        ids: int64 `[M]`.
        probability: float64 `[M]`, of each nucleus.
        hematoxylin: float64 `[M]`, NaN where it was not measured.
        hematoxylin_contrast: the same.
        hematoxylin_entropy_bits: the same.
        eosin_ring: the same.
        regions: of each nucleus the names of the regions that hold it; None where there are no regions.
        top: int64 `[M]`, of each mask, in pixels of the network's level.
        left: int64 `[M]`.
        height: int64 `[M]`.
        width: int64 `[M]`.
        pixels: uint8 `[rows, columns]`, 1 = nucleus. Around each mask there is an empty row above, an empty
            column on the left and at least one on the right, and below the last mask an empty row.

    Raises:
        ValueError: an id that is no positive int32, a mask that is no bool `[h, w]` or has no pixel, or a
            nucleus that is not within the slide. The message names the nucleus.
    """

    def __init__(self, nuclei: Sequence[Nucleus], frame: Frame) -> None:
        size = frame.network_size
        for nucleus in nuclei:
            _check(nucleus, size)
        self.frame = frame
        self.ids = np.array([nucleus.id for nucleus in nuclei], dtype=np.int64)
        self.probability = np.array([nucleus.probability for nucleus in nuclei], dtype=np.float64)
        self.hematoxylin = np.array([nucleus.hematoxylin for nucleus in nuclei], dtype=np.float64)
        self.hematoxylin_contrast = np.array([nucleus.hematoxylin_contrast for nucleus in nuclei], np.float64)
        self.hematoxylin_entropy_bits = np.array(
            [nucleus.hematoxylin_entropy_bits for nucleus in nuclei], np.float64
        )
        self.eosin_ring = np.array([nucleus.eosin_ring for nucleus in nuclei], np.float64)
        self.regions = [nucleus.regions for nucleus in nuclei]
        self.top = np.array([nucleus.top for nucleus in nuclei], dtype=np.int64)
        self.left = np.array([nucleus.left for nucleus in nuclei], dtype=np.int64)
        self.height = np.array([nucleus.mask.shape[0] for nucleus in nuclei], dtype=np.int64)
        self.width = np.array([nucleus.mask.shape[1] for nucleus in nuclei], dtype=np.int64)
        # Empty rows and columns: what looks at neighbours needs no case for edges, and never sees two nuclei
        # at once.
        self._first_row = np.cumsum(self.height + 1) - self.height
        rows = int(self._first_row[-1] + self.height[-1] + 1)
        self.pixels = np.zeros((rows, int(self.width.max()) + 2), dtype=np.uint8)
        for nucleus, row in zip(nuclei, self._first_row.tolist(), strict=True):
            height, width = nucleus.mask.shape
            self.pixels[row : row + height, 1 : width + 1] = nucleus.mask
        self._check_pixels()

    def __len__(self) -> int:
        return len(self.ids)

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
        pixels = self.pixels
        return (
            pixels[:-1, :-1]
            | (pixels[:-1, 1:] << np.uint8(1))
            | (pixels[1:, :-1] << np.uint8(2))
            | (pixels[1:, 1:] << np.uint8(3))
        )

    @cached_property
    def runs(self) -> Runs:
        """The pixels of all masks as runs."""
        return self.runs_of(self.pixels)

    def runs_of(self, pixels: NDArray[np.uint8]) -> Runs:
        """What is 1 in another array of the same shape, e.g. the outlines of the nuclei, as runs."""
        flat = pixels.ravel()
        # No run reaches over the end of a row: the first and the last column are empty.
        starts, stops = np.flatnonzero(flat[1:] != flat[:-1]).reshape(-1, 2).T + 1
        row, start = np.divmod(starts, pixels.shape[1])
        nucleus = self.owner[row]
        shift = self.left[nucleus] - 1  # the mask's first column is the canvas's second
        y = row - self._first_row[nucleus] + self.top[nucleus]
        return Runs(nucleus, y, start + shift, start + shift + (stops - starts))

    def corner_places(
        self, row: NDArray[np.integer], column: NDArray[np.integer]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The nucleus, x and y (pixels of the network's level) of corners, given as indices into `quads`."""
        nucleus = self.owner[row]
        x = column + self.left[nucleus]
        y = row - self._first_row[nucleus] + 1 + self.top[nucleus]
        return nucleus, x, y

    def _check_pixels(self) -> None:
        counts = np.add.reduceat(self.pixels.sum(axis=1, dtype=np.int64), self._first_row)
        if not counts.all():
            raise ValueError(f"nucleus {self.ids[counts.argmin()]} has no pixel in its mask")


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
