"""Tiles on the accelerator: stain normalisation, the network, and what is kept of its probabilities."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from numpy.typing import NDArray

from nucseg_jax import devices
from nucseg_jax.cores import usable_cores
from nucseg_jax.inference.layout import tilings_of
from nucseg_jax.inference.rings import NOT_MEASURED
from nucseg_jax.inference.tile_store import LARGEST_DENSITY
from nucseg_jax.inference.tiles import Tiling, tiles_a_batch
from nucseg_jax.models.network import FunctionalNetwork, Weights
from nucseg_jax.stain import StainNormalizer, Stains, normalization
from nucseg_jax.stain.optical_density import optical_density
from nucseg_jax.stain.separation import concentrations
from nucseg_jax.stain.stained_pixels import REFERENCE, unit_rows

LANES_PX = 2**21
"""Pixels that CPUs work on at once, or one batch: they bound the memory that lanes take."""


class SlideStain(NamedTuple):
    """How a slide is stained.

    Attributes:
      style: of the run's normaliser; None where the run needs none.
      matrix: float32 [2, 3], hematoxylin and eosin of this slide, or the reference's where that is not known;
        NumPy's, as those of the style, so that several processes can share them.
      found: the slide shows stains; where it does not, it is taken to have the target's.
    """

    style: Any
    matrix: NDArray[np.float32]
    found: bool


class TileNetwork:
    """A trained network on batches of tiles; compiled once for each size of them.

    Args:
      network, weights: the network and its weights, on the mesh; None: `with_weights` gives them.
      mesh: batches are split over its devices.
      tilings: that it may be used with; all give the same result.
      batch_px: pixels that are worked on at once, at least a tile.
      stain: normalises images before the network; None: not needed.
      augment: take the mean over the eight flips and turns of each tile: test-time augmentation.
      has_boundary: the network has a class for boundaries, and it is kept.

    Attributes:
      tilings, has_boundary: as given.
      looks_at_stain: it normalises stains, so that `estimate` looks at pixels.
    """

    def __init__(
        self,
        network: FunctionalNetwork,
        weights: Weights | None,
        mesh: Mesh,
        *,
        tilings: Sequence[Tiling],
        batch_px: int,
        stain: StainNormalizer | None = None,
        augment: bool = False,
        has_boundary: bool = False,
    ):
        self.has_boundary, self.looks_at_stain = has_boundary, stain is not None
        self._weights, self._mesh, self._stain = weights, mesh, stain
        self.tilings, self._batch_px = tuple(tilings), batch_px
        self._prepare = jax.jit(partial(_prepare, stain))

        def kept(weights: Weights, tiles: jax.Array, dyes: jax.Array, margin: int) -> jax.Array:
            predict = partial(network.probabilities, *weights)
            probabilities = _mean_of_symmetries(predict, tiles) if augment else predict(tiles)
            boundary = [probabilities[..., 2]] if has_boundary else []
            planes = [1.0 - probabilities[..., 0], *boundary]
            stored = [jnp.round(plane * 255.0).astype(jnp.uint8) for plane in planes]
            keep = slice(margin, tiles.shape[1] - margin)
            return jnp.concatenate([jnp.stack(stored, axis=1), dyes], axis=1)[:, :, keep, keep]

        # Replicated, since every process cuts nuclei out of all tiles.
        self._kept = devices.jit(mesh, kept, static_argnums=3)

    @classmethod
    def of(
        cls,
        config: ConfigDict,
        network: FunctionalNetwork,
        weights: Weights | None,
        mesh: Mesh,
        *,
        stain: StainNormalizer | None,
        augment: bool,
        has_boundary: bool,
    ) -> Self:
        """With the tiles and the batches of an experiment; the arguments are those of the class."""
        return cls(
            network,
            weights,
            mesh,
            tilings=tilings_of(config),
            batch_px=config.eval.batch_size * config.data.crop_size**2,
            stain=stain,
            augment=augment,
            has_boundary=has_boundary,
        )

    def with_weights(self, weights: Weights) -> Self:
        """The same network with other weights; nothing is compiled again."""
        other = copy.copy(self)
        other._weights = weights
        return other

    @property
    def planes(self) -> int:
        """Values a pixel that `kept` gives."""
        return 4 if self.has_boundary else 3

    def batch_size(self, tiling: Tiling) -> int:
        """Tiles a batch: a multiple of the devices."""
        return tiles_a_batch(tiling, self._batch_px, self._mesh.devices.size)

    def lanes(self, tiling: Tiling) -> int:
        """Batches that are worked on side by side.

        On CPUs as many as have LANES_PX pixels together, but at most one a core; one on accelerators, and
        where several devices share each batch.
        """
        if self._mesh.devices.size > 1 or self._mesh.devices.flat[0].platform != "cpu":
            return 1
        return max(1, min(usable_cores(), LANES_PX // (self.batch_size(tiling) * tiling.tile**2)))

    def estimate(self, pixels: NDArray[np.uint8]) -> SlideStain:
        """How a slide is stained, from pixels uint8 [N, 3] of its tissue; none where it looks at none."""
        reference = np.asarray(unit_rows(REFERENCE, jnp.float32))
        if self._stain is None:
            return SlideStain(None, reference, True)
        style, found = self._stain.estimate(pixels)
        matrix = np.asarray(style.matrix) if isinstance(style, Stains) else reference
        return SlideStain(style, matrix, found)

    def normalize(self, tiles: NDArray[np.uint8], stain: SlideStain) -> tuple[jax.Array, jax.Array]:
        """uint8 [B, tile, tile, 3] → the same for the network, and its dyes uint8 [B, 2, tile, tile].

        B is `batch_size`. Hematoxylin and eosin are measured before normalisation, with the slide's own stain
        vectors; 255 is LARGEST_DENSITY. Eosin has 254 at most, as 255 says that it was not measured.
        """
        batch = devices.split_batch(self._mesh, tiles)
        return self._prepare(batch, stain.style, stain.matrix)

    def kept(self, tiles: jax.Array, dyes: jax.Array, tiling: Tiling) -> jax.Array:
        """What the store gets of each tile: uint8 [B, planes, kept, kept].

        Planes: probability of nucleus, of boundary where it is kept (255 is 1), densities of hematoxylin and
        of eosin.
        """
        return self._kept(self._weights, tiles, dyes, tiling.margin)


def _prepare(
    stain: StainNormalizer | None, tiles: jax.Array, style: Any, matrix: jax.Array
) -> tuple[jax.Array, jax.Array]:
    grey = tiles.astype(jnp.float32)
    planes = grey.reshape(-1, 3).T
    amounts = concentrations(optical_density(planes), matrix, 0.0)
    steps = jnp.round(jnp.clip(amounts / LARGEST_DENSITY, 0, 1) * 255.0)
    hematoxylin, eosin = steps[0], jnp.minimum(steps[1], NOT_MEASURED - 1)
    dyes = jnp.stack(
        [dye.astype(jnp.uint8).reshape(tiles.shape[:-1]) for dye in (hematoxylin, eosin)], axis=1
    )
    if stain is None:
        return tiles, dyes
    target = jax.tree.map(jnp.asarray, stain.target)
    normalized = normalization.normalize(stain.method, grey, target, source=style).images
    return jnp.clip(jnp.round(normalized), 0, 255).astype(jnp.uint8), dyes


def _mean_of_symmetries(predict: Any, tiles: jax.Array) -> jax.Array:
    """Class probabilities [B,tile,tile,C], the mean over a tile's eight flips and turns."""
    total = jnp.zeros(())
    for flip in (False, True):
        for turns in range(4):
            laid = jnp.rot90(tiles[:, :, ::-1] if flip else tiles, turns, axes=(1, 2))
            result = jnp.rot90(predict(laid), -turns, axes=(1, 2))
            result = result[:, :, ::-1] if flip else result
            total = result if total.ndim == 0 else total + result
    return total / 8
