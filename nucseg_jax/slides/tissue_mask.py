"""Where on a slide there is tissue, by the light that it takes from the glass around it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MASK_MPP = 8.0
"""µm a pixel of a thumbnail that shows tissue well enough: a nucleus is a pixel."""

# Optical density (base e) over that of the slide's glass, mean of the three colours: pale eosin has 0.1,
# glass with its shading and the noise of JPEG less than 0.02.
_LEAST_DENSITY = 0.04
# Of a glass pixel: how bright it is in its darkest colour, and how far its colours are apart.
_DARKEST_GLASS, _MOST_COLOURED_GLASS = 200, 16
_LEAST_GLASS = 0.01  # of the thumbnail: fewer bright pixels are vessels and gaps, or noise
_SMOOTHING_PX = 0.5  # no more: a nucleus alone among fat or mucus is one pixel
_SMOOTHING_REACH_PX = 2  # that the smoothing looks at: SciPy's ends at 4 standard deviations
_REACH_PX = 2  # added around tissue, so that no nucleus on its border is lost


def tissue_mask(
    thumbnail: NDArray[np.uint8], *, strip_px: int = 256, glass_pixels: int = 8_000_000
) -> NDArray[np.bool_]:
    """Find tissue in a picture of a whole slide.

    The threshold is fixed: one that the picture decides, as Otsu's, finds two classes in any. So an empty
    slide has no tissue, and a picture full of it is tissue everywhere. Pens, folds and dust count as tissue;
    they cost time, not nuclei.

    Args:
      thumbnail: uint8 [h, w, 3] RGB at about MASK_MPP µm a pixel.
      strip_px: rows that are worked on at once; they change memory, not the mask.
      glass_pixels: of a larger picture, that glass is looked for in.

    Returns:
      bool [h, w], True = tissue or close to it.

    Raises:
      ValueError: no uint8 [h, w, 3].
    """
    if thumbnail.dtype != np.uint8 or thumbnail.ndim != 3 or thumbnail.shape[2] != 3:
        raise ValueError(f"thumbnail must be uint8 [h, w, 3], got {thumbnail.dtype} {thumbnail.shape}")
    height, width = thumbnail.shape[:2]
    starts = range(0, height, strip_px)
    every = -(-height * width // glass_pixels)
    glass = _glass(np.concatenate([_light(thumbnail, start, strip_px) for start in starts[::every]]))
    mask = np.empty((height, width), bool)
    for start in starts:
        density = np.log(glass) - np.log(_light(thumbnail, start, strip_px))
        mask[start : start + strip_px] = density.mean(axis=2) > _LEAST_DENSITY
    return ndimage.binary_dilation(mask, np.ones((3, 3), bool), iterations=_REACH_PX)


def _light(thumbnail: NDArray[np.uint8], start: int, strip_px: int) -> NDArray[np.float32]:
    """float32 [h, w, 3], smoothed: a strip of the thumbnail, of which large ones are not taken whole."""
    first = max(0, start - _SMOOTHING_REACH_PX)
    strip = thumbnail[first : start + strip_px + _SMOOTHING_REACH_PX]
    light = np.maximum(strip.astype(np.float32), 1.0)
    light = ndimage.gaussian_filter(light, (_SMOOTHING_PX, _SMOOTHING_PX, 0), mode="nearest")
    return light[start - first :][:strip_px]


def _glass(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [3]: the colour of empty glass; white where the picture shows none.

    Args:
      light: [h, w, 3], of evenly spaced strips of a large picture.
    """
    bright = light.min(axis=2) >= _DARKEST_GLASS
    glass = light[bright & (np.ptp(light, axis=2) <= _MOST_COLOURED_GLASS)]
    if len(glass) < _LEAST_GLASS * light.shape[0] * light.shape[1]:
        return np.full(3, 255.0, np.float32)
    # Pale tissue is bright, too, but glass is brighter: its colour is that of the upper half.
    brightness = glass.mean(axis=1)
    return np.median(glass[brightness >= np.quantile(brightness, 0.75)], axis=0).astype(np.float32)
