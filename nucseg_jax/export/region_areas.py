"""How large regions are, and how much tissue lies in them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.tissue_area import TissueArea
from nucseg_jax.nuclei import Frame
from nucseg_jax.regions import Regions


class RegionArea(NamedTuple):
    """Of one region.

    Attributes:
        area_mm2: of what of it lies on the slide.
        tissue_mm2: of the tissue in it.
        tissue: this tissue as a mask.
    """

    area_mm2: float
    tissue_mm2: float
    tissue: TissueArea


def region_areas(regions: Regions, frame: Frame, mask: NDArray[np.bool_]) -> dict[str, RegionArea]:
    """Name → areas of each region.

    Args:
        regions: of the slide.
        frame: the slide.
        mask: bool `[h, w]`, the whole slide, True = tissue, at any resolution.
    """
    mm2 = (frame.mpp / 1000) ** 2
    areas, shares = regions.areas_px(frame.size), regions.shares(mask, frame.size)
    parts = regions.masks(mask.shape, frame.size)
    pixels, tissue = frame.size[0] * frame.size[1], TissueArea(frame, mask)
    return {
        # The tissue is sampled: no more of it than of the region.
        name: RegionArea(area * mm2, min(area, shares[name] * pixels) * mm2, tissue.part(*parts[name]))
        for name, area in areas.items()
    }
