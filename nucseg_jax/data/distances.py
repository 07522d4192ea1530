"""How deep each pixel lies in its nucleus, for networks that are trained on it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def relative_depth(label_map: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Each pixel's distance to the outside of its nucleus, as a share of the nucleus's largest.

    Other nuclei are outside. Where the image ends, the nucleus goes on as it reaches the border.

    Args:
      label_map: int32 [H, W], 0 = background.

    Returns:
      uint8 [H, W]: 255 in the nucleus's middle, towards 0 at its edge, 0 in the background.
    """
    depth = np.zeros(label_map.shape, np.uint8)
    for label, place in enumerate(ndimage.find_objects(label_map), start=1):
        if place is None:
            continue
        own = label_map[place] == label
        # One pixel of the outside on each side, or the nucleus's own where the image ends there.
        at_end = [
            (side.start == 0, side.stop == size) for side, size in zip(place, label_map.shape, strict=True)
        ]
        around = np.pad(own, 1)
        inner = np.pad(own, 1, mode="edge")
        for axis, (first, last) in enumerate(at_end):
            for ends, index in ((first, 0), (last, -1)):
                if ends:
                    line = (slice(None),) * axis + (index,)
                    around[line] = inner[line]
        if around.all():  # the image is one nucleus
            depth[place] = 255
            continue
        distance = ndimage.distance_transform_edt(around)[1:-1, 1:-1]
        depth[place][own] = np.round(255 * distance[own] / distance[own].max()).astype(np.uint8)
    return depth
