"""The network's tiles: on a grid that is fixed on the slide, whatever order they are worked off in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import UserError
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import Slide

TilePlace = tuple[int, int]
"""(row, column) of a tile in the grid."""


@dataclass(frozen=True)
class TileGrid:
    """Square tiles over a slide, of which only the centres are kept; these meet without gap or overlap.

    The centre of tile (r, c) begins at pixel (r · stride, c · stride) of the network's level. So what the
    network says of a pixel is a function of its place on the slide. Where a tile reaches past the slide, the
    slide is reflected: nuclei that its border cuts go on as nuclei; white would be an edge, as no tissue has.

    Attributes:
      frame: the slide.
      tile: side of the tiles in pixels, as the network was trained.
      margin: pixels on each side of a tile that are not kept: there the network sees little around them.
    """

    frame: Frame
    tile: int
    margin: int

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.margin < self.tile:
            raise UserError(f"a margin of {self.margin} px leaves nothing of tiles of {self.tile} px")

    @property
    def stride(self) -> int:
        """Side of the centres in pixels."""
        return self.tile - 2 * self.margin

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        height, width = self.frame.network_size
        return -(-height // self.stride), -(-width // self.stride)

    def places(self, tissue: NDArray[np.bool_]) -> list[TilePlace]:
        """The tiles whose centre has tissue, row by row.

        Args:
          tissue: bool [h, w], a mask of the whole slide.
        """
        rows, columns = self.shape
        row_spans = self._spans(rows, self.frame.network_size[0], tissue.shape[0])
        column_spans = self._spans(columns, self.frame.network_size[1], tissue.shape[1])
        return [
            (r, c)
            for r in range(rows)
            for c in range(columns)
            if tissue[slice(*row_spans[r]), slice(*column_spans[c])].any()
        ]

    def read(self, slide: Slide, place: TilePlace) -> NDArray[np.uint8]:
        """uint8 [tile, tile, 3]: a tile, its margins included."""
        top, left = (index * self.stride - self.margin for index in place)
        (first_y, before_y, rows), (first_x, before_x, columns) = (
            _inside(start, self.tile, side)
            for start, side in zip((top, left), self.frame.network_size, strict=True)
        )
        pixels = slide.region(first_y, first_x, rows, columns, self.frame.network_mpp)
        if pixels.shape[:2] == (self.tile, self.tile):
            return pixels
        after_y, after_x = self.tile - before_y - rows, self.tile - before_x - columns
        return np.pad(pixels, ((before_y, after_y), (before_x, after_x), (0, 0)), mode="symmetric")

    def centre(self, slide: Slide, place: TilePlace) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]: what of a tile's centre is on the slide."""
        top, left = (index * self.stride for index in place)
        height, width = self.frame.network_size
        sides = min(self.stride, height - top), min(self.stride, width - left)
        return slide.region(top, left, *sides, self.frame.network_mpp)

    def _spans(self, count: int, side: int, mask_side: int) -> list[tuple[int, int]]:
        """Of each row (or column) of centres the pixels of a mask that it touches."""
        scale = mask_side / side
        starts = [int(i * self.stride * scale) for i in range(count)]
        ends = [int(np.ceil((i + 1) * self.stride * scale)) for i in range(count)]
        return [(min(start, mask_side - 1), end) for start, end in zip(starts, ends, strict=True)]


def _inside(start: int, length: int, side: int) -> tuple[int, int, int]:
    """Of a stretch on a line 0 … side: where its part on the line begins, what comes before, and its length.

    Reflection needs no more than the line itself, however far the stretch reaches past it.
    """
    first, last = max(0, start), min(side, start + length)
    return first, first - start, last - first
