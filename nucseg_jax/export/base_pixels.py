"""Coordinates of outlines in pixels of the slide's base level, as all files have them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.outlines import Outlines
from nucseg_jax.nuclei import Frame

DECIMALS = 3
"""Rounding to so many keeps the order of coordinates, and keeps apart those of different pixels."""


class BasePixels(NamedTuple):
    """Where the corners of the network's pixels lie.

    Attributes:
        x: float64 `[width + 1]`, of its columns, ascending, with at most `DECIMALS` decimals.
        y: float64 `[height + 1]`, of its rows.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def points(self, outlines: Outlines) -> NDArray[np.float64]:
        """x and y of all corners, float64 `[N, 2]`."""
        return np.stack([self.x[outlines.x], self.y[outlines.y]], axis=1)


@lru_cache(maxsize=1)  # a process has the batches of one slide at a time
def base_pixels(frame: Frame) -> BasePixels:
    """Where the corners of a slide's pixels lie."""
    x, y = (
        # The last pixel of the network's level may end past the slide, by less than it is wide.
        np.round(np.minimum(np.arange(count + 1) * frame.scale, side), DECIMALS)
        for count, side in zip(reversed(frame.network_size), reversed(frame.size), strict=True)
    )
    return BasePixels(x, y)
