"""How bright white is in images of 16 bits a channel, of whose range a camera may use a part.

An image of 12 bits is black where 65,535 is taken for white, and one whose white lies at 62 % of the range is
so dark that most nuclei are missed. So white is measured: by the glass, where the image shows some.
"""

import numbers

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, UserError, in_short

RANGE = 65535
"""The brightest value of 16 bits."""

SAMPLE_PIXELS = 4_000_000
"""That are looked at, of a larger image."""

_CAMERA_BITS = (10, 12, 14, 16)
_BRIGHTEST_PERCENTILE = 99.9  # so that hot pixels do not decide
# Glass in images of 8 bits: 241 is the median of MoNuSeg's images, in which it lies between 228 and 248, and
# no image has its brightest pixels below 240. A camera whose glass is darker fills a part of its range only.
_GLASS, _DARKEST_GLASS = 241 / 255, 228 / 255
# Of a glass pixel, by the brightest pixels: its darkest colour, and how far its colours are apart.
_LEAST_GLASS_LIGHT, _MOST_GLASS_COLOUR = 0.82, 0.066
_LEAST_GLASS = 0.005  # of the pixels: fewer are noise
_MOST_OVEREXPOSED = 1.25  # times a white that was given, for the brightest pixels
_MOST_UNDEREXPOSED = 1.25  # times the brightest pixels, for the white of other files


class Shared(int):
    """The value that is white in the other files of a dataset, and so in this one, too (`shared_white`).

    It does not count in a file whose brightest pixels say that another camera made it.
    """


class UnknownWhite(DataError):
    """White cannot be known by the pixels.

    Args:
      finding: what the pixels are like, with the file's name.
      remedy: what to do.
    """

    def __init__(self, finding: str, remedy: str = ""):
        super().__init__(f"{finding}. {remedy}" if remedy else finding)
        self.finding = finding


def check_given(white: int) -> int:
    """The value of --white; UserError for one that 16 bits do not have, or that is no whole number."""
    if isinstance(white, bool) or not isinstance(white, numbers.Integral):
        raise UserError(f"white = {in_short(repr(white))}: must be a whole number, such as 4095")
    if not 1 <= white <= RANGE:
        raise UserError(f"--white {white:g}: is not within 1 … {RANGE} (12-bit cameras: 4095)")
    return white


def unused(white: int | None) -> tuple[str, ...]:
    """The notes of an image of 8 bits for which a white was given."""
    if white is None or isinstance(white, Shared):
        return ()
    return (f"8 bits a channel, so --white {white} does not count",)


def find(sample: NDArray[np.uint16], name: str, given: int | None = None) -> tuple[int, str]:
    """The value that is white in an image of 16 bits.

    Args:
      sample: uint16 [n, 3] RGB: pixels from all over the image, without transparent ones.
      name: of the file, for messages.
      given: the value by the user, whatever the pixels say, or `Shared`.

    Returns:
      The value, 1 … RANGE, and a note that says how bright the brightest pixels are and how white is known.

    Raises:
      UnknownWhite: no glass shows, and the brightest pixels are well below the range.
      DataError: the brightest pixels are far brighter than the value that was given.
    """
    # Pixels of the last value in all colours are as bright as can be, or are a stitching program's fill.
    unsaturated = sample[(sample < RANGE).any(axis=1)].astype(np.float32)
    if len(sample) and not len(unsaturated):
        brightest, glass = float(RANGE), float(RANGE)
    else:
        brightest = _brightest(unsaturated)
        glass = _glass(unsaturated, brightest)
    found = f"16 bits a channel, brightest pixels {brightest:,.0f} of {RANGE:,} ({brightest / RANGE:.0%})"
    if isinstance(given, Shared):
        if given / _MOST_UNDEREXPOSED <= brightest <= _MOST_OVEREXPOSED * given:
            return int(given), f"{found}; white is {given:,}, as in the other files of 16 bits"
    elif given is not None:
        if len(unsaturated) and brightest > _MOST_OVEREXPOSED * given:
            raise DataError(
                f"{name}: {found}, which --white {given} would make all white. Give a larger value, or leave "
                "--white out"
            )
        return given, f"{found}; white is {given:,}, as given"
    if glass:
        full = _camera_range(float(unsaturated.max(initial=brightest)))
        if glass >= _DARKEST_GLASS * full:
            return full, f"{found}; white is {full:,}, the end of the camera's range, by the glass"
        white = min(RANGE, round(glass / _GLASS))
        return white, f"{found}; white is {white:,}, by the glass"
    if brightest >= _DARKEST_GLASS * RANGE:
        return RANGE, f"{found}; white is {RANGE:,}, the end of the range"
    raise UnknownWhite(
        f"{name}: {found}, and the image shows no glass, so its white level is not known",
        "Give its value with --white, or white= in Python (4095 of most 12-bit cameras), or export the image "
        "again as 8-bit RGB",
    )


def _brightest(pixels: NDArray[np.float32]) -> float:
    return float(np.percentile(pixels.max(axis=1), _BRIGHTEST_PERCENTILE)) if len(pixels) else 0.0


def _glass(pixels: NDArray[np.float32], brightest: float) -> float:
    """The mean brightness of empty glass: bright and grey; 0 where none shows. See `tissue_mask`."""
    bright = pixels.min(axis=1, initial=np.inf) >= _LEAST_GLASS_LIGHT * brightest
    grey = np.ptp(pixels, axis=1) <= _MOST_GLASS_COLOUR * brightest
    glass = pixels[bright & grey].mean(axis=1)
    if not brightest or len(glass) < max(1, _LEAST_GLASS * len(pixels)):
        return 0.0
    # Pale tissue is bright, too, but glass is brighter.
    return float(np.median(glass[glass >= np.quantile(glass, 0.75)]))


def _camera_range(largest: float) -> int:
    """The end of the smallest range that a camera may have, and that holds the largest value."""
    return next(end for bits in _CAMERA_BITS if (end := 2**bits - 1) >= largest)
