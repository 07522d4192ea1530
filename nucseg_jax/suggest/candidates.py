"""Where on a slide a region may lie: in tissue, in what the user has drawn, and on no pen, fold or black."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from nucseg_jax.inference.windows import Window
from nucseg_jax.nuclei import Frame
from nucseg_jax.regions import Regions
from nucseg_jax.slides.tissue_mask import SlideKinds

LEAST_TISSUE = 0.5
"""Of a region must be tissue."""


@dataclass(frozen=True)
class Ground:
    """A slide as far as regions are looked for on it.

    Attributes:
      frame: the slide's.
      kinds: what the slide shows where.
      side: of a region, in pixels of the network's level.
      roi: that regions must lie in; None: anywhere.
    """

    frame: Frame
    kinds: SlideKinds
    side: int
    roi: Regions | None = None

    def places(self, most: int, seed: int) -> list[Window]:
        """Where a region may lie, row by row.

        The places are a grid. Neighbours overlap by half if that gives no more than `most` places, and else
        not at all. If these are still more, a sample of `most` is drawn that is spread over all of them.

        Args:
          most: places.
          seed: of the sample.
        """
        apart = self._grid(self.side)
        if len(apart) > most:
            return sorted(_sample(apart, self.side, most, seed))
        overlapping = self._grid(max(1, self.side // 2))
        return overlapping if len(overlapping) <= most else apart

    def box(self, window: Window) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of a region in whole pixels of the slide's base level."""
        left, top, right, bottom = (
            min(round(place * self.frame.scale), most)
            for place, most in (
                (window.left, self.frame.size[1]),
                (window.top, self.frame.size[0]),
                (window.left + self.side, self.frame.size[1]),
                (window.top + self.side, self.frame.size[0]),
            )
        )
        return left, top, right, bottom

    def tissue(self, window: Window) -> NDArray[np.bool_]:
        """bool [side, side], the region's pixels that show tissue."""
        rows, columns = (
            np.minimum((np.arange(start, start + self.side) * of_mask) // length, of_mask - 1)
            for start, length, of_mask in zip(
                window, self.frame.network_size, self.kinds.kinds.shape, strict=True
            )
        )
        return self.kinds.tissue[np.ix_(rows, columns)]

    def searched(self) -> NDArray[np.bool_]:
        """bool [h, w] of the mask of the slide: the tissue that regions are looked for in."""
        if self.roi is None:
            return self.kinds.tissue
        height, width = self.kinds.kinds.shape
        return self.kinds.tissue & self.roi.mask((height, width), self.frame.size)

    def tissue_area(self) -> float:
        """Of `searched`, in pixels² of the network's level."""
        height, width = self.frame.network_size
        return float(self.searched().mean()) * height * width

    def covered(self, windows: Sequence[Window]) -> float:
        """The share of `searched` that some regions cover together, in 0 … 1."""
        searched, seen = self.searched(), np.zeros(self.kinds.kinds.shape, bool)
        for window in windows:
            seen[self._in_mask(window)] = True
        return float((searched & seen).sum() / max(1, searched.sum()))

    def of_mask(self, picture: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
        """A region's part of a picture of the whole slide, which is as large as the mask."""
        return picture[self._in_mask(window)]

    def _in_mask(self, window: Window) -> tuple[slice, slice]:
        """The pixels of the mask that a region touches."""
        rows, columns = (
            slice(start * of_mask // length, max(1, -(-(start + self.side) * of_mask // length)))
            for start, length, of_mask in zip(
                window, self.frame.network_size, self.kinds.kinds.shape, strict=True
            )
        )
        return rows, columns

    def _grid(self, step: int) -> list[Window]:
        tissue, masked = _summed(self.kinds.tissue), _summed(self.kinds.masked)
        found = []
        for window in sorted({window for area in self._spans() for window in self._positions(area, step)}):
            part = self._in_mask(window)
            size = (part[0].stop - part[0].start) * (part[1].stop - part[1].start)
            if _inside(masked, part) == 0 and _inside(tissue, part) >= LEAST_TISSUE * size:
                found.append(window)
        if self.roi is None:
            return found
        drawn = shapely.union_all(self.roi.areas)
        shapely.prepare(drawn)
        return [window for window in found if drawn.covers(shapely.box(*self.box(window)))]

    def _spans(self) -> list[tuple[float, float, float, float]]:
        """Left, top, right, bottom of what a grid is laid over, in pixels of the network's level."""
        height, width = self.frame.network_size
        if self.roi is None:
            return [(0, 0, width, height)]
        parts: list[BaseGeometry] = [
            part for area in self.roi.areas for part in getattr(area, "geoms", (area,))
        ]
        scale = self.frame.scale
        return [
            (
                max(0.0, part.bounds[0] / scale),
                max(0.0, part.bounds[1] / scale),
                min(float(width), part.bounds[2] / scale),
                min(float(height), part.bounds[3] / scale),
            )
            for part in parts
        ]

    def _positions(self, span: tuple[float, float, float, float], step: int) -> list[Window]:
        left, top, right, bottom = span
        rows, columns = (
            _starts(first, last, self.side, step) for first, last in ((top, bottom), (left, right))
        )
        return [Window(row, column) for row in rows for column in columns]


def _starts(first: float, last: float, side: int, step: int) -> list[int]:
    """Where regions begin that lie evenly in a span, from its one end to the other; none where none fits."""
    start, end = int(np.ceil(first)), int(np.floor(last)) - side
    if end < start:
        return []
    count = -(-(end - start) // step) + 1
    return sorted({round(place) for place in np.linspace(start, end, count).tolist()})


def _summed(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """int64 [h + 1, w + 1], whose differences are the counts of rectangles."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask.cumsum(0).cumsum(1)
    return sums


def _inside(sums: NDArray[np.int64], part: tuple[slice, slice]) -> int:
    rows, columns = part
    last, first = sums[rows.stop], sums[rows.start]
    return int(last[columns.stop] - last[columns.start] - first[columns.stop] + first[columns.start])


def _sample(places: Sequence[Window], side: int, count: int, seed: int) -> list[Window]:
    """So many of the places, one by chance of each of as many groups that lie together.

    Along a Z-order curve (Morton, 1966) neighbours on the slide are mostly neighbours in order.
    """
    order = sorted(places, key=lambda window: _along_curve(window.top // side, window.left // side))
    bounds = np.linspace(0, len(order), count + 1).astype(int)
    random = np.random.default_rng(seed)
    return [order[random.integers(a, b)] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _along_curve(row: int, column: int) -> int:
    """The bits of both, by turns."""
    return sum(((row >> i & 1) << 2 * i + 1) | ((column >> i & 1) << 2 * i) for i in range(32))
