"""Batch statistics of given parameters, estimated anew from images."""

from collections.abc import Sequence

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from nucseg_jax import devices, tiling
from nucseg_jax.models.network import FunctionalNetwork, Weights


class StatisticsEstimator:
    """Batch statistics estimated anew for a network's parameters: their mean over batches of tiles.

    The cumulative average: after n tiles, a batch of b weighs b/(n+b). The tiles of all images are mixed, as
    training's are: those of one image are too alike to make a batch's variance. The last batch is filled up
    with tiles from the start, and weighs what is new in it.

    Args:
      network: its forward passes.
      mesh: batches are split over its devices.
      tile: side of the square tiles in pixels.
      batch_size: tiles a batch, a multiple of the devices.
    """

    def __init__(self, network: FunctionalNetwork, mesh: Mesh, *, tile: int, batch_size: int):
        self._statistics = devices.jit(mesh, network.batch_statistics)
        self._mesh, self._tile, self._batch_size = mesh, tile, batch_size

    def __call__(self, weights: Weights, images: Sequence[np.ndarray]) -> nnx.State:
        """Statistics of all tiles of images.

        Args:
          weights: the parameters; the batch statistics give the tree's structure only.
          images: uint8[H,W,3] each, at least a tile high and wide.
        """
        tile, batch_size = self._tile, self._batch_size
        places = [(i, y, x) for i, image in enumerate(images) for y, x in tiling.corners(*_size(image), tile)]
        places = np.random.default_rng(0).permutation(places).tolist()
        result = weights.batch_stats
        for seen in range(0, len(places), batch_size):
            rows = [places[k % len(places)] for k in range(seen, seen + batch_size)]
            tiles = np.stack([images[i][y : y + tile, x : x + tile] for i, y, x in rows])
            found = self._statistics(
                weights.params, weights.batch_stats, devices.split_batch(self._mesh, tiles)
            )
            new = min(batch_size, len(places) - seen)
            weight = np.float32(new / (seen + new))  # the first batch weighs 1: nothing of the old ones stays
            result = (
                found if seen == 0 else jax.tree.map(lambda r, f, w=weight: r + (f - r) * w, result, found)
            )
        return result


def _size(image: np.ndarray) -> tuple[int, int]:
    height, width = image.shape[:2]
    return height, width
