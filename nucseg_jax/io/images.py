"""Images in files: opened by Pillow, and RGB written, whole or not at all. `slides.read_image` reads RGB."""

import contextlib
import hashlib
import io
import os
import threading
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from nucseg_jax.errors import DataError, UserError, in_short
from nucseg_jax.io import cut_off
from nucseg_jax.io.files import replacing

ORIENTATION = 274
"""TIFF's and EXIF's tag: 1, or how a viewer is to turn or mirror the image."""

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "JPEG2000")
"""Pillow's, that are read: each by a decoder in this process. For EPS it would start Ghostscript, whatever a
file's name is. TIFFs are read by tifffile."""

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
    save_whole(Image.fromarray(image), path, name, **options)


def save_whole(image: Image.Image, path: Path, name: str, **options: Any) -> None:
    """Write an image of Pillow, whole or not at all.

    Args:
      image: decoded.
      path: of the file.
      name: Pillow's, of the format.
      options: of the format.
    """
    content = io.BytesIO()  # libtiff, given a file, hides that a disk is full
    image.save(content, format=name, **options)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


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


def open_image(
    path: Path,
    *,
    formats: tuple[str, ...] = FORMATS,
    otherwise: str = "cannot be read as an image",
    remedy: str = "Download or export it again",
) -> Image.Image:
    """Open a file with Pillow, without decoding it; whoever decodes it looks at its size first.

    Args:
      path: of the file.
      formats: of which it may be, some of FORMATS; its name does not count.
      otherwise, remedy: of the message where it is no image of these.

    Raises:
      DataError: it is no image that Pillow reads.
    """
    try:
        return open_unbounded(path, formats)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # Pillow raises errors of many types on damaged files
        raise DataError(f"{path}: {otherwise} ({in_short(error)}). {remedy}") from error


_bound = threading.Lock()  # Pillow has one for all threads


def open_unbounded(source: Path | BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    """Pillow's `Image.open` for images of any size: its own bound is for web servers.

    Args:
      source: a path, or an open file.
      formats: of which it may be, as Pillow names them.

    Raises:
      Exception: of many types, on what is no image of these.
    """
    with _bound:
        most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = most


def decode(image: Image.Image, path: str | os.PathLike[str]) -> np.ndarray:
    """Decode an open image; Pillow reads the pixels only now.

    Raises:
      DataError: it is damaged, or ends before its last pixel.
    """
    file = getattr(image, "fp", None)  # which Pillow forgets; None of an image that is decoded already
    try:
        with warnings.catch_warnings():
            # libtiff reports a damaged strip as a warning before Pillow raises.
            warnings.simplefilter("ignore", UserWarning)
            pixels = np.array(image)
        if file is not None and _is_cut_off(image, file, pixels):
            raise OSError("its data end before its last pixel")
    except Exception as error:  # Pillow's decoders raise errors of many types on damaged files
        raise _damaged(path, error) from error
    return pixels


def _is_cut_off(image: Any, file: BinaryIO, pixels: np.ndarray) -> bool:
    """Whether pixels that were decoded from an image's file are made up; see `cut_off`."""
    with contextlib.ExitStack() as stack:
        if file.closed:  # by Pillow, which had opened it
            file = stack.enter_context(open(image.filename, "rb"))
        if image.format == "PNG":  # missing pixels are 0
            return (bool(image.info.get("interlace")) or not pixels[-1].any()) and cut_off.png_is_cut_off(
                file
            )
        if image.format in ("JPEG", "MPO"):
            file.seek(0)
            return cut_off.jpeg_is_cut_off(file.read(), pixels, _decoded_jpeg)
    return False


def _decoded_jpeg(data: bytes) -> np.ndarray:
    return np.array(open_unbounded(io.BytesIO(data), ("JPEG",)))


def count_frames(image: Image.Image, path: str | os.PathLike[str]) -> int:
    """How many images an open file holds; Pillow may read it to its end for that. DataError as `decode`."""
    try:
        return getattr(image, "n_frames", 1)
    except Exception as error:  # as in `decode`
        raise _damaged(path, error) from error


def orientation(image: Image.Image) -> int | None:
    """An open image's `ORIENTATION`, None where it has none; of TIFFs before they are decoded.

    Pillow turns TIFFs while it decodes them, and takes the tag away; images of other formats stay as stored.
    """
    try:
        value = image.getexif().get(ORIENTATION)
    except Exception:  # Pillow raises errors of many types on damaged metadata, which pixels do without
        return None
    return value if isinstance(value, int) else None


def _damaged(path: str | os.PathLike[str], error: Exception) -> DataError:
    return DataError(f"{path}: truncated or damaged ({in_short(error)}). Download or export it again")
