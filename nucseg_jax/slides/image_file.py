"""PNG, JPEG, BMP and whatever else Pillow reads: decoded whole."""

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.images import MODES, decode
from nucseg_jax.slides import colours, resolution
from nucseg_jax.slides.readers import Level, Resolution

_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error)
"""What Pillow raises on files that it cannot read."""

MOST_PIXELS = 500_000_000
"""That are decoded at once: 1.5 GB. Larger images must be tiled TIFFs or slides."""


class ArrayReader:
    """An image in memory.

    Args:
      pixels: uint8 [H, W, 3] RGB.
      found: its resolution.
    """

    is_slide = False

    def __init__(self, pixels: NDArray[np.uint8], found: Resolution):
        self.levels: tuple[Level, ...] = (Level(pixels.shape[0], pixels.shape[1], 1.0),)
        self.resolution = found
        self._pixels = pixels

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        return self._pixels[top : top + height, left : left + width]

    def close(self) -> None:
        self._pixels = np.zeros((0, 0, 3), np.uint8)


def read_image_file(path: Path) -> ArrayReader:
    """Read an image whole, as RGB (see `colours`).

    Raises:
      DataError: it cannot be read, is larger than MOST_PIXELS, or is no colour image.
    """
    image = _open(path)
    with image:
        if image.width * image.height > MOST_PIXELS:
            raise DataError(
                f"{path}: {image.height}×{image.width} pixels are more than can be decoded whole "
                f"({MOST_PIXELS:,}). Save it as a tiled TIFF, which is read piece by piece"
            )
        found = _resolution(image, str(path))
        return ArrayReader(_pixels(image, path), found)


def _open(path: Path) -> Image.Image:
    # Pillow's own bound is for web servers; this package has its own.
    bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path)
    except _DAMAGED as error:
        raise DataError(
            f"{path}: is neither an image nor a slide that can be read here ({error}). Slides of a scanner "
            "with several files need all of them side by side"
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = bound


def _pixels(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    name = str(path)
    try:
        frames = getattr(image, "n_frames", 1)  # which reads the file to its end
    except _DAMAGED as error:
        raise DataError(f"{name}: is damaged ({error}). Copy or export it again") from error
    if frames > 1:
        raise DataError(f"{name}: holds {frames} images. Give one image a file")
    sixteen_bits = any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
    )  # Pillow makes eight of them
    if image.mode == "P":
        decode(image, path)  # whose errors have the file's name
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "RGB" and "transparency" in image.info:
        decode(image, path)
        image = image.convert("RGBA")  # one colour stands for no pixel
    if image.mode == "RGB":
        pixels = decode(image, path)
    elif image.mode == "RGBA":
        pixels = colours.on_white(decode(image, path))
    else:
        raise colours.refuse(name, MODES.get(image.mode, f"of Pillow mode {image.mode}"))
    if sixteen_bits:
        colours.check_sixteen_bits(pixels, name)
    return pixels


def _resolution(image: Image.Image, name: str) -> Resolution:
    dots = image.info.get("dpi")
    if not dots:
        return Resolution(None, "no resolution in the file")
    return resolution.of_dots(float(dots[0]), float(dots[1]), f"{image.format} dots an inch", name)
