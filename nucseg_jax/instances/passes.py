"""A mask cut at the passes between the summits of a landscape over it, such as that of depths in nuclei."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.instances.flooding import flood
from nucseg_jax.instances.nucleus_map import NucleusMap
from nucseg_jax.instances.summits import EIGHT_NEIGHBOURS, Place, extended_maxima


def depths(nucleus_map: NucleusMap, mask: NDArray[np.bool_], smoothing_px: float) -> NDArray[np.float32]:
    """How deep in its nucleus each pixel lies: the probability of nucleus but not boundary.

    Args:
        nucleus_map: [H, W], with a boundary.
        mask: bool [H, W]; nothing outside of it counts, so that a component is cut alike in whatever window
            it lies.
        smoothing_px: standard deviation of a Gaussian, 0 for none.

    Returns:
        float32 [H, W] in 0 … 1.
    """
    assert nucleus_map.boundary is not None
    inside = np.where(mask, nucleus_map.nucleus - nucleus_map.boundary, np.float32(0)).astype(np.float32)
    if smoothing_px:
        inside = ndimage.gaussian_filter(inside, smoothing_px)
    return np.maximum(inside, np.float32(0))


def cut_at_depths(landscape: NDArray[np.float32], mask: NDArray[np.bool_], h: float) -> NDArray[np.int32]:
    """`cut_at_passes` of a landscape of `depths`."""
    clumps, _ = ndimage.label(mask, EIGHT_NEIGHBOURS, output=np.int32)
    return cut_at_passes(landscape, mask, clumps, ndimage.find_objects(clumps), h)


def cut_at_passes(
    landscape: NDArray[np.float32],
    mask: NDArray[np.bool_],
    clumps: NDArray[np.int32],
    places: Sequence[Place],
    h: float,
) -> NDArray[np.int32]:
    """A mask cut at the passes of a landscape between summits that rise at least h above them.

    Args:
        landscape: [H, W], at least 0.
        mask: what is cut.
        clumps: its 8-connected components.
        places: where each is.
        h: least height.

    Returns:
        A label map int32 [H, W]; its nuclei cover the mask.
    """
    # Lifted by more than h, so that the summit of a nucleus lower than h stays one, too.
    height = np.where(mask, landscape + np.float32(h + 1), np.float32(0))
    maxima = extended_maxima(height, h, clumps, places)
    markers, _ = ndimage.label(maxima, EIGHT_NEIGHBOURS, output=np.int32)
    return flood(-height, markers, mask)
