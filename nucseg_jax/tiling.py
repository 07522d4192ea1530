"""Square tiles that cover an image and lie inside of it: what training cuts its patches by."""

import numpy as np

from nucseg_jax.errors import UserError


def _starts(length: int, tile: int) -> list[int]:
    """Starts of the fewest tiles that cover `length`; the last one ends flush with the border."""
    return [min(start, length - tile) for start in range(0, length, tile)]


def corners(height: int, width: int, tile: int) -> np.ndarray:
    """int32[N, 2]: (top, left) of the tiles that cover an image, row by row.

    The last row and column may overlap those before, to end with the image.

    Raises:
      UserError: the image is smaller than a tile.
    """
    if min(height, width) < tile:
        raise UserError(f"an image of {height}×{width} pixels is smaller than the tile of {tile} pixels")
    rows, columns = _starts(height, tile), _starts(width, tile)
    return np.array([(y, x) for y in rows for x in columns], dtype=np.int32)
