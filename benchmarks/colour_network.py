"""Stands for a network on a device: the less red a pixel, the likelier of a nucleus."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from nucseg_jax.inference.tile_network import SlideStain
from nucseg_jax.inference.tiles import Tiling


class RedIsNucleus:
    """See `inference.tile_network.TileNetwork`; green is the boundary, blue the density of hematoxylin,
    and what it lacks of white that of eosin."""

    has_boundary, planes, looks_at_stain = True, 4, True

    def __init__(
        self, tile: int = 32, margin: int = 4, batch_size: int = 3, blend: int = 0, lanes: int = 1
    ) -> None:
        self.tilings, self._batch_size, self._lanes = (Tiling(tile, margin, blend),), batch_size, lanes
        self.estimated_from = np.zeros((0, 3), np.uint8)

    def batch_size(self, tiling: Tiling) -> int:
        return self._batch_size

    def lanes(self, tiling: Tiling) -> int:
        return self._lanes

    def estimate(self, pixels: NDArray[np.uint8]) -> SlideStain:
        self.estimated_from = pixels
        return SlideStain(None, np.zeros((2, 3), np.float32), True)

    def normalize(self, tiles: NDArray[np.uint8], stain: SlideStain) -> tuple[jax.Array, jax.Array]:
        assert tiles.shape == (self._batch_size, *[self.tilings[0].tile] * 2, 3)
        blue = tiles[..., 2]
        return jnp.asarray(tiles), jnp.asarray(np.stack([blue, np.minimum(255 - blue, 254)], axis=1))

    def kept(self, tiles: jax.Array, dyes: jax.Array, tiling: Tiling) -> jax.Array:
        said = jnp.stack([255 - tiles[..., 0], 255 - tiles[..., 1]], axis=1)
        planes = jnp.concatenate([said, dyes], axis=1)
        keep = slice(tiling.margin, tiling.tile - tiling.margin)
        return planes[:, :, keep, keep]
