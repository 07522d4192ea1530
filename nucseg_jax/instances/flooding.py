"""Markers that grow over a mask until they meet: the watershed behind two of the methods of `instances`."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure, segmentation


def flood(
    surface: NDArray[np.float32], markers: NDArray[np.int32], mask: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Grow markers over a mask, from low surface to high; what none reaches is a piece of its own.

    What becomes of a 4-connected region of the mask depends on that region alone.

    Args:
        surface: [H, W].
        markers: [H, W], a number above 0 for each, 0 elsewhere; those outside of the mask do not count.
        mask: bool [H, W].

    Returns:
        A label map int32 [H, W], in the order of first pixels, row by row. Each piece is 4-connected: a
        marker that crosses a corner between two regions has a piece in both.
    """
    regions, count = ndimage.label(mask, output=np.int32)
    # Where no two markers meet, all is one piece: it needs no flooding, which takes most of the time.
    has_two = _with_two_values(regions[mask], markers[mask], count)
    if not has_two.any():
        return regions
    contested = has_two[regions]
    ordered = in_order(surface, markers, contested)
    flooded = segmentation.watershed(ordered, markers, mask=contested, connectivity=1)
    pieces = np.where(contested, flooded + np.int32(count), regions)
    return measure.label(pieces, connectivity=1).astype(np.int32)


def _with_two_values(groups: NDArray[np.int32], values: NDArray[np.int32], count: int) -> NDArray[np.bool_]:
    """Which of the groups 1 … count have two different values above 0: bool [count + 1]."""
    groups, values = groups[values > 0], values[values > 0]
    least, most = np.full(count + 1, np.iinfo(np.int32).max, np.int32), np.zeros(count + 1, np.int32)
    np.minimum.at(least, groups, values)
    np.maximum.at(most, groups, values)
    return most > least


def in_order(
    surface: NDArray[np.float32], markers: NDArray[np.int32], mask: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The same landscape for a watershed that begins at markers of equal height row by row.

    skimage leaves the order of these to its heap, and so to what else is in the image; but what becomes of a
    region must not depend on others.
    """
    _, levels = np.unique(surface[mask], return_inverse=True)
    begins = markers[mask] > 0
    count = int(begins.sum())
    ordered = np.zeros(mask.shape)
    # At each height the markers come first, as their age has it, and then what is flooded.
    ordered[mask] = levels * (count + 1.0) + np.where(begins, np.cumsum(begins) - 1, count)
    return ordered
