"""An open slide as a pyramid that halves from level to level, however the file's own pyramid is made."""

import math
import threading
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import DataError
from nucseg_jax.nuclei import TYPICAL_MPP
from nucseg_jax.slides import open_slide

_MOST_REDUCTION = 16
"""How many times finer than what is asked for the file's coarsest level may be, before its picture is made as
a whole: a tile of 256 pixels reads 4096 × 4096 of the file at most."""

_MOST_PICTURE_BYTES = 100 << 20  # of which there is one for each slide that is open

_BLOCK_PX = 4096  # side of what is read at once, in pixels of the file's level


class Opening(NamedTuple):
    """A slide's file and how it is opened: the options of `slides.open_slide`."""

    path: Path
    mpp: float | None = None
    white: int | None = None
    crop: bool = True


class DisplayedSlide:
    """A slide that is looked at. All reads are safe for threads.

    Where a file has no level that is coarse enough, as a TIFF without a pyramid, its picture is read once, in
    blocks, and the coarse levels are made of that: so no tile takes the memory of the whole slide.

    Args:
      opening: of the file.

    Attributes:
      size: (height, width) in base pixels.
      mpp: µm a base pixel; None where nobody knows it.
      mpp_source: where the resolution came from, or why there is none.
      notes: what was done about its pixels.

    Raises:
      UserError: as `open_slide`; but a slide without a resolution is no error.
    """

    def __init__(self, opening: Opening) -> None:
        path, mpp, white, crop = opening
        try:
            self._slide = open_slide(path, mpp, assumed_mpp=TYPICAL_MPP, white=white, crop=crop)
            known = self._slide.assumption is None
            self.mpp_source = self._slide.mpp_source if known else str(self._slide.assumption)
        except DataError as error:
            # It may have no resolution, which does not matter here; any other error comes again.
            self._slide = open_slide(path, TYPICAL_MPP, white=white, crop=crop)
            known, self.mpp_source = False, str(error).removeprefix(f"{path}: ")
        self.size, self.notes = self._slide.size, self._slide.notes
        assert self._slide.mpp is not None  # given, of the file, or assumed
        self._mpp = self._slide.mpp
        self.mpp = self._mpp if known else None
        self._coarse: NDArray[np.uint8] | None = None
        self._lock = threading.Lock()

    def region(self, scale: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """A rectangle of a level: pixel i covers the base pixels i · scale to (i + 1) · scale.

        Args:
          scale: base pixels a pixel, a power of two.
          top, left, height, width: in pixels of the level, within `level_size`.

        Returns:
          uint8 [height, width, 3] RGB.

        Raises:
          DataError: the file is damaged there.
        """
        coarsest = self._picture_scale()
        if scale <= coarsest:
            return self._read(scale, top, left, height, width)
        ratio = scale // coarsest
        picture = self._picture(coarsest)[
            top * ratio : (top + height) * ratio, left * ratio : (left + width) * ratio
        ]
        return _reduced(picture, ratio, height, width)

    def level_size(self, scale: int) -> tuple[int, int]:
        """(height, width) of a level; what is left of a pixel at its end is a pixel."""
        return -(-self.size[0] // scale), -(-self.size[1] // scale)

    def thumbnail(self, max_px: int) -> NDArray[np.uint8]:
        """The whole slide, as `Slide.thumbnail`."""
        return self._slide.thumbnail(max_px)

    def close(self) -> None:
        """Close the file."""
        self._slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _picture_scale(self) -> int:
        """The scale of the picture that levels that are coarser still are made of."""
        own = 1 << (int(max(self._slide.scales)).bit_length() - 1)  # the power of two that is not above it
        scale = _MOST_REDUCTION * own
        while 3 * math.prod(self.level_size(scale)) > _MOST_PICTURE_BYTES:
            scale *= 2
        return scale

    def _read(self, scale: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """`region` of the file's own levels, in blocks, so that memory does not grow with the slide."""
        # `Slide` rounds the size of a level to the nearest pixel, and what is beyond is white.
        rows, columns = (max(1, round(side / scale)) for side in self.size)
        first_y, first_x = min(top, rows - 1), min(left, columns - 1)
        inside_h, inside_w = min(height, rows - first_y), min(width, columns - first_x)
        finest = max((own for own in self._slide.scales if own <= scale), default=1.0)
        block = max(1, int(_BLOCK_PX * finest / scale))
        pixels = np.empty((inside_h, inside_w, 3), np.uint8)
        for y in range(0, inside_h, block):
            for x in range(0, inside_w, block):
                sides = min(block, inside_h - y), min(block, inside_w - x)
                # Powers of two times a number, and divided by it, are exact.
                part = self._slide.region(first_y + y, first_x + x, *sides, self._mpp * scale)
                pixels[y : y + block, x : x + block] = part
        return np.pad(pixels, ((0, height - inside_h), (0, width - inside_w), (0, 0)), mode="edge")

    def _picture(self, scale: int) -> NDArray[np.uint8]:
        """The whole slide at a scale, read once."""
        with self._lock:
            if self._coarse is None:
                self._coarse = self._read(scale, 0, 0, *self.level_size(scale))
            return self._coarse


def _reduced(pixels: NDArray[np.uint8], ratio: int, height: int, width: int) -> NDArray[np.uint8]:
    """The mean of squares of `ratio` pixels, uint8 [height, width, 3]; squares at the end go on past it."""
    missing = height * ratio - pixels.shape[0], width * ratio - pixels.shape[1]
    pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    means = pixels.reshape(height, ratio, width, ratio, 3).mean(axis=(1, 3))
    reduced: NDArray[np.uint8] = np.rint(means).astype(np.uint8)
    return reduced
