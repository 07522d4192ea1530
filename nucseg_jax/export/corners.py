"""The corners of outlines in pixels of the slide's base level, for formats that keep them as numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.measurements import Measurements
from nucseg_jax.export.outlines import Outlines
from nucseg_jax.nuclei import Frame

DECIMALS = 3
"""Of a coordinate: as in GeoJSON, so that both have the same polygons."""


def outlines_of(batch: Batch) -> Outlines:
    """A `batches.Maker`: other processes trace the outlines."""
    return batch.outlines


def measurements_of(batch: Batch) -> Measurements:
    """A `batches.Maker`: other processes measure."""
    return batch.measurements


def base_px(frame: Frame, x: NDArray[np.integer], y: NDArray[np.integer]) -> NDArray[np.float64]:
    """Corners in base pixels.

    Args:
        frame: the slide.
        x: integers `[N]`, in pixels of the network's level.
        y: integers `[N]`.

    Returns:
        float64 `[N, 2]`: x and y, from the slide's top left corner. What the last pixel of the network's
        level has beyond the slide is cut off.
    """
    height, width = frame.size
    points = np.stack([x, y], axis=1).astype(np.float64) * frame.scale
    cut: NDArray[np.float64] = np.minimum(points, (width, height)).round(DECIMALS)
    return cut
