"""Tissue whose nuclei a network reads off their colour, for tests of what comes after a network."""

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax import Segmenter, instances, metrics
from nucseg_jax.config import get_config
from nucseg_jax.inference.magnification import Magnification
from nucseg_jax.instances import NucleusMap

MPP = 0.25
EOSIN = (230, 170, 190)


def config_of(method: str) -> ConfigDict:
    config = get_config().instances
    config.method = method
    config[method].min_area_um2 = 4 * MPP**2
    config.masked = ()  # no tissue has these colours
    return config


def segmenter(
    method: str = "watershed",
    *,
    block_px: int = 1024,
    network_mpp: float = MPP,
    workers: int = 0,
    small_px: int = 0,
    network: RedIsNucleus | None = None,
) -> Segmenter:
    """By default one that takes the way of large slides."""
    return Segmenter(
        network or RedIsNucleus(),
        config_of(method),
        Magnification(network_mpp, "test"),
        block_px=block_px,
        workers=workers,
        small_px=small_px,
    )


def tissue(height: int, width: int, count: int, seed: int = 0, radius: float = 9.0) -> NDArray[np.uint8]:
    """Eosin with dark ellipses, many of which touch; their probability falls off towards their outline."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.tile(np.array(EOSIN, np.uint8), (height, width, 1))
    for _ in range(count):
        top, left = random.uniform(0, (height, width))
        a, b = random.uniform(0.5 * radius, radius, 2)
        distance = ((y - top) / a) ** 2 + ((x - left) / b) ** 2
        inside = distance < 1
        image[inside, 0] = np.minimum(image[inside, 0], (20 + 120 * distance[inside]).astype(np.uint8))
        image[inside, 1] = np.where(distance[inside] > 0.6, 100, 240)
        image[inside, 2] = random.integers(60, 200)
    return image


def of_whole(image: NDArray[np.uint8], config: ConfigDict) -> NDArray[np.int32]:
    """The nuclei of all pixels at once, without tiles or blocks."""
    nucleus, boundary = ((255 - image[..., i]).astype(np.float32) * np.float32(1 / 255) for i in (0, 1))
    return instances.split(NucleusMap(nucleus, boundary), config, MPP)


def assert_same_nuclei(first: NDArray[np.int32], second: NDArray[np.int32]) -> None:
    """Equal label maps, but for the numbers."""
    pairs = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1)
    np.testing.assert_array_equal(first > 0, second > 0)
    for ids in pairs:
        assert len(np.unique(ids)) == len(ids), "a nucleus is cut or joined"


def identical_part(first: NDArray[np.int32], second: NDArray[np.int32]) -> float:
    """The part of the nuclei of two label maps that are in both to the last pixel."""
    table = metrics.overlaps(first, second)
    same = int((table.iou == 1.0).sum())
    return 2 * same / max(1, table.count_true + table.count_pred)
