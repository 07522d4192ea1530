"""An open slide or image, read as rectangles at any resolution."""

import math
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import UserError
from nucseg_jax.slides import colours
from nucseg_jax.slides.reader import Reader, Resolution
from nucseg_jax.slides.resolution import ASSUMED

_SAME_RESOLUTION = 1.01  # a level that is coarser by less is taken as it is

THUMBNAIL_BLOCK_PX = 2048
"""Side of what is read at once for a thumbnail, in pixels of the level that is read."""


class Slide:
    """An open slide or image; made by `opening`. All reads are safe for threads.

    Attributes:
      path: of the file.
      size: (height, width) at the base level.
      offset: (y, x) of its top left corner on the canvas of the file, in base pixels; (0, 0) unless it is
        cropped to what was scanned.
      mpp: µm a base pixel; None for an image that does not say.
      mpp_source: where the resolution came from, or why there is none.
      is_slide: made by a scanner, or with a pyramid.
      notes: what was done about its pixels, or left undone, that a user should be told.
    """

    def __init__(self, path: Path, reader: Reader, found: Resolution, notes: tuple[str, ...] = ()):
        self.path = path
        self.mpp, self.mpp_source = found
        self.is_slide, self.notes = reader.is_slide, reader.notes + notes
        self._reader = reader
        base = reader.levels[0]
        self.size, self.offset = (base.height, base.width), reader.offset

    @property
    def assumption(self) -> str | None:
        """Why the resolution had to be assumed; None where it is known, or there is none."""
        return self.mpp_source.removeprefix(ASSUMED) if self.mpp_source.startswith(ASSUMED) else None

    @property
    def scales(self) -> tuple[float, ...]:
        """Base pixels a pixel of each level that the file has, the base level's 1.0 first."""
        return tuple(level.scale for level in self._reader.levels)

    def region(self, top: int, left: int, height: int, width: int, mpp: float) -> NDArray[np.uint8]:
        """A rectangle at a resolution.

        Read from the coarsest level that is fine enough, and scaled by Pillow's bilinear filter, as training
        images are. A pixel is a function of its place, whatever rectangle it is read with; but for a grey
        level or two, where rounding, once along each axis, is a near thing.

        Args:
          top, left, height, width: in pixels of `mpp`; any part may lie outside of the slide.
          mpp: µm a pixel.

        Returns:
          uint8 [height, width, 3] RGB; white outside of the slide.

        Raises:
          UserError: the image has no resolution.
          DataError: the file is damaged there.
        """
        if self.mpp is None:
            raise UserError(f"{self.path}: has no resolution ({self.mpp_source}). Give it with --mpp")
        return self._scaled(top, left, height, width, mpp / self.mpp)

    def thumbnail(self, max_px: int, *, block_px: int = THUMBNAIL_BLOCK_PX) -> NDArray[np.uint8]:
        """uint8 [h, w, 3] of the whole slide, its longer side at most `max_px`; never enlarged.

        Args:
          max_px: pixels of the longer side.
          block_px: side of what is read at once; it changes memory, not the picture.
        """
        scale = max(1.0, max(self.size) / max_px)
        height, width = (max(1, min(max_px, round(side / scale))) for side in self.size)
        level = self._reader.levels[self._level(scale)]
        block = max(1, int(block_px * level.scale / scale))
        picture = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, block):
            for left in range(0, width, block):
                sides = min(block, height - top), min(block, width - left)
                picture[top : top + block, left : left + block] = self._scaled(top, left, *sides, scale)
        return picture

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _level(self, scale: float) -> int:
        """The coarsest level that has the detail asked for."""
        fine = [i for i, level in enumerate(self._reader.levels) if level.scale <= scale * _SAME_RESOLUTION]
        return max(fine, key=lambda i: self._reader.levels[i].scale, default=0)

    def _scaled(self, top: int, left: int, height: int, width: int, scale: float) -> NDArray[np.uint8]:
        """`region` with base pixels a pixel in place of µm."""
        region = np.full((height, width, 3), colours.WHITE, np.uint8)
        whole = [max(1, round(side / scale)) for side in self.size]
        first_y, first_x = max(0, top), max(0, left)
        rows, columns = min(whole[0], top + height) - first_y, min(whole[1], left + width) - first_x
        if rows > 0 and columns > 0:
            inside = self._inside(first_y, first_x, rows, columns, scale)
            region[first_y - top : first_y - top + rows, first_x - left : first_x - left + columns] = inside
        return region

    def _inside(self, top: int, left: int, height: int, width: int, scale: float) -> NDArray[np.uint8]:
        """The part of a region that is in the slide."""
        index = self._level(scale)
        level = self._reader.levels[index]
        ratios = [scale / level.scale_y, scale / level.scale_x]
        relative = [1.0 if abs(ratio - 1.0) < 1e-9 else ratio for ratio in ratios]
        # What the filter looks at: half a pixel of the result on each side, and one of the level at least.
        margins = [0 if ratio == 1.0 else math.ceil(max(1.0, ratio)) + 1 for ratio in relative]
        corner, sides = (top, left), (height, width)
        along = list(zip(corner, sides, relative, margins, strict=True))
        starts = [math.floor(at * ratio) - margin for at, _, ratio, margin in along]
        ends = [math.ceil((at + n) * ratio) + margin for at, n, ratio, margin in along]
        limits = level.height, level.width
        first = [min(max(0, start), limit - 1) for start, limit in zip(starts, limits, strict=True)]
        last = [max(min(end, limit), f + 1) for end, limit, f in zip(ends, limits, first, strict=True)]
        pixels = self._reader.read(index, first[0], first[1], last[0] - first[0], last[1] - first[1])
        # Past the border the last pixels go on: a size that is no whole number rounds a little outside.
        before = [max(0, f - start) for f, start in zip(first, starts, strict=True)]
        after = [max(0, end - la) for la, end in zip(last, ends, strict=True)]
        if any(before + after):
            pixels = np.pad(pixels, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
        if relative == [1.0, 1.0]:
            return pixels[:height, :width]
        y, x = (at * ratio - start for at, ratio, start in zip(corner, relative, starts, strict=True))
        box = (x, y, x + width * relative[1], y + height * relative[0])
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))
