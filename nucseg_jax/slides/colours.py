"""From the kinds of pixels that files hold to uint8 RGB; what would be wrong is refused by name.

Kept as they are: 8-bit RGB. Converted: a palette of colours; transparency, laid on white; 16 bits, divided by
257. Refused: greyscale, fluorescence channels, CMYK, floating point, 16 bits of which the lower part is used.
Colour profiles and a camera's orientation are not applied: pixels stay where and as the file has them.
"""

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import DataError

WHITE = 255
_AT_ONCE = 2**22  # values that are laid on white together
_DARKEST_WHITE = 128  # what the brightest pixel of a bright-field image reaches, of 255


def refuse(name: str, kind: str) -> DataError:
    """The error for pixels that H&E cannot be read from."""
    return DataError(
        f"{name}: is {kind}, but networks for H&E need the colours of bright-field RGB. Export it again as "
        "8-bit RGB"
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


def to_eight_bits(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    """uint8 or uint16 → uint8; 65535 becomes 255."""
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels.astype(np.uint8, copy=False)


def check_sixteen_bits(sample: NDArray[np.uint8], name: str) -> None:
    """Refuse 16-bit images that use a part of the range only, such as 12 bits: they would come out black.

    Args:
      sample: uint8 of some or all pixels, converted.
      name: of the file.

    Raises:
      DataError: its brightest value is below half of the range.
    """
    brightest = int(sample.max(initial=0))
    if brightest < _DARKEST_WHITE:
        raise DataError(
            f"{name}: has 16 bits a channel, but uses only {brightest / 255:.0%} of their range (12-bit "
            "data?), so how bright white is cannot be known. Export it again as 8-bit RGB"
        )
