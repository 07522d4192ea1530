"""Class probabilities of whole images: tiles through the network in batches, assembled, resized."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from nucseg_jax import sharding, tiling
from nucseg_jax.models.functional import FunctionalNetwork


class TiledInference:
    """Runs a network over images of any size; compiled once per tile size and image size.

    Args:
      network: the network; weights are handed to each call.
      mesh: batches of tiles are split over its devices.
      tile: side of the square tiles in pixels.
      batch_size: tiles a batch; rounded up to a multiple of the device count.
    """

    def __init__(self, network: FunctionalNetwork, mesh: Mesh, *, tile: int, batch_size: int):
        devices = mesh.devices.size
        self.mesh = mesh
        self.tile = tile
        self.batch_size = -(-batch_size // devices) * devices

        def tile_probabilities(params: nnx.State, batch_stats: nnx.State, tiles: jax.Array) -> jax.Array:
            return jax.nn.softmax(network.predict(params, batch_stats, tiles))

        self._tile_probabilities = jax.jit(tile_probabilities, out_shardings=sharding.replicated(mesh))

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
        tiles = tiling.cut(image, self.tile)
        parts = []
        for start in range(0, len(tiles), self.batch_size):
            batch = tiles[start : start + self.batch_size]
            # The last batch is padded to the compiled size, and the padding's results are dropped.
            padding = np.zeros((self.batch_size - len(batch), *batch.shape[1:]), batch.dtype)
            full = sharding.split_batch(self.mesh, np.concatenate([batch, padding]))
            parts.append(self._tile_probabilities(params, batch_stats, full)[: len(batch)])
        height, width = image.shape[:2]
        return _assemble(jnp.concatenate(parts), height, width, size or (height, width))


@partial(jax.jit, static_argnums=(1, 2, 3))
def _assemble(tiles: jax.Array, height: int, width: int, size: tuple[int, int]) -> jax.Array:
    whole = tiling.assemble(tiles, height, width)
    return jax.image.resize(whole, (*size, whole.shape[-1]), "bilinear", antialias=False)
