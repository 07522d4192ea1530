"""Nuclei one by one, as they come off a slide: what segmentation yields and every exporter takes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Nucleus:
    """A nucleus in pixels of the network's level (`Frame.network_mpp`).

    Attributes:
      id: 1, 2, … without gaps in the order they come; its value in a label map.
      top, left: of the crop `mask` in the network's level, ≥ 0.
      mask: bool [h, w], its pixels; one 4-connected piece that touches all four sides of the crop.
      probability: mean over its pixels of the network's probability of nucleus, in 0 … 1.
      hematoxylin: mean optical density (natural logarithm) of hematoxylin over its pixels; None where it was
        not measured.
    """

    id: int
    top: int
    left: int
    mask: NDArray[np.bool_]
    probability: float
    hematoxylin: float | None = None


@dataclass(frozen=True)
class Frame:
    """Where a slide's nuclei lie: base pixels, micrometres and the network's pixels.

    Points are counted from the slide's top left corner, pixel (0, 0) covers 0 … 1: a point (y, x) of the
    network's level is (y · scale, x · scale) in base pixels, and (y · network_mpp, x · network_mpp) in µm.

    Attributes:
      size: (height, width) of the slide in base pixels.
      mpp: µm a base pixel.
      network_mpp: µm a pixel of the network's level, which the coordinates of nuclei are in.
    """

    size: tuple[int, int]
    mpp: float
    network_mpp: float

    @property
    def scale(self) -> float:
        """Base pixels a pixel of the network's level."""
        return self.network_mpp / self.mpp

    @property
    def network_size(self) -> tuple[int, int]:
        """(height, width) of the slide in pixels of the network's level; at least 1 each."""
        height, width = (max(1, round(side / self.scale)) for side in self.size)
        return height, width
