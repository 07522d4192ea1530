"""Class probabilities of prepared images as they are, for labels that a network is trained on."""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from nucseg_jax import devices
from nucseg_jax.inference.tile_store import TilesInMemory, TileStore
from nucseg_jax.inference.tiles import TISSUE_PX, Tiling, cheapest_grid, tiles_a_batch
from nucseg_jax.models.network import Weights
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import slide_of_array

_MPP = 1.0  # prepared images are at the network's resolution, whatever that is


class ClassProbabilities:
    """What a network says of every pixel of an image; compiled once for each size of tiles.

    Args:
      of_tiles: (weights, uint8 [B, tile, tile, 3]) → float32 [B, tile, tile, C].
      mesh: batches of tiles are split over its devices.
      tilings: that may be used (`layout.tilings_of`).
      batch_px: pixels that are worked on at once, at least a tile.
    """

    def __init__(
        self,
        of_tiles: Callable[[Weights, jax.Array], jax.Array],
        mesh: Mesh,
        *,
        tilings: Sequence[Tiling],
        batch_px: int,
    ):
        self._of_tiles = devices.jit(mesh, of_tiles)
        self._mesh, self._tilings, self._batch_px = mesh, tuple(tilings), batch_px

    def __call__(self, weights: Weights, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [H, W, 3], prepared → float32 [H, W, C]."""
        height, width = image.shape[:2]
        everywhere = np.ones((-(-height // TISSUE_PX), -(-width // TISSUE_PX)), bool)
        frame = Frame((height, width), _MPP, _MPP)
        grid, places = cheapest_grid(frame, self._tilings, everywhere, self._batch_size)
        tiling, size = grid.tiling, self._batch_size(grid.tiling)
        tiles, planes = TilesInMemory(), 0
        with slide_of_array(image, _MPP) as slide:
            for first in range(0, len(places), size):
                batch = np.zeros((size, tiling.tile, tiling.tile, 3), np.uint8)
                for i, place in enumerate(places[first : first + size]):
                    batch[i] = grid.read(slide, place)
                values = np.asarray(self._of_tiles(weights, devices.split_batch(self._mesh, batch)))
                keep = slice(tiling.margin, tiling.tile - tiling.margin)
                planes = values.shape[-1]
                for i, place in enumerate(places[first : first + size]):
                    tiles.put(*place, np.moveaxis(values[i, keep, keep], -1, 0))
        store = TileStore(tiles, tiling, (height, width), planes, everywhere)
        return np.ascontiguousarray(np.moveaxis(store.read(0, 0, height, width), 0, -1))

    def _batch_size(self, tiling: Tiling) -> int:
        return tiles_a_batch(tiling, self._batch_px, self._mesh.devices.size)
