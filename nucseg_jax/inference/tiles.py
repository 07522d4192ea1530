"""Where the network looks: square tiles on a grid that is fixed on the slide, whatever order they come in."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import Slide

TilePlace = tuple[int, int]
"""(row, column) of a tile in the grid."""

TISSUE_PX = 256
"""Side of the squares that are looked at if they hold any tissue."""


@dataclass(frozen=True)
class Tiling:
    """Square tiles over an image: how large they are and what is kept of them.

    The outermost `margin` pixels of a tile are never kept: the network sees too little around them. The kept
    parts of neighbours share `blend` pixels, where each weighs less the nearer its border is. So what the
    network says of a pixel is a function of the pixel's place on the slide.

    Attributes:
      tile: side in pixels.
      margin: on each side, ≥ 0.
      blend: ≥ 0, at most half of what is kept.

    Raises:
      ValueError: nothing is kept, or too much is shared.
    """

    tile: int
    margin: int = 0
    blend: int = 0

    def __post_init__(self) -> None:
        if self.margin < 0 or self.blend < 0 or self.kept <= 0 or 2 * self.blend > self.kept:
            raise ValueError(
                f"tiles of {self.tile} px cannot have a margin of {self.margin} px and share {self.blend} px"
            )

    @property
    def kept(self) -> int:
        """Side of what is kept of a tile, in pixels."""
        return self.tile - 2 * self.margin

    @property
    def stride(self) -> int:
        """Pixels from one tile to the next."""
        return self.kept - self.blend

    def first_kept(self, index: Any) -> Any:
        """The first pixel that is kept of a row (or column) of tiles; below 0 for the first if tiles blend.

        Args:
          index: of the row, an integer or an array of them.
        """
        return index * self.stride - self.blend // 2

    def count(self, side: int) -> int:
        """Rows (or columns) of tiles that cover `side` pixels."""
        return max(1, math.ceil((side - (self.blend + 1) // 2) / self.stride))

    @cached_property
    def weights(self) -> NDArray[np.uint32]:
        """uint32 [kept]: weights along one side, 1 at the border; those of two tiles add up to blend + 1."""
        from_border = np.minimum(np.arange(self.kept), np.arange(self.kept)[::-1]) + 1
        return np.minimum(from_border, self.blend + 1).astype(np.uint32)


def tiles_a_batch(tiling: Tiling, batch_px: int, devices: int) -> int:
    """Tiles of `batch_px` pixels together, at least one; rounded up to a multiple of the devices."""
    return -(-max(1, batch_px // tiling.tile**2) // devices) * devices


@dataclass(frozen=True)
class TileGrid:
    """A tiling laid over a slide.

    Tile (r, c) is kept from pixel (`tiling.first_kept(r)`, `tiling.first_kept(c)`) of the network's level on.
    Where a tile reaches past the slide, the slide is reflected: nuclei that its border cuts go on as nuclei;
    white would be an edge, as no tissue has.

    Attributes:
      frame: the slide.
      tiling: of the network.
    """

    frame: Frame
    tiling: Tiling

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        height, width = self.frame.network_size
        return self.tiling.count(height), self.tiling.count(width)

    def needed(self, squares: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which tiles have something to keep in a square with tissue: bool, of `shape`.

        Args:
          squares: of `squares_with_tissue`.
        """
        sums = np.zeros((squares.shape[0] + 1, squares.shape[1] + 1), np.int64)
        sums[1:, 1:] = squares.cumsum(0).cumsum(1)
        (top, bottom), (left, right) = (
            self._squares_of(count, side)
            for count, side in zip(self.shape, self.frame.network_size, strict=True)
        )
        with_bottom, with_top = sums[bottom], sums[top]
        return (with_bottom[:, right] - with_bottom[:, left] - with_top[:, right] + with_top[:, left]) > 0

    def read(self, slide: Slide, place: TilePlace) -> NDArray[np.uint8]:
        """uint8 [tile, tile, 3]: a tile, its margins included."""
        top, left = (self.tiling.first_kept(index) - self.tiling.margin for index in place)
        return reflected(slide, self.frame, top, left, self.tiling.tile)

    def square(self, slide: Slide, row: int, column: int) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]: what of a square of TISSUE_PX pixels is on the slide."""
        top, left = row * TISSUE_PX, column * TISSUE_PX
        height, width = self.frame.network_size
        sides = min(TISSUE_PX, height - top), min(TISSUE_PX, width - left)
        return slide.region(top, left, *sides, self.frame.network_mpp)

    def _squares_of(self, count: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last (excluded) square that what is kept of each row (or column) of tiles lies in."""
        first = self.tiling.first_kept(np.arange(count))
        last = np.minimum(side, first + self.tiling.kept)
        return np.maximum(first, 0) // TISSUE_PX, -(-last // TISSUE_PX)


