"""The density map of a result as a picture to lay over the slide."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.export.density import CELL_UM, COLOURS, nice_top
from nucseg_jax.nuclei import Frame


def about(path: Path, frame: Frame) -> dict[str, Any]:
    """How to lay it over the slide, and its scale.

    Args:
      path: of density.tif.
      frame: of the result.

    Returns:
      width and height in squares, and in base pixels (width_px, height_px: more than the slide's, since the
      last squares reach over its edge); cell_um: side of a square; top_per_mm2: the end of the scale of
      colours, which begins at 0; colours: [r, g, b] at even steps of it.

    Raises:
      DataError: the file cannot be read.
    """
    density = _read(path)
    height, width = density.shape
    known = density[np.isfinite(density)]
    return {
        "width": width,
        "height": height,
        "width_px": width * CELL_UM / frame.mpp,
        "height_px": height * CELL_UM / frame.mpp,
        "cell_um": CELL_UM,
        "top_per_mm2": nice_top(float(known.max()) if len(known) else 0.0),
        "colours": COLOURS.tolist(),
    }


def picture(path: Path, top_per_mm2: float) -> bytes:
    """A PNG with a pixel a square, transparent where there is no tissue.

    Args:
      path: of density.tif.
      top_per_mm2: the end of the scale.

    Raises:
      DataError: the file cannot be read.
    """
    density = _read(path)
    position = np.clip(np.nan_to_num(density) / top_per_mm2, 0, 1)
    steps = np.linspace(0, 1, len(COLOURS))
    channels = [np.interp(position, steps, COLOURS[:, channel]) for channel in range(3)]
    pixels = np.stack([*channels, np.where(np.isfinite(density), 255, 0)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8)).save(file, format="PNG")
    return file.getvalue()


def _read(path: Path) -> NDArray[np.float32]:
    try:
        density = np.asarray(tifffile.imread(path), np.float32)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise DataError(f"{path}: cannot be read ({in_short(error)})") from error
    if density.ndim != 2 or not density.size:
        raise DataError(f"{path}: is no density map")
    return density
