"""Stands for a network on a device: the less red a pixel, the likelier of a nucleus."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from nucseg_jax.whole_slide.device import SlideStain


class RedIsNucleus:
    """See `whole_slide.device.TileNetwork`; green is the boundary, blue the density of hematoxylin."""

    has_boundary, planes = True, 3

    def __init__(self, tile: int = 32, margin: int = 4, batch_size: int = 3) -> None:
        self.tile, self.margin, self.batch_size = tile, margin, batch_size
        self.estimated_from: Sequence[NDArray[np.uint8]] = []

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> SlideStain:
        self.estimated_from = images
        return SlideStain(None, jnp.zeros((2, 3)), True)

    def normalize(self, tiles: NDArray[np.uint8], stain: SlideStain) -> tuple[jax.Array, jax.Array]:
        assert tiles.shape == (self.batch_size, self.tile, self.tile, 3)
        return jnp.asarray(tiles), jnp.asarray(tiles[..., 2])

    def centres(self, tiles: jax.Array, hematoxylin: jax.Array) -> jax.Array:
        planes = jnp.stack([255 - tiles[..., 0], 255 - tiles[..., 1], hematoxylin], axis=1)
        keep = slice(self.margin, self.tile - self.margin)
        return planes[:, :, keep, keep]