def reflected(slide: Slide, frame: Frame, top: int, left: int, side: int) -> NDArray[np.uint8]:
    """uint8 [side, side, 3]: a square of a slide, which goes on as its reflection where the square leaves it.

    Args:
      slide: open.
      frame: its frame.
      top, left: of the square, in pixels of the network's level; part of it lies on the slide.
      side: in the same.
    """
    starts = top, left
    firsts = [max(0, start) for start in starts]
    lasts = [min(length, start + side) for length, start in zip(frame.network_size, starts, strict=True)]
    rows, columns = (last - first for first, last in zip(firsts, lasts, strict=True))
    pixels = slide.region(firsts[0], firsts[1], rows, columns, frame.network_mpp)
    if pixels.shape[:2] == (side, side):
        return pixels
    # Reflection needs no more than the slide's part itself, however far the square reaches past it.
    around = [
        (first - start, start + side - last) for start, first, last in zip(starts, firsts, lasts, strict=True)
    ]
    return np.pad(pixels, (*around, (0, 0)), mode="symmetric")


def squares_with_tissue(tissue: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which squares of TISSUE_PX pixels have tissue: bool [rows, columns].

    Args:
      tissue: bool [h, w], a mask of the whole slide.
      size: (height, width) of the slide in pixels of the network's level.
    """
    spans = [_spans(side, mask_side) for side, mask_side in zip(size, tissue.shape, strict=True)]
    return np.array([[tissue[rows, columns].any() for columns in spans[1]] for rows in spans[0]])


def cheapest_grid(
    frame: Frame,
    tilings: Sequence[Tiling],
    squares: NDArray[np.bool_],
    batch_size: Callable[[Tiling], int],
) -> tuple[TileGrid, list[TilePlace]]:
    """Of tilings that give the same result the one with which the network looks at the fewest pixels.

    Args:
      frame: the slide.
      tilings: one or more.
      squares: of `squares_with_tissue`.
      batch_size: tiles that are looked at together, whether there are so many or not.

    Returns:
      The grid and its tiles with tissue, row by row.
    """
    grids = [TileGrid(frame, tiling) for tiling in tilings]
    needed = [grid.needed(squares) for grid in grids]

    def pixels(i: int) -> int:
        size = batch_size(tilings[i])
        return -(-int(needed[i].sum()) // size) * size * tilings[i].tile ** 2

    best = min(range(len(grids)), key=lambda i: (pixels(i), -tilings[i].tile))
    return grids[best], [(row, column) for row, column in np.argwhere(needed[best]).tolist()]


def _spans(side: int, mask_side: int) -> list[slice]:
    """Of each row (or column) of squares the pixels of a mask that it touches."""
    scale, count = mask_side / side, -(-side // TISSUE_PX)
    starts = [int(i * TISSUE_PX * scale) for i in range(count)]
    ends = [int(np.ceil((i + 1) * TISSUE_PX * scale)) for i in range(count)]
    return [slice(min(start, mask_side - 1), end) for start, end in zip(starts, ends, strict=True)]
