"""RGB without the colours of bright-field light, such as fluorescence stored as RGB: refused."""

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.slides import colours

SAMPLE_PIXELS = 1_000_000
"""Of an image of 8 bits, that are looked at."""

# As parts of the brightest pixels. In MoNuSeg and CoNSeP the median pixel is 0.43 or brighter.
_BRIGHTEST_PERCENTILE = 99.9
_LEAST_GLASS_LIGHT, _LEAST_MEDIAN_LIGHT = 0.82, 0.2
_MOST_DEEP_SPREAD = 0.02  # between the colours of a grey pixel of 16 bits; with 8 bits they are equal
_LEAST_GREY = 0.99  # of the pixels that are no glass
_LEAST_TISSUE = 0.05  # of the pixels: an empty field with some dust is no fluorescence


def check_pixels(pixels: NDArray[np.uint8], name: str) -> None:
    """`check` of uint8 [H, W, 3] RGB, or RGBA without what is transparent."""
    flat = pixels.reshape(-1, pixels.shape[-1])
    sample = flat[:: -(-len(flat) // SAMPLE_PIXELS) or 1]
    check(sample if pixels.shape[-1] == 3 else sample[sample[:, 3] > 0, :3], name)


def check(sample: NDArray[np.uint8] | NDArray[np.uint16], name: str) -> None:
    """Raise DataError for pixels that H&E in bright-field light does not have.

    Of 8 bits this is asked of every image, so only pixels that are grey to the last bit count: a camera's
    noise, and JPEG's colours, make others of real tissue. Black and white pixels say nothing: stitching
    programs fill with them.

    Args:
      sample: uint8 or uint16 [n, 3] RGB: pixels from all over an image, without transparent ones.
      name: of the file.

    Raises:
      DataError: red, green and blue are equal nearly everywhere; or, of 16 bits, half of the pixels are
        nearly black.
    """
    full = np.iinfo(sample.dtype).max
    seen = sample[(sample > 0).any(axis=1) & (sample < full).any(axis=1)]
    light = seen.max(axis=1, initial=0)
    if not len(seen) or light.min() == light.max():
        return
    brightest = float(np.percentile(light, _BRIGHTEST_PERCENTILE))
    deep = sample.dtype == np.uint16
    tissue = light < _LEAST_GLASS_LIGHT * brightest
    if tissue.mean() >= _LEAST_TISSUE:
        spread = np.ptp(seen[tissue], axis=1)
        grey = float((spread <= (_MOST_DEEP_SPREAD * brightest if deep else 0)).mean())
        if grey >= _LEAST_GREY:
            raise colours.refuse(
                name, f"greyscale or fluorescence stored as RGB (red, green and blue are equal in {grey:.0%})"
            )
    if deep:
        check_bright(sample, name)


def check_bright(sample: NDArray[np.uint8] | NDArray[np.uint16], name: str) -> None:
    """Raise DataError where half of the pixels are nearly black, as the background of fluorescence is.

    Of 8 bits this is asked of channels only, which may be anything: RGB is mostly what it says.

    Args:
      sample: as of `check`.
      name: of the file.
    """
    full = np.iinfo(sample.dtype).max
    seen = sample[(sample > 0).any(axis=1) & (sample < full).any(axis=1)]
    if not len(seen):
        return
    light = seen.max(axis=1)
    brightest, median = float(np.percentile(light, _BRIGHTEST_PERCENTILE)), float(np.median(light))
    if median < _LEAST_MEDIAN_LIGHT * brightest:
        raise colours.refuse(
            name,
            f"fluorescence, or far too dark (half of its pixels have at most {median / brightest:.0%} of the "
            "light of the brightest)",
        )
