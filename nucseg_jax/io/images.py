"""RGB images in files: read, each checked on the way in, and written, whole or not at all."""

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from nucseg_jax.errors import DataError, UserError, in_short
from nucseg_jax.io.files import replacing

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")

# Names a user knows for Pillow's modes.
MODES = {
    "1": "black and white",
    "L": "greyscale",
    "LA": "greyscale with transparency",
    "P": "colours from a palette",
    "RGBA": "RGB with transparency",
    "CMYK": "CMYK",
    "F": "floating point",
}


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an 8-bit RGB image.

    Args:
      path: any format Pillow reads; MoNuSeg's LZW-compressed TIFFs need nothing else.

    Returns:
      uint8 [height, width, 3], RGB.

    Raises:
      DataError: the file is missing, truncated, no image, or not 8-bit RGB.
    """
    with open_image(Path(path)) as image:
        if image.mode != "RGB":
            kind = MODES.get(image.mode, f"Pillow mode {image.mode}")
            raise DataError(
                f"{path}: is {kind}, not 8-bit RGB. Convert it on purpose, e.g. "
                "Image.open(path).convert('RGB').save(other_path) with Pillow"
            )
        return decode(image, path)


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write uint8 [height, width, 3] RGB without loss, whole or not at all.

    Args:
      path: its ending says the format: .png, .tif or .tiff (LZW).
      image: the pixels.

    Raises:
      ValueError: the image is not uint8 [height, width, 3].
      UserError: another ending.
      OSError: the folder does not exist or cannot be written.
    """
    path = Path(path)
    check_image(image)
    formats: dict[str, tuple[str, dict[str, str]]] = {".png": ("PNG", {}), ".tif": _TIFF, ".tiff": _TIFF}
    if path.suffix.lower() not in formats:
        raise UserError(f"{path}: images are written as .png, .tif or .tiff, not {path.suffix!r}")
    name, options = formats[path.suffix.lower()]
    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format=name, **options)


def check_image(image: np.ndarray) -> None:
    """Raise ValueError unless an array is uint8 [H, W, 3]."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image must be uint8 [H, W, 3], got {image.dtype} {image.shape}")


_TIFF = ("TIFF", {"compression": "tiff_lzw"})


def pixel_sha256(image: np.ndarray) -> str:
    """SHA-256 (hex) of the decoded pixels of uint8 [height, width, 3], row by row, R then G then B.

    It does not depend on how the file was compressed. Not even the shape enters: images that differ only
    in how the same bytes are wrapped are not told apart, which no accident brings about.
    """
    return hashlib.sha256(np.ascontiguousarray(image, np.uint8).tobytes()).hexdigest()


def open_image(path: Path) -> Image.Image:
    """Open a file with Pillow, without decoding it; DataError if it is no image."""
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: too large to be an image tile ({in_short(error)}). Cut it first") from error
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise DataError(
            f"{path}: cannot be read as an image ({in_short(error)}). Download or export it again"
        ) from error


def decode(image: Image.Image, path: str | os.PathLike[str]) -> np.ndarray:
    """Decode an open image; Pillow reads the pixels only now."""
    try:
        with warnings.catch_warnings():
            # libtiff reports a damaged strip as a warning before Pillow raises.
            warnings.simplefilter("ignore", UserWarning)
            return np.array(image)
    except Exception as error:  # Pillow's decoders raise errors of many types on damaged files
        raise DataError(
            f"{path}: truncated or damaged ({in_short(error)}). Download or export it again"
        ) from error
