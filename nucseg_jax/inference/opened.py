"""Whatever a Python user has of an image, as a slide with a resolution."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.io.images import check_image
from nucseg_jax.slides import Slide, colourless, open_slide, slide_of_array, slide_of_image
from nucseg_jax.slides.resolution import ASSUMED, check_given

Opened = NDArray[np.uint8] | Image.Image | str | os.PathLike[str]
"""An array uint8 [H, W, 3], an image of Pillow, or a path."""

LARGEST_PX = 500_000_000
"""Pixels of an image that one label map is made for: 2 GB."""


def opened(
    image: Opened,
    mpp: float | None,
    *,
    assumed_mpp: float,
    white: int | None = None,
    crop: bool = True,
) -> Slide:
    """Open an image that gets one label map.

    Args:
      image: an array [H, W, 3] RGB, of any library that gives NumPy's (uint8, or floats in 0 … 1); an image
        of Pillow; or the path of an image or a slide.
      mpp: µm a pixel; None: as the file says.
      assumed_mpp: the same of what does not say (`Slide.assumption`).
      white, crop: as of `open_slide`.

    Raises:
      TypeError: it is nothing of these.
      ValueError: an array that is no uint8 (or float in 0 … 1) [H, W, 3], or one with `white`; or an image
        without a pixel.
      DataError: the pixels have no colour.
      UserError: `mpp` or `white` is out of range; or the file cannot be read, or is too large.
    """
    if mpp is not None:
        check_given(mpp)
    if isinstance(image, (str, os.PathLike)):
        slide = open_slide(image, mpp, assumed_mpp=assumed_mpp, white=white, crop=crop)
    else:
        slide = _in_memory(image, mpp, assumed_mpp, white)
    height, width = slide.size
    if height * width > LARGEST_PX:
        slide.close()
        raise UserError(
            f"{slide.path}: {height}×{width} pixels are too many for one label map. Take the nuclei one by "
            "one with segmenter.stream(open_slide(path)), or use nucseg predict"
        )
    return slide


def _in_memory(image: Opened, mpp: float | None, assumed_mpp: float, white: int | None) -> Slide:
    known = (
        (assumed_mpp, f"{ASSUMED}an image in memory carries no resolution") if mpp is None else (mpp, "given")
    )
    if isinstance(image, Image.Image):
        _check_not_empty(image.height, image.width)
        return slide_of_image(image, known[0], source=known[1], white=white)
    if white is not None:
        raise ValueError("white= is for files of 16 bits a channel: an array is uint8, of which 255 is white")
    array = _as_bytes(image)
    check_image(array)
    _check_not_empty(array.shape[0], array.shape[1])
    colourless.check_pixels(array, "this array")
    return slide_of_array(array, known[0], source=known[1])


def _as_bytes(image: object) -> NDArray[np.uint8]:
    """An array of any library, as it is or, of floats in 0 … 1, as uint8; what cannot be meant is refused."""
    if isinstance(image, Slide):
        raise TypeError(
            "this is an open slide: take its nuclei with segmenter.stream(slide), or give its path"
        )
    if not hasattr(image, "__array__"):
        remedy = ""
        if isinstance(image, (list, tuple)):
            remedy = ": give several images one after the other"
        elif isinstance(image, bytes):
            remedy = ": open them with PIL.Image.open(io.BytesIO(data))"
        raise TypeError(
            "an image is an array uint8 [H, W, 3], an image of Pillow or a path, not "
            f"{type(image).__name__}{remedy}"
        )
    if isinstance(image, np.ma.MaskedArray):
        raise TypeError("an image without masked pixels is needed: fill them first, with image.filled(255)")
    try:
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # tensors with gradients, or on a GPU
        raise TypeError(
            f"this {type(image).__name__} cannot become an array uint8 [H, W, 3] ({in_short(error)})"
        ) from error
    shape = list(array.shape)
    if array.ndim == 4:
        raise ValueError(f"one image at a time, [H, W, 3], not a batch {shape}")
    if array.ndim == 3 and shape[0] == 3 != shape[2]:
        raise ValueError(f"an image is [H, W, 3], not [3, H, W]: got {shape}. Move the colours to the end")
    if array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 4)):
        if array.ndim == 3 and shape[2] == 4:
            raise ValueError(
                f"an image is RGB, [H, W, 3]: got {shape}, which is with transparency. Leave it out, "
                "image[..., :3], or give PIL.Image.fromarray(image), which is laid on white"
            )
        raise ValueError(f"an image is RGB, [H, W, 3]: got {shape}, which is greyscale")
    if array.ndim == 3 and array.dtype != np.uint8:
        return _converted(array)
    return array


def _converted(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Floats in 0 … 1 as uint8; what else is no uint8 could mean several things."""
    if np.issubdtype(array.dtype, np.floating):
        least, most = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        if 0 <= least and most <= 1:
            return np.round(array * 255).astype(np.uint8)
        remedy = f"floats are taken from 0 to 1, and these go from {least:g} to {most:g}"
    elif np.issubdtype(array.dtype, np.uint16):
        remedy = "of 16 bits nothing says which value is white: give a file, with white="
    else:
        remedy = "if its values are 0 … 255, give image.astype(np.uint8)"
    raise ValueError(f"an image must be uint8 [H, W, 3], got {array.dtype} {list(array.shape)}: {remedy}")


def _check_not_empty(height: int, width: int) -> None:
    if not height * width:
        raise ValueError(f"an image of {height} × {width} pixels has no nuclei to find")
