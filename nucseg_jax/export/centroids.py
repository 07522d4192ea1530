"""Where all nuclei of a slide are: what neighbours and clumping need of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.batches import Batch


class Centroids:
    """The ids and centroids of a slide's nuclei, batch by batch: 20 bytes of memory for each."""

    def __init__(self) -> None:
        self._ids: list[NDArray[np.int32]] = []
        self._points: list[NDArray[np.float64]] = []

    def add(self, batch: Batch) -> None:
        """Keep those of a batch."""
        self._ids.append(batch.ids.astype(np.int32))
        self._points.append(np.stack(batch.centroids, axis=1) * batch.canvas.frame.network_mpp)

    @property
    def ids(self) -> NDArray[np.int32]:
        """int32 `[N]`, in the order in which they came."""
        return np.concatenate([np.zeros(0, np.int32), *self._ids])

    @property
    def points_um(self) -> NDArray[np.float64]:
        """float64 `[N, 2]`: x and y in µm from the slide's top left corner."""
        return np.concatenate([np.zeros((0, 2)), *self._points])
