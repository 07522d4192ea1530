"""PNG, JPEG, BMP and whatever else Pillow reads: decoded whole."""

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import IMAGEDESCRIPTION, RESOLUTION_UNIT, X_RESOLUTION, Y_RESOLUTION, TiffImageFile

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.images import MODES, decode
from nucseg_jax.slides import colours, resolution
from nucseg_jax.slides.reader import Level, Resolution

MOST_PIXELS = 500_000_000
"""That are decoded at once: 1.5 GB. Larger images must be tiled TIFFs or slides."""


_MOST_PIXELS_A_BYTE = 8 * 1040
"""Deflate packs at most 1032 bytes into one, and the smallest pixel has a bit; JPEG packs less."""


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


def read_image_file(path: Path, most_pixels: int = MOST_PIXELS) -> ArrayReader:
    """Read an image whole, as RGB (see `colours`).

    Raises:
      DataError: it cannot be read, has more than `most_pixels`, or is no colour image.
    """
    with _open(path) as image:
        return reader_of_image(image, path, most_pixels)


def reader_of_image(image: Image.Image, path: Path, most_pixels: int = MOST_PIXELS) -> ArrayReader:
    """An image that Pillow has opened, or made, as RGB; `path` is its name in messages.

    Raises:
      DataError: as `read_image_file`.
    """
    if image.width * image.height > most_pixels:
        raise DataError(
            f"{path}: {image.height}×{image.width} pixels are more than can be decoded whole "
            f"({most_pixels:,}). Save it as a tiled TIFF, which is read piece by piece"
        )
    _check_claim(image, path)
    found = _resolution(image, str(path))
    return ArrayReader(_pixels(image, path), found)


def _check_claim(image: Image.Image, path: Path) -> None:
    """Refuse a file whose header claims more pixels than its bytes can hold: Pillow makes them black."""
    if image.format not in ("PNG", "JPEG") or not path.is_file():
        return
    size = path.stat().st_size
    if image.width * image.height > _MOST_PIXELS_A_BYTE * size:
        raise DataError(
            f"{path}: claims {image.height}×{image.width} pixels, more than its {size:,} bytes can hold, "
            "so it is damaged. Copy or export it again"
        )


def read_resolution(path: Path) -> Resolution:
    """What an image file says of its resolution, TIFF and OME-TIFF included; its pixels are not read.

    Raises:
      DataError: the file cannot be read, or its pixels are not square.
    """
    with _open(path) as image:
        return _resolution(image, str(path))


def _open(path: Path) -> Image.Image:
    # Pillow's own bound is for web servers; this package has its own.
    bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        return Image.open(path)
    except Exception as error:  # Pillow raises errors of many types on files that it cannot read
        raise DataError(
            f"{path}: is neither an image nor a slide that can be read here ({in_short(error)}). Slides of a "
            "scanner with several files need all of them side by side"
        ) from error
    finally:
        Image.MAX_IMAGE_PIXELS = bound


def _pixels(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    name = str(path)
    try:
        frames = getattr(image, "n_frames", 1)  # which reads the file to its end
    except Exception as error:  # as when it is opened
        raise DataError(f"{name}: is damaged ({in_short(error)}). Copy or export it again") from error
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
    if isinstance(image, TiffImageFile):
        return _tiff_resolution(image, name)
    dots, kind = image.info.get("dpi"), image.format or "image"
    if not dots:
        return Resolution(None, "no resolution in the file")
    return resolution.of_dots(float(dots[0]), float(dots[1]), f"{kind} dots an inch", name)


def _tiff_resolution(image: TiffImageFile, name: str) -> Resolution:
    """As `tiff_file` reads it, which needs more than Pillow."""
    description = _utf8(image.tag_v2.get(IMAGEDESCRIPTION, ""))
    if description.strip().endswith("OME>"):
        return resolution.of_ome(description, name)
    unit = re.search(r"^unit=(.*)$", description, re.MULTILINE) if description.startswith("ImageJ=") else None
    return resolution.of_tiff(
        (_number(image.tag_v2.get(X_RESOLUTION)), _number(image.tag_v2.get(Y_RESOLUTION))),
        int(_number(image.tag_v2.get(RESOLUTION_UNIT, 1))),
        unit[1] if unit else "",
        name,
    )


def _utf8(text: object) -> str:
    """A tag's text, which Pillow takes for Latin 1: OME's µ has two bytes."""
    if not isinstance(text, str):
        return ""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _number(value: object) -> float:
    """Of a tag; 0 where it is none, or a ratio to 0."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if math.isfinite(number) else 0.0
