"""How much of each pixel of a coarse mask lies within an outline."""

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

_LINES = 8
"""Horizontal lines a pixel on which the outline is looked at: one a µm on a mask of 8 µm a pixel."""


def coverage(
    area: BaseGeometry, shape: tuple[int, ...], size: tuple[int, int]
) -> tuple[NDArray[np.float64], tuple[slice, slice]]:
    """The part of each pixel of a mask that lies within an area; exact along x, sampled along y.

    Between the first and the second crossing of a line with the outline the line is inside, between the
    second and the third outside, and so on: so holes need no case of their own.

    Args:
      area: a valid Polygon or MultiPolygon, in base pixels; it may reach past the slide.
      shape: (h, w) of the mask, which shows the whole slide.
      size: (height, width) of the slide in base pixels.

    Returns:
      float64 [h', w'] in 0 … 1, of the rectangle of the mask that holds the area; and that rectangle. Both
      are empty where the area is off the slide.
    """
    down, across = shape[0] / size[0], shape[1] / size[1]
    # Lines beyond the slide are not looked at: an area may reach farther than memory has room for lines.
    area = shapely.intersection(area, shapely.box(0, 0, size[1], size[0]))
    if area.is_empty:
        return np.zeros((0, 0)), (slice(0, 0), slice(0, 0))
    left, top, right, bottom = area.bounds
    rows = _within(top * down, bottom * down, shape[0])
    columns = _within(left * across, right * across, shape[1])
    height, width = rows.stop - rows.start, columns.stop - columns.start
    line, x = _crossings(area, across, down * _LINES)
    keep = (line >= rows.start * _LINES) & (line < rows.stop * _LINES)
    row = line[keep] // _LINES - rows.start
    x = np.clip(x[keep] - columns.start, 0, width)
    # What is right of a crossing: of the pixel that it is in a part, of all later ones all.
    sign = np.where(np.arange(len(x)) % 2, -1.0, 1.0)
    pixel = np.minimum(x.astype(np.int64), max(0, width - 1))
    steps = np.zeros((height, width + 1))
    inside = sign * (1 - (x - pixel))
    np.add.at(steps, (row, pixel), inside)
    np.add.at(steps, (row, pixel + 1), sign - inside)
    covered = np.cumsum(steps, axis=1)[:, :width] / _LINES
    return np.clip(covered, 0, 1), (rows, columns)


def _within(first: float, last: float, side: int) -> slice:
    """The pixels 0 … side - 1 that an interval touches."""
    start = min(max(0, int(np.floor(first))), side)
    return slice(start, max(start, min(side, int(np.ceil(last)))))


def _crossings(
    area: BaseGeometry, across: float, down: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where horizontal lines cross an outline: the line (i lies at y = i + 0.5) and x, in order.

    Args:
      area: in base pixels.
      across: pixels of the mask a base pixel.
      down: lines a base pixel.
    """
    points, ring = shapely.get_coordinates(
        shapely.get_rings(shapely.get_parts(area)), return_index=True
    )  # a ring repeats its first point
    edge = np.flatnonzero(ring[1:] == ring[:-1])
    x0, y0 = points[edge, 0] * across, points[edge, 1] * down - 0.5
    x1, y1 = points[edge + 1, 0] * across, points[edge + 1, 1] * down - 0.5
    first, last = np.ceil(np.minimum(y0, y1)).astype(np.int64), np.ceil(np.maximum(y0, y1)).astype(np.int64)
    counts = last - first
    which = np.repeat(np.arange(len(edge)), counts)
    line = first[which] + np.arange(len(which)) - (np.cumsum(counts) - counts)[which]
    x = x0[which] + (line - y0[which]) * (x1 - x0)[which] / (y1 - y0)[which]
    order = np.lexsort((x, line))
    return line[order], x[order]
