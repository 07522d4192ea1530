"""Nuclei of an index as horizontal runs of base pixels: what a label map has, without the label map.

A pixel is of the nucleus whose outline its centre lies in, as in labels.tif (`Frame.on_slide`). An index
keeps corners to 1/16 pixel. Each is set back to the corner of the network's pixels that it was made of, so
that the runs are exact however large a pixel of the network is.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.base_pixels import base_pixels
from nucseg_jax.nuclei import Frame
from nucseg_jax.view.nuclei.index import NucleiIndex, Outlines, Rectangle

Integers = NDArray[np.int64]


class Runs(NamedTuple):
    """Runs of pixels that share no pixel, in the order of the slide: row by row, from left to right.

    A pixel's place is row · width + column, so that a run is an interval.

    Attributes:
      owner: int64 [N], what each run is of: the row of a nucleus in its index.
      start: int64 [N], the place of its first pixel.
      stop: int64 [N], the place after its last.
    """

    owner: Integers
    start: Integers
    stop: Integers

    @property
    def length(self) -> Integers:
        """int64 [N], pixels of each."""
        return self.stop - self.start


class PixelNuclei:
    """The nuclei of an index, in base pixels.

    Args:
      index: with outlines.
      frame: of the result that it is of.

    Attributes:
      count: nuclei.
      are_simplified: whether an outline that was looked at leaves the edges of pixels, as those of
        `nucseg predict --simplify`.
    """

    def __init__(self, index: NucleiIndex, frame: Frame) -> None:
        self._index, self._frame = index, frame
        self.count, self.are_simplified = index.about.nuclei, False

    def runs(self, top: int, bottom: int) -> Runs:
        """The pixels of all nuclei in some rows of the slide.

        Where outlines overlap, as simplified ones may, a pixel is of the one whose run begins farther left.

        Args:
          top, bottom: the first row, and the one after the last.
        """
        width, beyond = self._frame.size[1], self._frame.scale  # its last pixels may end before the slide
        rows = self._index.touching(Rectangle(0, top - beyond, width, bottom + beyond))
        if not len(rows):  # an index without nuclei has no outlines
            return Runs(rows, rows, rows)
        owner, y, start, stop = self._on_network(self._index.outlines(rows, 0))
        run, row, left, right = self._frame.runs_on_slide(y, start, stop)
        here = (row >= top) & (row < bottom)
        place = row[here] * width
        return _apart(rows[owner[run[here]]], place + left[here], place + right[here])

    def _on_network(self, outlines: Outlines) -> tuple[Integers, Integers, Integers, Integers]:
        """Runs of the network's pixels: nucleus, row, first column, and column after the last."""
        ring_start, point_start = outlines.ring_start.astype(np.int64), outlines.point_start.astype(np.int64)
        nucleus = np.repeat(np.arange(len(ring_start) - 1), np.diff(point_start[ring_start]))
        x, y = (
            np.searchsorted(middles, outlines.points[:, axis]) for axis, middles in enumerate(self._middles)
        )
        following = np.arange(1, len(x) + 1)
        following[point_start[1:] - 1] = point_start[:-1]  # a ring closes
        edge = np.flatnonzero(y != y[following])
        return self._crossed(nucleus[edge], x[edge], y[edge], x[following[edge]], y[following[edge]])

    def _crossed(
        self, nucleus: Integers, x0: Integers, y0: Integers, x1: Integers, y1: Integers
    ) -> tuple[Integers, Integers, Integers, Integers]:
        """The same of edges: where they cross the middle of a row, a nucleus begins and ends in turns."""
        self.are_simplified |= bool((x0 != x1).any())
        first, count = np.minimum(y0, y1), np.abs(y1 - y0)
        edge = np.repeat(np.arange(len(nucleus)), count)
        row = np.arange(len(edge)) + np.repeat(first - (np.cumsum(count) - count), count)
        slope = ((x1 - x0) / (y1 - y0))[edge]
        column = np.ceil(x0[edge] + (row + 0.5 - y0[edge]) * slope - 0.5).astype(np.int64)
        # One number a crossing, to sort by: the nucleus, then the row, then the column.
        top, width = row.min(initial=0), self._frame.network_size[1] + 1
        height = row.max(initial=0) - top + 1
        place = np.sort((nucleus[edge] * height + (row - top)) * width + column)
        line, start = np.divmod(place[0::2], width)
        owner, y = np.divmod(line, height)
        return owner, y + top, start, place[1::2] % width

    @cached_property
    def _middles(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Between the corners of the network's columns, and of its rows: what is nearest to which."""
        corners = base_pixels(self._frame)
        return (corners.x[1:] + corners.x[:-1]) / 2, (corners.y[1:] + corners.y[:-1]) / 2


def annotated_runs(index: NucleiIndex, size: tuple[int, int], top: int, bottom: int) -> Runs:
    """The annotated pixels in some rows of a slide of a size, as runs that are of nothing (owner 0)."""
    first, last = top * size[1], bottom * size[1]
    if index.told.annotated is None:
        start, stop = np.array([first]), np.array([last])
    else:
        from_here = np.searchsorted(index.told.annotated[:, 1], first, "right")
        to_here = np.searchsorted(index.told.annotated[:, 0], last)
        start, stop = np.clip(index.told.annotated[from_here:to_here].T, first, last)
    return Runs(np.zeros(len(start), np.int64), start, stop)


def runs_of_mask(mask: NDArray[np.bool_]) -> Integers:
    """Runs of True in a mask of the slide: int64 [N, 2], places of the first pixel and after the last."""
    changes = np.flatnonzero(np.diff(mask.ravel().view(np.int8), prepend=0, append=0))
    return changes.reshape(-1, 2)


def within(one: Runs, other: Runs) -> Runs:
    """What of `one` is in `other`."""
    first, second, length = shared(one, other)
    start = np.maximum(one.start[first], other.start[second])
    return Runs(one.owner[first], start, start + length)


def shared(one: Runs, other: Runs) -> tuple[Integers, Integers, Integers]:
    """The pieces of runs that are in both.

    Returns:
      int64 [M] each: the run of `one` and the run of `other` that a piece is of, and its pixels.
    """
    first = np.searchsorted(one.stop, other.start, "right")
    last = np.searchsorted(one.start, other.stop, "left")
    count = last - first
    second = np.repeat(np.arange(len(count)), count)
    partner = np.arange(len(second)) + np.repeat(first - (np.cumsum(count) - count), count)
    stop = np.minimum(one.stop[partner], other.stop[second])
    return partner, second, stop - np.maximum(one.start[partner], other.start[second])


def _apart(owner: Integers, start: Integers, stop: Integers) -> Runs:
    """Runs in order; of two that overlap the later one loses what is in both."""
    order = np.argsort(start, kind="stable")
    owner, start, stop = owner[order], start[order], stop[order]
    reached = np.maximum.accumulate(stop)
    start[1:] = np.maximum(start[1:], reached[:-1])
    kept = start < stop
    return Runs(owner[kept], start[kept], stop[kept])
