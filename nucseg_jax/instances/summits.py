"""Distances inside of a mask, and the summits of that landscape: where the watershed begins."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

Place = tuple[slice, slice]
"""Rows and columns of a component's bounding box."""

EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def distance_inside(clumps: NDArray[np.int32], places: Sequence[Place]) -> NDArray[np.float32]:
    """Each pixel's distance to the background: float32 [H, W].

    Clump by clump, which spares the background in between: the nearest background of a pixel adjoins the
    pixel's own clump, since all that is nearer is connected to it.

    Args:
        clumps: the 8-connected components of a mask that is not True everywhere.
        places: where each is.
    """
    distance = np.zeros(clumps.shape, np.float32)
    for i, (rows, columns) in enumerate(places, start=1):
        around = (
            slice(max(0, rows.start - 1), rows.stop + 1),
            slice(max(0, columns.start - 1), columns.stop + 1),
        )
        own = clumps[around] == i
        distance[around][own] = ndimage.distance_transform_edt(own)[own]
    return distance


def extended_maxima(
    height: NDArray[np.float32], h: float, clumps: NDArray[np.int32], places: Sequence[Place]
) -> NDArray[np.bool_]:
    """The plateaus that are left of a landscape's summits when each is lowered by h, but for lower ones.

    Not skimage's h_maxima: that takes single pixels, and so two markers where summits of one height share a
    plateau, as those of a long nucleus do.

    Args:
        height: [H, W], 0 = background, and more than `h` elsewhere: so nothing of one clump reaches another.
        h: least height of a summit above its pass, ≥ 0.
        clumps: the 8-connected components of what is not background.
        places: where each is.
    """
    lowered = np.float32(h)
    is_summit = morphology.local_maxima(height) & (clumps > 0)
    summits, summit_count = ndimage.label(is_summit, EIGHT_NEIGHBOURS, output=np.int32)
    pixels = np.flatnonzero(is_summit)
    tops = np.zeros(summit_count + 1, np.int64)
    tops[summits.ravel()[pixels]] = pixels  # one pixel of each summit
    tops = tops[1:]
    of = clumps.ravel()[tops]
    summits_of = np.bincount(of, minlength=len(places) + 1)
    highest = np.zeros(len(places) + 1, np.float32)
    np.maximum.at(highest, of, height.ravel()[tops])
    # Most clumps have one summit; nothing is to be reconstructed there, which takes most of the time. Of a
    # clump with more, no height is infinite: its pixels are done below.
    least = np.where(summits_of == 1, highest - lowered, np.float32(np.inf))
    plateaus = (clumps > 0) & (height >= least[clumps])
    for i, slices in enumerate(places, start=1):
        if summits_of[i] > 1:
            own = clumps[slices] == i
            alone = np.where(own, height[slices], np.float32(0))
            plateaus[slices] |= own & morphology.local_maxima(
                morphology.reconstruction(alone - lowered, alone)
            )
    return plateaus
