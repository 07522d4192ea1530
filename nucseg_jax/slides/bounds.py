"""The part of a slide that was scanned: what QuPath shows of it, and where its coordinates begin.

OpenSlide lays what was scanned (MRXS, Leica SCN, Ventana BIF, Argos) on a larger canvas, and says in four
properties, `openslide.bounds-…`, which rectangle it fills. QuPath (`OpenslideImageServer.java`) takes that
rectangle for the image wherever all four are whole numbers, unless it is told `--no-crop`. Its condition that
both sides differ from the canvas's decides on the sizes of its levels only, not on where coordinates begin.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nucseg_jax.errors import in_short


class Crop(NamedTuple):
    """A rectangle of a file's canvas, in base pixels from the canvas's top left corner."""

    left: int
    top: int
    width: int
    height: int


def crop_of(texts: Sequence[str | None], height: int, width: int) -> tuple[Crop | None, tuple[str, ...]]:
    """What the four properties say, as far as it lies on the canvas.

    Args:
      texts: x, y, width and height of the scanned part, in base pixels; None: the file does not say it.
      height, width: of the canvas, in base pixels.

    Returns:
      The rectangle, clipped to the canvas. None, to keep the canvas, where a text is missing or no whole
      number, the corner is left of the canvas or above it, nothing of it is left, or it is all of the canvas.
      And notes that say what was done.
    """
    known = [text for text in texts if text is not None]
    if len(known) < len(texts):
        return None, ()
    said = f"(x, y, width, height: {in_short(', '.join(known))})"
    canvas = f"{height}×{width} pixels"
    try:
        left, top, across, down = map(int, known)
    except ValueError:
        return None, (_NOT_CROPPED.format(f"its bounds {said} are no whole numbers"),)
    right, bottom = min(left + across, width), min(top + down, height)
    if min(left, top) < 0 or right <= left or bottom <= top:
        return None, (_NOT_CROPPED.format(f"its bounds {said} are no rectangle of its {canvas}"),)
    crop = Crop(left, top, right - left, bottom - top)
    if crop == (0, 0, width, height):
        return None, ()
    note = (
        f"cropped to what was scanned, as in QuPath: {crop.height}×{crop.width} of {canvas}, from x {left}, "
        f"y {top}, where its coordinates begin"
    )
    if (crop.width, crop.height) != (across, down):
        note += f"; the file's own bounds {said} reach out of them"
    return crop, (note,)


_NOT_CROPPED = (
    "not cropped to what was scanned: {}. Coordinates are those of the full canvas; open it in QuPath with "
    "--no-crop"
)
