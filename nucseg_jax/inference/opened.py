"""Whatever a Python user has of an image, as a slide with a resolution."""

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import UserError
from nucseg_jax.io.images import check_image
from nucseg_jax.slides import Slide, open_slide, slide_of_array, slide_of_image
from nucseg_jax.slides.resolution import check_given

Opened = NDArray[np.uint8] | Image.Image | str | os.PathLike[str]
"""An array uint8 [H, W, 3], an image of Pillow, or a path."""

LARGEST_PX = 500_000_000
"""Pixels of an image that one label map is made for: 2 GB."""


def opened(image: Opened, mpp: float | None, *, assumed_mpp: float) -> Slide:
    """Open an image that gets one label map.

    Args:
      image: an array uint8 [H, W, 3] RGB, an image of Pillow, or the path of an image or a slide.
      mpp: µm a pixel; None: as the file says.
      assumed_mpp: the same of what does not say; `mpp_source` then begins with "assumed".

    Raises:
      TypeError: it is nothing of these.
      ValueError: an array that is no uint8 [H, W, 3], or an image without a pixel.
      UserError: `mpp` is out of range; or the file cannot be read, or is too large.
    """
    if mpp is not None:
        check_given(mpp)
    if isinstance(image, (str, os.PathLike)):
        slide = open_slide(image, mpp, assumed_mpp=assumed_mpp)
    else:
        slide = _in_memory(image, mpp, assumed_mpp)
    height, width = slide.size
    if height * width > LARGEST_PX:
        slide.close()
        raise UserError(
            f"{slide.path}: {height}×{width} pixels are too many for one label map. Take the nuclei one by "
            "one with segmenter.stream(open_slide(path)), or use nucseg predict"
        )
    return slide


def _in_memory(image: Opened, mpp: float | None, assumed_mpp: float) -> Slide:
    known = (assumed_mpp, "assumed: an image in memory says none") if mpp is None else (mpp, "given")
    if isinstance(image, Image.Image):
        _check_not_empty(image.height, image.width)
        return slide_of_image(image, known[0], source=known[1])
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"an image is an array uint8 [H, W, 3], an image of Pillow or a path, not {type(image).__name__}"
        )
    check_image(image)
    _check_not_empty(image.shape[0], image.shape[1])
    return slide_of_array(image, known[0], source=known[1])


def _check_not_empty(height: int, width: int) -> None:
    if not height * width:
        raise ValueError(f"an image of {height} × {width} pixels has no nuclei to find")
