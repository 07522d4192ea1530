"""Outlines of masks along the edges of their pixels: always valid polygons, exact in area.

Where two pixels of a nucleus touch only at a corner (and the other two there are background), its outline
passes through that corner twice, and two turns are possible. The one taken here keeps to the background's
pixel: it goes around each of the two background pixels. Then, for every 4-connected mask, each ring is
simple, rings meet in single points at most, and no rings close a chain: what OGC Simple Features call a valid
polygon.

Why: a path inside the nucleus from the one pixel to the other closes, with the corner, a curve that parts the
two background pixels. So they are of different 4-connected pieces of the background; each of these has one
ring of its own; hence no ring comes to a corner twice. Two rings that met twice, or a chain of rings that
closed, would part the nucleus itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from nucseg_jax.export.canvas import Canvas

_CORNERS = np.array([0, 1, 1, 0, 1, 0, 2, 1, 1, 2, 0, 1, 0, 1, 1, 0], dtype=np.uint8)
"""Turns of the outline at a corner, by its quad (`Canvas.quads`)."""

_ABOVE_LEFT_FREE = 6  # the quad of two pixels that touch at a corner: above right and below left


@dataclass(frozen=True)
class Outlines:
    """The rings of some nuclei: of each the exterior first, then its holes.

    Attributes:
        x: int64 `[N]`, the corners of all rings, in pixels of the network's level; a ring does not repeat its
            first corner. Straight edges have no corners but at their ends.
        y: int64 `[N]`. With x to the right and y taken to go up, exteriors are counter-clockwise and holes
            clockwise; on an image, where y goes down, it looks the other way round.
        ring_start: int64 `[R + 1]`: ring r is `x[ring_start[r]:ring_start[r + 1]]`.
        nucleus_start: int64 `[M + 1]`: nucleus i of the canvas has the rings `nucleus_start[i]` (its
            exterior) to `nucleus_start[i + 1] - 1`.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    ring_start: NDArray[np.int64]
    nucleus_start: NDArray[np.int64]


def trace(canvas: Canvas) -> Outlines:
    """The outlines of nuclei.

    Args:
        canvas: the pixels of the nuclei, each a 4-connected mask.

    Raises:
        ValueError: a mask is not 4-connected; the message names the first such nucleus.
    """
    quads = canvas.quads.ravel()
    turning = np.flatnonzero(_CORNERS[quads])
    # Raster order: in each row the outline's edges begin and end in turns, so that 2k and 2k + 1 are the ends
    # of one horizontal edge. A corner passed twice ends the edge on its left and begins the one on its right.
    place = np.repeat(turning, _CORNERS[quads[turning]])
    quad = quads[place]
    row, column = np.divmod(place, canvas.quads.shape[1])
    across = _other_ends(row, column, quad)

    # Along each horizontal edge with the nucleus on the side of greater y goes rightwards, else leftwards.
    left = np.arange(0, len(place), 2)
    rightwards = (quad[left] & 8 > 0) & (quad[left] & 2 == 0)
    begin = np.where(rightwards, left, left + 1)
    end = np.where(rightwards, left + 1, left)
    # The edge k is followed by the horizontal edge that begins where the vertical one from its end arrives.
    following = across[end] // 2

    edges, ring_start = _cycles(following)
    corners = np.stack([begin[edges], end[edges]], axis=1).ravel()
    nucleus, x, y = canvas.corner_places(row[corners], column[corners])
    ring_start *= 2
    nucleus_start = np.searchsorted(nucleus[ring_start[:-1]], np.arange(len(canvas) + 1))
    outlines = Outlines(x, y, ring_start, nucleus_start)
    _check_connected(canvas, place[corners], outlines)
    return outlines


def _other_ends(
    row: NDArray[np.int64], column: NDArray[np.int64], quad: NDArray[np.uint8]
) -> NDArray[np.int64]:
    """For each corner, the corner at the other end of its vertical edge."""
    # Of a corner passed twice, the first (which ends the edge on its left) has the vertical edge that goes up
    # if the background's pixel is above left, else the one that goes down.
    twice = _CORNERS[quad] == 2
    second = np.zeros(len(row), dtype=bool)
    second[1:] = twice[1:] & (row[1:] == row[:-1]) & (column[1:] == column[:-1])
    goes_down = twice & (second == (quad == _ABOVE_LEFT_FREE))
    order = np.argsort((column * (row.max(initial=0) + 1) + row) * 2 + goes_down)
    other = np.empty_like(order)
    other[order[0::2]] = order[1::2]
    other[order[1::2]] = order[0::2]
    return other


def _cycles(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cycles of a permutation, each from its least element, in the order of these.

    By doubling: after k rounds every element knows of the 2^k after it.

    Returns:
        All elements int64 `[N]`, cycle after cycle; and where cycles begin, with N at the end, int64 `[R +
        1]`.
    """
    least, jump = np.arange(len(following)), following
    while True:
        farther = np.minimum(least, least[jump])
        if np.array_equal(farther, least):
            break  # stretches of this length say the same all around a cycle, and together they are all of it
        least, jump = farther, jump[jump]

    preceding = np.empty_like(following)
    preceding[following] = np.arange(len(following))
    first = np.flatnonzero(least == np.arange(len(following)))
    preceding[first] = first
    steps = (preceding != np.arange(len(following))).astype(np.int64)
    while not np.array_equal(preceding, least):
        steps += steps[preceding]
        preceding = preceding[preceding]

    lengths = np.bincount(least, minlength=len(following))[first]
    start = np.concatenate([[0], np.cumsum(lengths)])
    begins_at = np.empty_like(following)
    begins_at[first] = start[:-1]
    order = np.empty_like(following)
    order[begins_at[least] + steps] = np.arange(len(following))
    return order, start


def _check_connected(canvas: Canvas, place: NDArray[np.int64], outlines: Outlines) -> None:
    """Raise ValueError unless the rings of each nucleus and the corners where they meet form one tree.

    One exterior, and every meeting of rings joins two that no others join: else a mask is not 4-connected.
    """
    rings = len(outlines.ring_start) - 1
    ring = np.repeat(np.arange(rings), np.diff(outlines.ring_start))
    order = np.argsort(place, kind="stable")
    same = np.flatnonzero(place[order[1:]] == place[order[:-1]])
    one, other = ring[order[same]], ring[order[same + 1]]
    graph = sparse.coo_array((np.ones(len(same), dtype=np.int8), (one, other)), shape=(rings, rings))
    pieces, piece = connected_components(graph, directed=False)

    crossed = np.roll(outlines.y, -1)
    crossed[outlines.ring_start[1:] - 1] = outlines.y[outlines.ring_start[:-1]]
    # Half of Σ (x y' − x' y); a vertical edge alone adds x (y' − y), and horizontal ones nothing.
    area = np.add.reduceat(outlines.x * (crossed - outlines.y), outlines.ring_start[:-1])
    exteriors = np.add.reduceat((area > 0).astype(np.int64), outlines.nucleus_start[:-1])
    if pieces == rings - len(same) and (exteriors == 1).all():
        return
    owner = np.repeat(np.arange(len(canvas)), np.diff(outlines.nucleus_start))
    meetings = np.bincount(owner[one], minlength=len(canvas))
    pieces_of = np.bincount(owner[np.unique(piece, return_index=True)[1]], minlength=len(canvas))
    bad = (exteriors != 1) | (pieces_of != np.diff(outlines.nucleus_start) - meetings)
    raise ValueError(
        f"the mask of nucleus {canvas.ids[bad.argmax()]} is not one 4-connected piece, so that no single "
        "polygon is its outline: split it with scipy.ndimage.label"
    )
