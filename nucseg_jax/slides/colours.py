"""From the kinds of pixels that files hold to uint8 RGB; what would be wrong is refused by name.

Kept as they are: 8-bit RGB. Converted: a palette of colours; transparency, laid on white; 16 bits, by what is
white in them (`white`). Refused: greyscale and fluorescence (stored as RGB, too: `colourless`), CMYK,
floating point, 16 bits whose white cannot be known. Colour profiles are not applied. Orientation tags are not
either: pixels stay where the file has them, as in QuPath, so that label maps and coordinates fit. Notes say
what was done about an image.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.slides.white import RANGE

WHITE = 255
ON_WHITE = "transparency is laid on white"
_AT_ONCE = 2**22  # values that are laid on white together
_UPRIGHT, _LAST_ORIENTATION = 1, 8


def refuse(name: str, kind: str) -> DataError:
    """The error for pixels that H&E cannot be read from."""
    return DataError(
        f"{name}: is {in_short(kind)}, but networks for H&E need the colours of bright-field RGB. Export it "
        "again as 8-bit RGB"
    )


def on_white(pixels: NDArray[np.uint8], *, premultiplied: bool = False) -> NDArray[np.uint8]:
    """uint8 [..., 4] RGBA → uint8 [..., 3], laid on white.

    Args:
      pixels: RGBA.
      premultiplied: the colours have been multiplied by the opacity already (TIFF's associated alpha).
    """
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    if (alpha == 255).all():
        return np.ascontiguousarray(colour)
    result = np.empty(colour.shape, np.uint8)
    rows = max(1, _AT_ONCE // max(1, pixels[:1].size))  # floating point takes sixteen times the memory
    for start in range(0, len(pixels), rows):
        part = slice(start, start + rows)
        opacity = alpha[part].astype(np.float32) / 255
        light = colour[part].astype(np.float32) * (1 if premultiplied else opacity)
        result[part] = np.clip(light + WHITE * (1 - opacity) + 0.5, 0, 255).astype(np.uint8)
    return result


def to_eight_bits(pixels: NDArray[np.generic], white: int = RANGE) -> NDArray[np.uint8]:
    """uint8 or uint16 → uint8; of uint16, `white` and what is brighter becomes 255."""
    if pixels.dtype == np.uint16:
        return _table(white)[pixels]
    return pixels.astype(np.uint8, copy=False)


@functools.lru_cache(maxsize=16)
def _table(white: int) -> NDArray[np.uint8]:
    """uint8 [RANGE + 1]: what each value of 16 bits becomes."""
    return np.minimum(np.floor(np.arange(RANGE + 1) * (WHITE / white) + 0.5), WHITE).astype(np.uint8)


def orientation_note(orientation: object) -> tuple[str, ...]:
    """The note about an image whose file says that it is to be turned or mirrored.

    Args:
      orientation: the value of TIFF's and EXIF's tag 274; None where there is none.
    """
    if not isinstance(orientation, int) or not _UPRIGHT < orientation <= _LAST_ORIENTATION:
        return ()
    return (
        f"orientation tag {orientation} is not applied: pixels stay as stored, though some viewers turn them",
    )
