"""What a store holds of an image, as probabilities and as nuclei.

A store holds planes of uint8 (`TileNetwork.kept`): the probability of nucleus, the probability of boundary
where the network has a class for it, and the densities of hematoxylin and of eosin.
"""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax import instances
from nucseg_jax.inference import rings, texture
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
    eosin_ring: float


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
    threshold = instances.parameters_px(config, mpp)["threshold"]
    return [found for found, _ in measured(label_map, nucleus_map, planes, (0, 0), threshold, mpp)]


def map_of_planes(planes: NDArray[np.uint8], has_boundary: bool) -> NucleusMap:
    """Probabilities of what a store holds: uint8 [planes, H, W]."""
    return NucleusMap(probability(planes[0]), probability(planes[1]) if has_boundary else None)


def probability(plane: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of stored values, of which 255 is 1."""
    return plane.astype(np.float32) * np.float32(1 / 255)


def nuclear(plane: NDArray[np.uint8], threshold: float) -> NDArray[np.bool_]:
    """The pixels of a plane of stored probabilities that are of a nucleus: those above the threshold."""
    is_nucleus = probability(np.arange(256, dtype=np.uint8)) > threshold
    return is_nucleus[plane]


def measured(
    label_map: NDArray[np.int32],
    nucleus_map: NucleusMap,
    planes: NDArray[np.uint8],
    corner: tuple[int, int],
    threshold: float,
    mpp: float,
) -> list[tuple[Found, tuple[int, int]]]:
    """Each nucleus of a label map with its first pixel, row by row.

    Args:
      label_map: int32 [h, w], nuclei 1, 2, … without gaps.
      nucleus_map: what the network says there, at least of the components that the nuclei are of.
      planes: uint8 [planes, h, w], what the store holds there.
      corner: (top, left) of all that on the slide.
      threshold: probability above which a pixel is of a nucleus.
      mpp: µm a pixel.
    """
    hematoxylin, eosin = planes[-2:]
    places = np.flatnonzero(label_map)
    labels = label_map.ravel()[places]
    count = int(labels.max(initial=0))
    first = np.zeros(count + 1, np.int64)
    first[labels[::-1]] = places[::-1]  # the last one that is written stays: each label's first place
    area = np.maximum(np.bincount(labels, minlength=count + 1), 1)
    likely = np.bincount(labels, nucleus_map.nucleus.ravel()[places], count + 1) / area
    density = np.bincount(labels, hematoxylin.ravel()[places], count + 1) / area * (LARGEST_DENSITY / 255)
    contrast, entropy = (
        texture.contrasts(label_map, hematoxylin),
        texture.entropies(label_map, hematoxylin),
    )
    ring = rings.densities(label_map, nuclear(planes[0], threshold), eosin, corner, mpp)
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
            float(ring[i]),
        )
        result.append((found, (y + corner[0], x + corner[1])))
    return result
