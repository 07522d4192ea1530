"""From a mask of nucleus pixels to single nuclei."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def components(mask: NDArray[np.bool_], *, min_area_px: int = 0) -> NDArray[np.int32]:
    """The 4-connected components of a mask, each a nucleus.

    This is how the paper (Hassan et al., IJIMAI 6(6), 2021) makes nuclei of its masks; it counts
    those of area ≥ 70 px. Nuclei that touch become one.

    Args:
        mask: bool `[H, W]`, True = nucleus.
        min_area_px: components of fewer pixels become background.

    Returns:
        int32 `[H, W]`: 0 = background, nuclei 1, 2, … without gaps, in the order of their first
        pixels, row by row.

    Raises:
        ValueError: the mask is not a boolean `[H, W]`, or `min_area_px` is negative.
    """
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"mask must be bool [H, W], got {mask.dtype} {mask.shape}")
    if min_area_px < 0:
        raise ValueError(f"min_area_px must not be negative, got {min_area_px}")
    labels, _ = ndimage.label(mask, output=np.int32)
    stays = np.bincount(labels.ravel(), minlength=1) >= min_area_px
    stays[0] = False
    return np.where(stays, np.cumsum(stays), 0).astype(np.int32)[labels]
