"""The connected components of a mask of nuclei, where they lie on the slide."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.inference.box import Box


class Components:
    """The 4-connected components of a mask, in the coordinates of the slide.

    Args:
      mask: bool [h, w], True = nucleus.
      window: where the mask lies.

    Attributes:
      labels: int32 [h, w], the component of each pixel of the window: 1 … `count`, 0 = none.
      count: of components.
      window: as given.
    """

    def __init__(self, mask: NDArray[np.bool_], window: Box):
        self.labels, self.count = ndimage.label(mask, output=np.int32)
        self.window = window
        self._slices = ndimage.find_objects(self.labels)

    def box(self, i: int) -> Box:
        """The smallest rectangle that holds component i."""
        rows, columns = self._slices[i - 1]
        top, left = self.window.top, self.window.left
        return Box(rows.start + top, columns.start + left, rows.stop + top, columns.stop + left)

    def first_pixel(self, i: int) -> tuple[int, int]:
        """The first pixel (row, column) of component i, row by row."""
        rows, columns = self._slices[i - 1]
        x = int(np.argmax(self.labels[rows.start, columns] == i))
        return rows.start + self.window.top, columns.start + x + self.window.left

    def pixel_in(self, i: int, block: Box) -> tuple[int, int]:
        """Some pixel (row, column) of component i that a block holds."""
        part = self.box(i).common(block)
        inside = self.labels[part.within(self.window).slices] == i
        y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
        return int(y) + part.top, int(x) + part.left
