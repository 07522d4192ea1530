"""How deep each pixel lies in its nucleus, for networks that are trained on it."""

import numpy as np
from numpy.typing import NDArray


def relative_depth(label_map: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Each pixel's distance to the outside of its nucleus, as a share of the nucleus's largest.

    Other nuclei are outside. Where the image ends, the nucleus goes on as it reaches the border.

    Args:
      label_map: int32 [H, W], 0 = background.

    Returns:
      uint8 [H, W]: 255 in the nucleus's middle, towards 0 at its edge, 0 in the background.
    """
    from scipy import ndimage  # benchmarks on machines without SciPy import this module, too

    depth = np.zeros(label_map.shape, np.uint8)
    around = np.pad(label_map, 1, mode="edge")
    for label, place in enumerate(ndimage.find_objects(label_map), start=1):
        if place is None:
            continue
        # A pixel of the surroundings on each side: in `around`, all lies one pixel further.
        own = around[tuple(slice(side.start, side.stop + 2) for side in place)] == label
        inside = own[1:-1, 1:-1]
        if own.all():  # the image is one nucleus
            depth[place] = 255
            continue
        distance = ndimage.distance_transform_edt(own)[1:-1, 1:-1]
        depth[place][inside] = np.round(255 * distance[inside] / distance[inside].max()).astype(np.uint8)
    return depth


def unknown_depth(label_map: NDArray[np.int32], unannotated: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where nobody knows how deep a pixel lies in its nucleus.

    That is what nobody annotated, and each nucleus that ends just there: it was cut off, or drawn no further,
    so that both its pixels' distances to the outside and the largest of them are unknown. A nucleus that was
    drawn on beyond the border is known.

    Args:
      label_map: int32 [H, W], 0 = background; nuclei may go on where nobody annotated.
      unannotated: bool [H, W].

    Returns:
      bool [H, W].
    """
    from scipy import ndimage  # benchmarks on machines without SciPy import this module, too

    touched = ndimage.binary_dilation(unannotated, np.ones((3, 3), bool))
    cut_off = np.setdiff1d(label_map[touched & ~unannotated], label_map[unannotated])
    return unannotated | np.isin(label_map, cut_off[cut_off > 0])
