"""The outline of a nucleus as one radius an angle around a point in it, found in log-polar coordinates.

Around the point lie rays of equal angles, and on each ray samples whose radii grow by a constant factor. In
these coordinates an outline is one column of each row, and the limit to the columns between neighbouring rows
is a limit to the outline's slope against a circle, alike for small and large nuclei.

What a sample says for the nucleus is its evidence, between −1 and 1: positive where it is of the nucleus,
negative where it is not. An outline's worth is the evidence of all that lies inside it, by area. So an edge
needs no filter and no width: the best outline runs where the evidence changes its sign. Of all outlines that
are not too steep the one of highest worth is found exactly, as a closed shortest path (`closed_paths`).

Sources: Bamford & Lovell, Unsupervised cell nucleus segmentation with active contours, Signal Processing
71(2), 1998 (polar samples around a nucleus, dynamic programming); Li, Wu, Chen & Sonka, Optimal surface
segmentation in volumetric images, IEEE PAMI 28(1), 2006 (the limit to the slope; costs of what lies inside).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.instances.closed_paths import shortest_closed

ANGLES = 32
"""Rays of a nucleus, as StarDist's."""

RADII = 72
"""Samples of a ray. The first lies at the 32nd part of the reach, and each next one 5 % farther out."""

_RANGE = 32.0
_FACTOR = _RANGE ** (1 / (RADII - 1))
_STEEPEST = 1.5
"""Most slope of an outline against the circle: 56°. An ellipse three times as long as wide has 1.33."""

_MOST_STEPS = int(_STEEPEST * 2 * math.pi / ANGLES / math.log(_FACTOR))
_SAMPLES_TOGETHER = 1 << 20
_GROUP = 8
"""Nuclei that need about as many samples, or pixels, are worked on together."""


class Landscape(NamedTuple):
    """What outlines are found in.

    Attributes:
      nucleus: probability of nucleus, float32 [H, W].
      height: ≥ 0, highest in the middles of nuclei, and lower between two that touch: float32 [H, W].
      pieces: int32 [H, W], the connected pieces of what may be of a nucleus, 0 = nothing. An outline is
        found in the piece of its point alone.
    """

    nucleus: NDArray[np.float32]
    height: NDArray[np.float32]
    pieces: NDArray[np.int32]


class Covered(NamedTuple):
    """Pixels that lie in outlines, each of them once for each outline.

    Attributes:
      owner: intp [P], which outline, in rising order.
      pixel: intp [P], where in the flat image; rising within an owner.
    """

    owner: NDArray[np.intp]
    pixel: NDArray[np.intp]

    def among(self, chosen: NDArray[np.bool_]) -> "Covered":
        """Some of these: bool [P]."""
        return Covered(self.owner[chosen], self.pixel[chosen])


