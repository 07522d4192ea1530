"""Nuclei one by one, as they come off a slide: what segmentation yields and every exporter takes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

TYPICAL_MPP = 0.25
"""µm a pixel at 40×, which images are taken to have where nothing says what they have."""


@dataclass(frozen=True, slots=True, eq=False)
class Nucleus:
    """A nucleus in pixels of the network's level (`Frame.network_mpp`).

    Attributes:
      id: 1, 2, … without gaps in the order they come; its value in a label map.
      top, left: of the crop `mask` in the network's level, ≥ 0.
      mask: bool [h, w], its pixels; one 4-connected piece that touches all four sides of the crop.
      probability: mean over its pixels of the network's probability of nucleus, in 0 … 1.
      hematoxylin: mean optical density (natural logarithm) of hematoxylin over its pixels; None where it was
        not measured.
      hematoxylin_contrast: of its texture, in squares of optical density (`inference.texture`); None where it
        was not measured, NaN where it has one pixel.
      hematoxylin_entropy_bits: the same, in bits.
      eosin_ring: mean optical density (natural logarithm) of eosin in the ring around it (`inference.rings`);
        None where it was not measured, NaN where no pixel of the ring could be.
      regions: names of the regions (`regions.Regions`) that hold its centroid, in their order; None where
        nuclei were looked for on the whole slide.
    """

    id: int
    top: int
    left: int
    mask: NDArray[np.bool_]
    probability: float
    hematoxylin: float | None = None
    hematoxylin_contrast: float | None = None
    hematoxylin_entropy_bits: float | None = None
    eosin_ring: float | None = None
    regions: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Frame:
    """Where a slide's nuclei lie: base pixels, micrometres and the network's pixels.

    Points are counted from the slide's top left corner, pixel (0, 0) covers 0 … 1: a point (y, x) of the
    network's level is (y · scale, x · scale) in base pixels, and (y · network_mpp, x · network_mpp) in µm.

    Attributes:
      size: (height, width) of the slide in base pixels.
      mpp: µm a base pixel.
      network_mpp: µm a pixel of the network's level, which the coordinates of nuclei are in.
      offset: (y, x) of the slide's top left corner on the canvas of its file, in base pixels; (0, 0) unless
        the slide is cropped to what was scanned (`slides.bounds`). Coordinates do not contain it.
    """

    size: tuple[int, int]
    mpp: float
    network_mpp: float
    offset: tuple[int, int] = (0, 0)

    def __reduce__(self) -> tuple[type["Frame"], tuple[tuple[int, int], float, float, tuple[int, int]]]:
        """For other processes: without what was computed from these, which is as long as the slide."""
        return Frame, (self.size, self.mpp, self.network_mpp, self.offset)

    @property
    def scale(self) -> float:
        """Base pixels a pixel of the network's level."""
        return self.network_mpp / self.mpp

    @property
    def network_size(self) -> tuple[int, int]:
        """(height, width) of the slide in pixels of the network's level; at least 1 each."""
        height, width = (max(1, round(side / self.scale)) for side in self.size)
        return height, width

    def on_slide(self, nucleus: Nucleus) -> tuple[int, int, NDArray[np.bool_]]:
        """A nucleus in base pixels: those whose centre lies on it.

        Nuclei that do not overlap do not there either. Where the slide is coarser than the network's level, a
        nucleus of a few pixels may have none left.

        Args:
          nucleus: of this slide, or of another frame of the same field: what lies outside is left out.

        Returns:
          The top row and left column of a crop, and its pixels, bool [h, w].
        """
        (from_rows, from_columns), (first_rows, first_columns) = self._network_pixels, self._first_pixels
        (height, width), (last_row, last_column) = nucleus.mask.shape, self.network_size
        top, bottom = (first_rows[min(y, last_row)] for y in (nucleus.top, nucleus.top + height))
        left, right = (first_columns[min(x, last_column)] for x in (nucleus.left, nucleus.left + width))
        rows = from_rows[top:bottom] - nucleus.top
        columns = from_columns[left:right] - nucleus.left
        return top, left, nucleus.mask[rows][:, columns]

    def runs_on_slide(
        self, y: NDArray[np.int64], start: NDArray[np.int64], stop: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Horizontal runs of pixels in base pixels: those whose centre lies on them, as in `on_slide`.

        Args:
          y: int64 [N], rows of the network's level.
          start, stop: int64 [N], the first column, and the one after the last.

        Returns:
          int64 [M] each: the run (0 … N - 1) that a run of base pixels is of, in order; its row, first
          column, and column after the last. One may become several or, on a coarser slide, none.
        """
        rows, columns = (np.asarray(first) for first in self._first_pixels)
        left, right = columns[start], columns[stop]
        count = np.where(right > left, rows[y + 1] - rows[y], 0)
        index = np.repeat(np.arange(len(y)), count)
        row = np.arange(len(index)) + np.repeat(rows[y] - (np.cumsum(count) - count), count)
        return index, row, left[index], right[index]

    def label_map(self, of_network: NDArray[np.int32]) -> NDArray[np.int32]:
        """A label map in base pixels: each has the nucleus that its centre lies on, as in `on_slide`.

        Args:
          of_network: int32 [h, w], the same at the network's level.

        Returns:
          int32 [H, W] of `size`.
        """
        rows, columns = (
            np.minimum(places, side - 1)
            for places, side in zip(self._network_pixels, of_network.shape, strict=True)
        )
        return of_network[rows[:, None], columns]

    @cached_property
    def _first_pixels(self) -> tuple[list[int], list[int]]:
        """The first base pixel whose centre lies on or behind each row (column) of the network's level."""
        rows, columns = (
            np.searchsorted(places, np.arange(side + 1)).tolist()
            for places, side in zip(self._network_pixels, self.network_size, strict=True)
        )
        return rows, columns

    @cached_property
    def _network_pixels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The row (the column) of the network's level that the centre of each base pixel lies in."""
        rows, columns = (
            # A centre that falls between two pixels is of the later one, whatever the rounding of `scale`.
            np.minimum(np.floor((np.arange(side) + 0.5) / self.scale + 1e-6).astype(np.int64), last - 1)
            for side, last in zip(self.size, self.network_size, strict=True)
        )
        return rows, columns
