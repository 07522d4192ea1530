"""What the page draws: the nuclei of a rectangle as bytes, never more than it can draw.

All numbers are little-endian, of 4 bytes:

    uint32 [8]         MAGIC, kind (0 outlines, 1 centroids), N nuclei here, R rings, P points,
                       nuclei that touch the rectangle, level of detail (0 exact), 0
    int32 [N]          ids
    float32 [N]        the value to colour by; NaN: not measured
    float32 [N, 2]     centroids, x and y in base pixels
    uint32 [N + 1]     the first ring of each nucleus, which is its outside; others are holes (outlines only)
    uint32 [R + 1]     the first point of each ring (outlines only)
    float32 [P, 2]     points, x and y in base pixels; the first of a ring is not repeated (outlines only)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.view.nuclei.index import NucleiIndex, Rectangle
from nucseg_jax.view.nuclei.index_files import TOLERANCES_PX

MAGIC = int.from_bytes(b"NUC1", "little")

MOST_POINTS, MOST_CENTROIDS = 400_000, 100_000
"""Of one answer."""

FARTHEST_OUTLINES = 12.0
"""Base pixels a pixel of the screen beyond which a nucleus is a dot of 2 or 3 pixels."""


def pack(index: NucleiIndex, where: Rectangle, scale: float, column: NDArray[np.floating[Any]]) -> bytes:
    """The nuclei that touch a rectangle: outlines when near, simpler ones or centroids when far.

    Where even the centroids are too many, a fixed choice of 1 in 2, 4, 8, … is given, evenly over the tissue.

    Args:
      index: of the result.
      where: the rectangle.
      scale: base pixels a pixel of the screen.
      column: the value of each nucleus to colour by, [nuclei].
    """
    rows = index.touching(where)
    total = len(rows)
    level = _level(index, rows, scale)
    rows = rows if level is not None else _thinned(rows, MOST_CENTROIDS)
    parts: list[NDArray[np.generic]] = [index.ids[rows], column[rows].astype("<f4"), index.centroids[rows]]
    rings = points = 0
    if level is not None:
        outlines = index.outlines(rows, level)
        rings, points = len(outlines.point_start) - 1, len(outlines.points)
        parts += outlines
    kind = 0 if level is not None else 1
    header = np.array([MAGIC, kind, len(rows), rings, points, total, level or 0, 0], "<u4")
    return b"".join(np.ascontiguousarray(part).tobytes() for part in (header, *parts))


def _level(index: NucleiIndex, rows: NDArray[np.int64], scale: float) -> int | None:
    """The level of detail of outlines; None: centroids.

    An outline is at most half a pixel of the screen off, unless there are too many points.
    """
    if not index.about.levels or scale > FARTHEST_OUTLINES:
        return None
    fine = [level for level, tolerance in enumerate(TOLERANCES_PX) if tolerance <= scale / 2]
    for level in range(max(fine), index.about.levels):
        if index.count_points(rows, level) <= MOST_POINTS:
            return level
    return None


def _thinned(rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The same choice of nuclei in every answer that leaves out as many."""
    rank = (rows * 2654435761) % 2**32  # Knuth's multiplicative hash: evenly, and not by chance
    share = 1
    while len(chosen := rows[rank < 2**32 // share]) > most:
        share *= 2
    return chosen
