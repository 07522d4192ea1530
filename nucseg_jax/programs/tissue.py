"""Images of tissue to show a network."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax import pretrained
from nucseg_jax.nuclei import TYPICAL_MPP


def tissue(info: Mapping[str, Any], count: int, side: int) -> NDArray[np.uint8]:
    """uint8[count,side,side,3] of the sample image at a model's resolution, repeated where it ends.

    Args:
      info: the model's.
      count: of images, each begins a pixel further.
      side: in pixels.
    """
    image = pretrained.sample((info.get("resolution") or {}).get("network_mpp") or TYPICAL_MPP)
    places = [range(first, first + side) for first in range(count)]
    return np.stack([image.take(place, 0, mode="wrap").take(place, 1, mode="wrap") for place in places])
