"""Class probabilities of whole images: tiles through the network in batches, assembled, resized."""

from collections.abc import Callable
from functools import partial
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import sharding, tiling
from nucseg_jax.maps import NucleusMap
from nucseg_jax.models.functional import FunctionalNetwork

SYMMETRIES = tuple((turns, flip) for flip in (False, True) for turns in range(4))
"""The eight ways to lay down a square: mirrored or not, then turned by so many quarter turns."""


Probabilities = Callable[[nnx.State, nnx.State, jax.Array], jax.Array]
"""(params, batch statistics, uint8[B,H,W,3]) → float32[B,H,W,C], each pixel's probabilities."""


class TiledInference:
    """Runs a network over images of any size; compiled once per tile size and image size.

    Args:
      tile_probabilities: what a network says of tiles, such as `FunctionalNetwork.probabilities`; weights are
        handed to each call.
      mesh: batches of tiles are split over its devices.
      tile: side of the square tiles in pixels.
      batch_size: tiles a batch; rounded up to a multiple of the device count.
      overlap_px: pixels that neighbouring tiles share, at least; blended (`tiling.assemble`).
      augment: show the network each tile in all eight SYMMETRIES, and take the mean: test-time augmentation.
    """

    def __init__(
        self,
        tile_probabilities: Probabilities,
        mesh: Mesh,
        *,
        tile: int,
        batch_size: int,
        overlap_px: int = 0,
        augment: bool = False,
    ):
        devices = mesh.devices.size
        self.mesh = mesh
        self.tile = tile
        self.batch_size = -(-batch_size // devices) * devices
        self.overlap_px = overlap_px
        self.symmetries = SYMMETRIES if augment else SYMMETRIES[:1]
        self._tile_probabilities = jax.jit(tile_probabilities, out_shardings=sharding.replicated(mesh))

    @classmethod
    def by_config(cls, network: FunctionalNetwork, mesh: Mesh, config: ConfigDict) -> Self:
        """As `config.eval` asks for; tiles are as large as the patches that were trained on."""
        return cls(
            network.probabilities,
            mesh,
            tile=config.data.crop_size,
            batch_size=config.eval.batch_size,
            overlap_px=config.eval.overlap_px,
            augment=config.eval.augment,
        )

    def probabilities(
        self,
        params: nnx.State,
        batch_stats: nnx.State,
        image: np.ndarray,
        size: tuple[int, int] | None = None,
    ) -> jax.Array:
        """uint8[H,W,3] → float32 class probabilities [h,w,C], on the device.

        Args:
          params: the network's parameters.
          batch_stats: its running batch statistics.
          image: prepared image, at least one tile high and wide.
          size: (h, w) to resize the probabilities to, bilinearly; default H, W.
        """
        tiles = tiling.cut(image, self.tile, self.overlap_px)
        parts = []
        for start in range(0, len(tiles), self.batch_size):
            batch = tiles[start : start + self.batch_size]
            # The last batch is padded to the compiled size, and the padding's results are dropped.
            padding = np.zeros((self.batch_size - len(batch), *batch.shape[1:]), batch.dtype)
            full = np.concatenate([batch, padding])
            parts.append(self._mean_over_symmetries(params, batch_stats, full)[: len(batch)])
        height, width = image.shape[:2]
        size = size or (height, width)
        return _assemble(jnp.concatenate(parts), height, width, self.overlap_px, size)

    def nucleus_map(
        self, params: nnx.State, batch_stats: nnx.State, image: np.ndarray, size: tuple[int, int]
    ) -> NucleusMap:
        """`probabilities` of nuclei and, where the network has that class, of their boundaries."""
        return NucleusMap.of_classes(np.asarray(self.probabilities(params, batch_stats, image, size)))

    def _mean_over_symmetries(
        self, params: nnx.State, batch_stats: nnx.State, tiles: np.ndarray
    ) -> jax.Array:
        """uint8[B,tile,tile,3] → float32[B,tile,tile,C]."""
        results = []
        for turns, flip in self.symmetries:
            laid = np.rot90(tiles[:, :, ::-1] if flip else tiles, turns, axes=(1, 2))
            batch = sharding.split_batch(self.mesh, np.ascontiguousarray(laid))
            results.append(_laid_back(self._tile_probabilities(params, batch_stats, batch), turns, flip))
        return results[0] if len(results) == 1 else sum(results[1:], start=results[0]) / len(results)


@partial(jax.jit, static_argnums=(1, 2))
def _laid_back(tiles: jax.Array, turns: int, flip: bool) -> jax.Array:
    """Undo a symmetry of [B,tile,tile,C]."""
    tiles = jnp.rot90(tiles, -turns, axes=(1, 2))
    return tiles[:, :, ::-1] if flip else tiles


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _assemble(tiles: jax.Array, height: int, width: int, overlap: int, size: tuple[int, int]) -> jax.Array:
    whole = tiling.assemble(tiles, height, width, overlap)
    return jax.image.resize(whole, (*size, whole.shape[-1]), "bilinear", antialias=False)
