"""Read what users have: RGB images and instance label maps, each file checked on the way in."""

import hashlib
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from nucseg_jax.errors import DataError

IMAGE_SUFFIXES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp")
LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy")

# Names a user knows for Pillow's modes.
_MODES = {
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
    with _open(Path(path)) as image:
        if image.mode != "RGB":
            kind = _MODES.get(image.mode, f"Pillow mode {image.mode}")
            raise DataError(
                f"{path}: is {kind}, not 8-bit RGB. Convert it on purpose, e.g. "
                "Image.open(path).convert('RGB').save(other_path) with Pillow"
            )
        return _pixels(image, path)


def read_label_map(path: str | os.PathLike[str], shape: tuple[int, int]) -> np.ndarray:
    """Read an instance label map: 0 is background, every nucleus has its own number.

    Args:
      path: PNG (8 or 16 bits), TIFF (8 to 32 bits) or NPY (integers).
      shape: (height, width) of the image the map belongs to.

    Returns:
      int32 [height, width]; the numbers as they are, not necessarily contiguous.

    Raises:
      DataError: the file is missing, truncated, of another kind, not 2-D, not integer, negative, above
        the int32 range or of another size than the image.
    """
    path = Path(path)
    readers = {".npy": _read_npy, ".tif": _read_tiff, ".tiff": _read_tiff, ".png": _read_png}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: a label map must be one of {', '.join(LABEL_SUFFIXES)} (or .xml)")
    labels = readers[path.suffix.lower()](path)
    if labels.ndim != 2:
        raise DataError(
            f"{path}: has shape {labels.shape}, but a label map is 2-D: one number a pixel. A picture "
            "with a colour for each nucleus does not do, since colours can repeat: export the numbers"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path}: holds {labels.dtype}, but a label map holds integers (e.g. int32)")
    if labels.shape != tuple(shape):
        raise DataError(
            f"{path}: is {_size(labels.shape)} (height x width), but its image is {_size(shape)}. "
            "Check that the two belong together; don't rescale labels"
        )
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        raise DataError(
            f"{path}: has labels from {labels.min()} to {labels.max()}, but they must be 0 "
            f"(background) to {np.iinfo(np.int32).max}. Renumber them"
        )
    return labels.astype(np.int32)


def pixel_sha256(image: np.ndarray) -> str:
    """SHA-256 (hex) of the decoded pixels of uint8 [height, width, 3], row by row, R then G then B.

    It does not depend on how the file was compressed. Not even the shape enters: images that differ only
    in how the same bytes are wrapped are not told apart, which no accident brings about.
    """
    return hashlib.sha256(np.ascontiguousarray(image, np.uint8).tobytes()).hexdigest()


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: too large to be an image tile ({error}). Cut it first") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read as an image ({error}). Download or export it again"
        ) from error


def _pixels(image: Image.Image, path: str | os.PathLike[str]) -> np.ndarray:
    """Decode an open image; Pillow reads the pixels only now."""
    try:
        with warnings.catch_warnings():
            # libtiff reports a damaged strip as a warning before Pillow raises.
            warnings.simplefilter("ignore", UserWarning)
            return np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: truncated or damaged ({error}). Download or export it again") from error


def _read_png(path: Path) -> np.ndarray:
    with _open(path) as image:
        # A palette's indices are the numbers that whoever saved the map wrote; "1" decodes to bool.
        if image.mode not in ("L", "I", "I;16", "I;16B", "P"):
            raise DataError(
                f"{path}: is {_MODES.get(image.mode, image.mode)}, but a label map has one integer "
                "channel (8 or 16 bits). A picture with a colour for each nucleus does not do, since "
                "colours can repeat: export the numbers"
            )
        return _pixels(image, path)


def _read_tiff(path: Path) -> np.ndarray:
    # Pillow knows no uint32 TIFF, and clips some 16-bit ones.
    import tifffile

    try:
        return tifffile.imread(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except Exception as error:  # tifffile's codecs raise errors of many types on damaged files
        raise DataError(
            f"{path}: cannot be read as a TIFF label map ({error}). Download or export it again"
        ) from error


def _read_npy(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as a NumPy array without pickles ({error}). Save it again with "
            "np.save(path, labels.astype('int32'))"
        ) from error


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in shape)