def radii_of(
    landscape: Landscape, points: NDArray[np.intp], *, threshold: float, rise: float, reach_px: float
) -> NDArray[np.float32]:
    """The best outline around each of some points, within the point's piece: float32 [N, ANGLES], in pixels.

    The evidence of a sample is its probability of nucleus less the threshold. A ray that climbs has left
    the nucleus for another one: by as much as it has climbed over its lowest height, the evidence falls, and
    by (1 − threshold) for a climb of `rise`. What a ray has climbed once stays, however low it lies later.

    Args:
        landscape: [H, W].
        points: int [N], in the flat image; each in a piece, and where its nucleus is highest.
        threshold: probability above which a pixel is of a nucleus.
        rise: a climb that ends a nucleus for certain, as a part of the point's height.
        reach_px: length of the rays.

    An outline depends on its own piece alone, and not on where in the image that lies.
    """
    radii = np.empty((len(points), ANGLES), np.float32)
    if not len(points):
        return radii
    needed = _needed(landscape.pieces, points, reach_px)
    for count in np.unique(needed):
        chosen = np.flatnonzero(needed == count)
        together = max(1, _SAMPLES_TOGETHER // (ANGLES * int(count)))
        for start in range(0, len(chosen), together):
            part = chosen[start : start + together]
            costs = _costs(landscape, points[part], int(count), threshold, rise, reach_px)
            columns, _ = shortest_closed(costs, _MOST_STEPS)
            # Half-way, as radii grow, to the first sample outside.
            radii[part] = (_radii(reach_px) * math.sqrt(_FACTOR))[columns]
    return radii


def _radii(reach_px: float) -> NDArray[np.float64]:
    """Of the samples: [RADII]."""
    return reach_px / _RANGE * _FACTOR ** np.arange(RADII)


def _needed(pieces: NDArray[np.int32], points: NDArray[np.intp], reach_px: float) -> NDArray[np.intp]:
    """How many samples of a ray reach the end of each point's piece, up to the next multiple of _GROUP.

    Farther out is no evidence for any nucleus, so that the best outline does not change.
    """
    boxes = ndimage.find_objects(pieces)
    ends = np.array([[(s.start, s.stop) for s in box] if box else [(0, 0)] * 2 for box in boxes], np.intp)
    rows, columns = np.divmod(points, pieces.shape[1])
    (top, bottom), (left, right) = np.moveaxis(ends[pieces.ravel()[points] - 1], 0, 2)
    farthest = np.hypot(np.maximum(rows - top, bottom - rows), np.maximum(columns - left, right - columns))
    count = np.searchsorted(_radii(reach_px), farthest) + 1
    return np.minimum(-(-count // _GROUP) * _GROUP, RADII)


def _costs(
    landscape: Landscape,
    points: NDArray[np.intp],
    count: int,
    threshold: float,
    rise: float,
    reach_px: float,
) -> NDArray[np.float32]:
    """What it costs to draw the outline through each sample: less the evidence inside, [N, ANGLES, count]."""
    height, width = landscape.pieces.shape
    radii = _radii(reach_px)[:count]
    angles = np.arange(ANGLES) * (2 * math.pi / ANGLES)
    # The nearest pixel, so that nothing of another piece is mixed in.
    down = np.floor(np.outer(np.sin(angles), radii) + 0.5).astype(np.intp)
    right = np.floor(np.outer(np.cos(angles), radii) + 0.5).astype(np.intp)
    rows, columns = (part[:, None, None] for part in np.divmod(points, width))
    y, x = rows + down, columns + right
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    pixels = np.where(inside, y * width + x, points[:, None, None])
    own = inside & (landscape.pieces.ravel()[pixels] == landscape.pieces.ravel()[points][:, None, None])
    probability = np.where(own, landscape.nucleus.ravel()[pixels], np.float32(0))
    top = landscape.height.ravel()[points][:, None, None]
    level = np.where(own, landscape.height.ravel()[pixels], np.float32(0)) / np.where(top > 0, top, 1)
    lowest = np.minimum(np.minimum.accumulate(level, axis=2), np.float32(1))
    climbed = np.maximum.accumulate(level - lowest, axis=2)
    evidence = probability - np.float32(threshold) - climbed * np.float32((1 - threshold) / rise)
    evidence = np.maximum(evidence, np.float32(-1))
    area = (radii / radii[0]) ** 2
    return -np.cumsum(evidence * area.astype(np.float32), axis=2, dtype=np.float32)


def covered(radii: NDArray[np.float32], points: NDArray[np.intp], pieces: NDArray[np.int32]) -> Covered:
    """The pixels of each outline's piece whose centre lies in it, as a polygon, or on its border.

    Args:
        radii: float32 [N, ANGLES], in pixels.
        points: int [N], what the outlines lie around.
        pieces: int32 [H, W], as of `Landscape`.
    """
    height, width = pieces.shape
    reach = (np.ceil(radii.max(axis=1, initial=0) / _GROUP) * _GROUP).astype(int)
    found: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    for size in np.unique(reach):
        around = _around(int(size))
        chosen = np.flatnonzero(reach == size)
        together = max(1, _SAMPLES_TOGETHER // len(around.down))
        for start in range(0, len(chosen), together):
            part = chosen[start : start + together]
            inverse = 1 / radii[part]
            distance = inverse[:, around.ray] * around.share + inverse[:, around.next] * around.next_share
            which, offset = np.nonzero(distance <= 1)
            rows, columns = np.divmod(points[part][which], width)
            y, x = rows + around.down[offset], columns + around.right[offset]
            in_image = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            which, offset = which[in_image], offset[in_image]
            pixel = y[in_image] * width + x[in_image]
            own = pieces.ravel()[pixel] == pieces.ravel()[points[part][which]]
            found.append((part[which[own]], pixel[own]))
    if not found:
        return Covered(np.zeros(0, np.intp), np.zeros(0, np.intp))
    owner, pixel = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(owner, kind="stable")
    return Covered(owner[order], pixel[order])


class _Around(NamedTuple):
    """Pixels around a point, row by row: where each is, the rays on both sides of it, and their shares.

    The pixel's distance as a part of the radius there, of the chord between two rays of radii r and s, is
    share / r + next_share / s.
    """

    down: NDArray[np.intp]
    right: NDArray[np.intp]
    ray: NDArray[np.intp]
    next: NDArray[np.intp]
    share: NDArray[np.float32]
    next_share: NDArray[np.float32]


@lru_cache(maxsize=64)
def _around(size: int) -> _Around:
    """The pixels up to `size` rows and columns away."""
    down, right = (side.ravel() for side in np.mgrid[-size : size + 1, -size : size + 1])
    distance = np.hypot(down, right)
    step = 2 * math.pi / ANGLES
    angle = np.arctan2(down, right) % (2 * math.pi)
    ray = np.minimum((angle / step).astype(np.intp), ANGLES - 1)
    past = angle - ray * step
    share = distance * np.sin(step - past) / math.sin(step)
    next_share = distance * np.sin(past) / math.sin(step)
    near = distance <= size
    parts = (down, right, ray, (ray + 1) % ANGLES)
    shares = (share.astype(np.float32), next_share.astype(np.float32))
    return _Around(*(part[near] for part in parts), *(part[near] for part in shares))
