"""Cutting an image into square tiles and putting the tiles' results together again."""

import jax
import jax.numpy as jnp
import numpy as np

from nucseg_jax.errors import UserError


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Starts of the fewest tiles that cover `length`; the last one ends flush with the border."""
    step = tile - overlap
    count = max(1, -(-(length - overlap) // step))
    return [min(i * step, length - tile) for i in range(count)]


def corners(height: int, width: int, tile: int, overlap: int = 0) -> np.ndarray:
    """int32[N, 2]: (top, left) of the tiles that cover an image, row by row.

    Neighbours share `overlap` pixels; the last row and column may share more, to end with the image.

    Raises:
      UserError: the image is smaller than a tile.
    """
    if min(height, width) < tile:
        raise UserError(f"an image of {height}×{width} pixels is smaller than the tile of {tile} pixels")
    rows, columns = _starts(height, tile, overlap), _starts(width, tile, overlap)
    return np.array([(y, x) for y in rows for x in columns], dtype=np.int32)


def cut(image: np.ndarray, tile: int, overlap: int = 0) -> np.ndarray:
    """[H,W,...] → [N,tile,tile,...]: the tiles of `corners`."""
    places = corners(image.shape[0], image.shape[1], tile, overlap)
    return np.stack([image[y : y + tile, x : x + tile] for y, x in places])


def assemble(tiles: jax.Array, height: int, width: int, overlap: int = 0) -> jax.Array:
    """float[N,tile,tile,C] → [H,W,C]: the inverse of `cut`.

    Where tiles overlap they are blended: a tile's weight falls off linearly over `overlap` pixels towards
    its border, where the network sees least of the surroundings. Without overlap all weigh the same.
    """
    tile, channels = tiles.shape[1], tiles.shape[-1]
    weights = _weights(tile, overlap)
    total = jnp.zeros((height, width, channels), tiles.dtype)
    weight = np.zeros((height, width, 1), np.float32)
    for i, (y, x) in enumerate(corners(height, width, tile, overlap)):
        total = total.at[y : y + tile, x : x + tile].add(tiles[i] * jnp.asarray(weights, tiles.dtype))
        weight[y : y + tile, x : x + tile] += weights
    return total / jnp.asarray(weight, tiles.dtype)


def _weights(tile: int, overlap: int) -> np.ndarray:
    """float32[tile,tile,1]: the weights of a tile's pixels, > 0."""
    from_border = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    ramp = np.minimum(1.0, from_border / (overlap + 1)).astype(np.float32)
    return (ramp[:, None] * ramp[None, :])[..., None]
