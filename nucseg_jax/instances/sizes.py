"""Label maps without nuclei that are too small or too large, renumbered without gaps in the same order."""

import numpy as np
from numpy.typing import NDArray


def without_small(labels: NDArray[np.int32], min_area_px: float) -> NDArray[np.int32]:
    """The label map int32 [H, W] without nuclei of fewer pixels."""
    stays = np.bincount(labels.ravel(), minlength=1) >= min_area_px
    stays[0] = False
    return np.where(stays, np.cumsum(stays), 0).astype(np.int32)[labels]


def without_large(labels: NDArray[np.int32], max_area_px: float) -> NDArray[np.int32]:
    """The label map int32 [H, W] without nuclei of more pixels."""
    stays = np.bincount(labels.ravel(), minlength=1) <= max_area_px
    stays[0] = False
    if stays[1:].all():
        return labels
    return np.where(stays, np.cumsum(stays), 0).astype(np.int32)[labels]
