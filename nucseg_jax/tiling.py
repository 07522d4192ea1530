"""Cutting an image into square tiles and putting the tiles' results together again."""

import jax
import jax.numpy as jnp
import numpy as np

from nucseg_jax.errors import UserError


def _starts(length: int, tile: int) -> list[int]:
    """Starts of the fewest tiles that cover `length`; the last one ends flush with the border."""
    count = -(-length // tile)
    return [min(i * tile, length - tile) for i in range(count)]


def corners(height: int, width: int, tile: int) -> np.ndarray:
    """int32[N, 2]: (top, left) of the tiles that cover an image, row by row.

    They do not overlap when the sides are multiples of `tile`; otherwise the last row and column
    overlap the ones before.

    Raises:
      UserError: the image is smaller than a tile.
    """
    if min(height, width) < tile:
        raise UserError(f"an image of {height}×{width} pixels is smaller than the tile of {tile} pixels")
    return np.array([(y, x) for y in _starts(height, tile) for x in _starts(width, tile)], dtype=np.int32)


def cut(image: np.ndarray, tile: int) -> np.ndarray:
    """[H,W,...] → [N,tile,tile,...]: the tiles of `corners`."""
    return np.stack(
        [image[y : y + tile, x : x + tile] for y, x in corners(image.shape[0], image.shape[1], tile)]
    )


def assemble(tiles: jax.Array, height: int, width: int) -> jax.Array:
    """float[N,tile,tile,C] → [H,W,C]: the inverse of `cut`, overlaps averaged."""
    tile, channels = tiles.shape[1], tiles.shape[-1]
    total = jnp.zeros((height, width, channels), tiles.dtype)
    weight = np.zeros((height, width, 1), np.float32)
    for i, (y, x) in enumerate(corners(height, width, tile)):
        total = total.at[y : y + tile, x : x + tile].add(tiles[i])
        weight[y : y + tile, x : x + tile] += 1.0
    return total / jnp.asarray(weight, tiles.dtype)
