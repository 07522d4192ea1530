"""PNG, JPEG, BMP and others (`io.images.FORMATS`): decoded whole."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.images import MODES, count_frames, decode, open_image, orientation
from nucseg_jax.slides import colourless, colours, resolution, white
from nucseg_jax.slides.reader import Level, Resolution

MOST_PIXELS = 500_000_000
"""That are decoded at once: 1.5 GB, and 3 GB more of 16 bits. Larger images must be tiled TIFFs or slides."""

_MOST_PIXELS_A_BYTE = 8 * 1040
"""Deflate packs at most 1032 bytes into one, and the smallest pixel has a bit; JPEG packs less."""


class ArrayReader:
    """An image in memory.

    Args:
      pixels: uint8 [H, W, 3] RGB.
      found: its resolution.
      notes: see `Reader`.
    """

    is_slide, offset = False, (0, 0)

    def __init__(self, pixels: NDArray[np.uint8], found: Resolution, notes: tuple[str, ...] = ()):
        self.levels: tuple[Level, ...] = (Level(pixels.shape[0], pixels.shape[1], 1.0, 1.0),)
        self.resolution, self.notes = found, notes
        self._pixels = pixels

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        return self._pixels[top : top + height, left : left + width]

    def close(self) -> None:
        self._pixels = np.zeros((0, 0, 3), np.uint8)


def read_image_file(
    path: Path, most_pixels: int = MOST_PIXELS, *, given_white: int | None = None
) -> ArrayReader:
    """Read an image whole, as RGB (see `colours`).

    Args:
      path: of the file.
      most_pixels: that are decoded.
      given_white: the value that is white in 16 bits; None: `white.find` looks for it.

    Raises:
      DataError: it cannot be read, has more than `most_pixels`, or is no colour image.
    """
    with _open(path) as image:
        return reader_of_image(
            image, path, _resolution(image, str(path)), most_pixels, given_white=given_white
        )


def reader_of_image(
    image: Image.Image,
    path: Path,
    found: Resolution,
    most_pixels: int = MOST_PIXELS,
    *,
    given_white: int | None = None,
) -> ArrayReader:
    """An image that Pillow has opened, or made, as RGB; `path` is its name in messages.

    Raises:
      DataError: as `read_image_file`.
    """
    _check_size(image, path, most_pixels)
    pixels, notes = _pixels(image, path, given_white)
    return ArrayReader(pixels, found, notes + colours.orientation_note(orientation(image)))


def _check_size(image: Image.Image, path: Path, most_pixels: int = MOST_PIXELS) -> None:
    """Refuse an image that is too large to be decoded, or larger than its file's bytes can hold.

    Pillow makes the pixels that are missing black.
    """
    if image.width * image.height > most_pixels:
        raise DataError(
            f"{path}: {image.height}×{image.width} pixels are more than can be decoded whole "
            f"({most_pixels:,}). Save it as a tiled TIFF, which is read piece by piece"
        )
    if image.format not in ("PNG", "JPEG", "MPO") or not path.is_file():
        return
    size = path.stat().st_size
    if image.width * image.height > _MOST_PIXELS_A_BYTE * size:
        raise DataError(
            f"{path}: claims {image.height}×{image.width} pixels, more than its {size:,} bytes can hold, "
            "so it is damaged. Copy or export it again"
        )


def find_white(path: Path) -> int | None:
    """See `opening.find_white`."""
    with _open(path) as image:
        if image.mode not in ("RGB", "RGBA") or not _is_deep(image):
            return None
        _check_size(image, path)
        return _deep_pixels(image, str(path), None)[2]


def _open(path: Path) -> Image.Image:
    return open_image(
        path,
        otherwise="is neither an image nor a slide that can be read here",
        remedy="Slides of a scanner with several files need all of them side by side",
    )


def _pixels(
    image: Image.Image, path: Path, given_white: int | None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """uint8 [H, W, 3] RGB and notes."""
    name = str(path)
    if (frames := count_frames(image, path)) > 1:
        raise DataError(f"{name}: holds {frames} images. Give one image a file")
    if image.mode in ("RGB", "RGBA") and _is_deep(image):
        return _of_sixteen_bits(image, name, given_white)
    if image.mode == "P":
        decode(image, path)  # whose errors have the file's name
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode == "RGB" and "transparency" in image.info:
        decode(image, path)
        image = image.convert("RGBA")  # one colour stands for no pixel
    if image.mode not in ("RGB", "RGBA"):
        raise colours.refuse(name, MODES.get(image.mode, f"of Pillow mode {image.mode}"))
    pixels, notes = decode(image, path), white.unused(given_white)
    colourless.check_pixels(pixels, name)
    return (pixels, notes) if image.mode == "RGB" else _on_white(pixels, notes)


def _is_deep(image: Image.Image) -> bool:
    """Whether an image that is not loaded yet has 16 bits a channel, of which Pillow makes eight."""
    for codec, _, _, options in getattr(image, "tile", ()):
        values = options if isinstance(options, tuple) else (options,)
        if any(isinstance(value, str) and value.startswith("RGB") and ";16" in value for value in values):
            return True
        if codec.startswith("ppm") and values[-1] not in ("RGB", 255):
            return True
        if codec == "jpeg2k":
            return _jpeg2000_bits(image) > 8
    return False


def _jpeg2000_bits(image: Any) -> int:
    """Bits a channel of a JPEG 2000 file: its image header, or the marker of its size, says them."""
    image.fp.seek(0)
    start = image.fp.read(2**16)
    for mark, offset in ((b"ihdr", 14), (b"\xff\x51", 40)):
        place = start.find(mark)
        if 0 <= place < len(start) - offset:
            return (start[place + offset] & 0x7F) + 1
    return 8


def _deep_pixels(
    image: Any, name: str, given_white: int | None
) -> tuple[NDArray[np.uint16], NDArray[np.uint16], int, str]:
    """Colour [H, W, 3] and transparency [H, W, 0 or 1] of a PNG, the value that is white, and its note.

    Other formats are refused, since Pillow drops half of the bits.
    """
    if image.format != "PNG":
        raise DataError(
            f"{name}: has more than 8 bits a channel, which are read from PNG and TIFF files only, and here "
            f"not from {image.format}. Save it as PNG; in Python give a TIFF by its path"
        )
    import imagecodecs  # which most images do without

    image.fp.seek(0)
    try:
        deep = imagecodecs.png_decode(image.fp.read())
    except Exception as error:  # imagecodecs raises errors of many types on damaged files
        raise DataError(
            f"{name}: truncated or damaged ({in_short(error)}). Download or export it again"
        ) from error
    colour, alpha = deep[..., :3], deep[..., 3:]
    sample = colour if not alpha.size else colour[alpha[..., 0] > white.RANGE // 2]
    sample = sample.reshape(-1, 3)
    sample = sample[:: -(-len(sample) // white.SAMPLE_PIXELS) or 1]
    colourless.check(sample, name)
    return colour, alpha, *white.find(sample, name, given_white)


def _of_sixteen_bits(
    image: Any, name: str, given_white: int | None
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """`_pixels` of 16 bits."""
    colour, alpha, value, note = _deep_pixels(image, name, given_white)
    pixels = colours.to_eight_bits(colour, value)
    if not alpha.size:
        return pixels, (note,)
    return _on_white(np.concatenate([pixels, colours.to_eight_bits(alpha)], axis=-1), (note,))


def _on_white(pixels: NDArray[np.uint8], notes: tuple[str, ...]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    opaque = bool((pixels[..., 3] == 255).all())
    return colours.on_white(pixels), notes if opaque else (*notes, colours.ON_WHITE)


def _resolution(image: Image.Image, name: str) -> Resolution:
    dots, kind = image.info.get("dpi"), image.format or "image"
    if not dots:
        return Resolution(None, "no resolution in the file")
    return resolution.of_dots(float(dots[0]), float(dots[1]), f"{kind} dots an inch", name)
