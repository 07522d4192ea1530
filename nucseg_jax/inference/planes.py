"""What a store holds of an image, as probabilities and as nuclei.

A store holds planes of uint8 (`TileNetwork.kept`): the probability of nucleus, the probability of boundary
where the network has a class for it, and the density of hematoxylin.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax import instances
from nucseg_jax.inference import texture
from nucseg_jax.inference.tile_store import LARGEST_DENSITY
from nucseg_jax.instances import NucleusMap


class Found(NamedTuple):
    """A nucleus before it has a number; see `nuclei.Nucleus`."""

    top: int
    left: int
    mask: NDArray[np.bool_]
    probability: float
    hematoxylin: float
    hematoxylin_contrast: float
    hematoxylin_entropy_bits: float


def whole(planes: NDArray[np.uint8], config: ConfigDict, mpp: float, has_boundary: bool) -> list[Found]:
    """The nuclei of a whole image at once, of any size.

    Args:
      planes: uint8 [planes, H, W] of the image.
      config: `config.instances`: how nuclei are made of probabilities.
      mpp: µm a pixel of the planes.
      has_boundary: the network has a class for boundaries.
    """
    nucleus_map = map_of_planes(planes, has_boundary)
    label_map = instances.cut(nucleus_map, config, mpp)
    return [found for found, _ in measured(label_map, nucleus_map, planes[-1], (0, 0))]


def map_of_planes(planes: NDArray[np.uint8], has_boundary: bool) -> NucleusMap:
    """Probabilities of what a store holds: uint8 [planes, H, W]."""
    return NucleusMap(probability(planes[0]), probability(planes[1]) if has_boundary else None)


def probability(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of stored values, of which 255 is 1."""
    return plane.astype(np.float32) * np.float32(1 / 255)


def measured(
    label_map: NDArray[np.int32], nucleus_map: NucleusMap, dye: NDArray[np.uint8], corner: tuple[int, int]
) -> list[tuple[Found, tuple[int, int]]]:
    """Each nucleus of a label map with its first pixel, row by row.

    Args:
      label_map: int32 [h, w], nuclei 1, 2, … without gaps.
      nucleus_map: what the network says there.
      dye: uint8 [h, w], density of hematoxylin.
      corner: (top, left) of all that on the slide.
    """
    places = np.flatnonzero(label_map)
    labels = label_map.ravel()[places]
    count = int(labels.max(initial=0))
    first = np.zeros(count + 1, np.int64)
    first[labels[::-1]] = places[::-1]  # the last one that is written stays: each label's first place
    area = np.maximum(np.bincount(labels, minlength=count + 1), 1)
    likely = np.bincount(labels, nucleus_map.nucleus.ravel()[places], count + 1) / area
    density = np.bincount(labels, dye.ravel()[places], count + 1) / area * (LARGEST_DENSITY / 255)
    contrast, entropy = texture.contrasts(label_map, dye), texture.entropies(label_map, dye)
    result = []
    for i, slices in enumerate(ndimage.find_objects(label_map), start=1):
        y, x = divmod(int(first[i]), label_map.shape[1])
        top, left = slices[0].start + corner[0], slices[1].start + corner[1]
        found = Found(
            top,
            left,
            label_map[slices] == i,
            float(likely[i]),
            float(density[i]),
            float(contrast[i]),
            float(entropy[i]),
        )
        result.append((found, (y + corner[0], x + corner[1])))
    return result
