"""The tissue that was analysed as a region in µm: what is inside, how far its border is, how much is near."""

from __future__ import annotations

from copy import copy

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.nuclei import Frame

_CHORDS = 32  # that a disc is cut in


class TissueArea:
    """Tissue of a slide. Points are float64 `[N, 2]`, x and y in µm from the slide's top left corner.

    Args:
        frame: the slide.
        tissue: bool `[h, w]`, the whole slide, True = tissue, at any resolution; None: all of it is.

    Attributes:
        area_um2: of the tissue.
        shorter_side_um: of the slide; in a part of it, of the rectangle that holds the part.

    Raises:
        ValueError: tissue is no such mask.
    """

    def __init__(self, frame: Frame, tissue: NDArray[np.bool_] | None = None) -> None:
        if tissue is None:
            tissue = np.ones((1, 1), dtype=bool)
        if tissue.dtype != bool or tissue.ndim != 2 or not tissue.size:
            raise ValueError(f"tissue must be bool [h, w], got {tissue.dtype} {tissue.shape}")
        self._tissue = tissue
        self._corner_um = np.zeros(2)  # of the mask: x, y
        self._size_um = np.array(frame.size[::-1], dtype=np.float64) * frame.mpp
        self._pixel_um = self._size_um / tissue.shape[::-1]
        self.area_um2 = float(self._size_um.prod() * tissue.mean())
        self.shorter_side_um = float(self._size_um.min())

    def part(self, inside: NDArray[np.bool_], where: tuple[slice, slice]) -> TissueArea:
        """The tissue that lies in a region; points stay those of the slide.

        Args:
            inside: bool `[h', w']`, True = in the region.
            where: the rows and columns of the tissue's mask that it is of; all of the region lies there.
        """
        result = copy(self)
        tissue = self._tissue[where] & inside
        result._tissue = np.pad(tissue, 1)  # a rim without tissue stands for all the rest of the slide
        result._corner_um = self._corner_um + (np.array([s.start for s in where[::-1]]) - 1) * self._pixel_um
        result._size_um = self._pixel_um * result._tissue.shape[::-1]
        result.area_um2 = float(self._pixel_um.prod() * tissue.sum())
        result.shorter_side_um = float((self._pixel_um * tissue.shape[::-1]).min())
        return result

    def contains(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """bool `[N]`: which points lie on tissue."""
        column, row = self._pixels(points).T
        return self._tissue[row, column]

    def to_border(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far each point is from the nearest pixel without tissue, or from the slide's edge.

        Returns:
            float64 `[N]`, µm; 0 for points that lie on no tissue.
        """
        column, row = self._pixels(points).T
        points = points - self._corner_um
        sides = np.concatenate([points, self._size_um - points], axis=1)
        distance = np.maximum(0, sides.min(axis=1))
        if self._tissue.all():
            return distance
        # Indices alone: distances of all pixels of a slide would take several times the memory.
        rows, columns = ndimage.distance_transform_edt(
            self._tissue, sampling=self._pixel_um[::-1], return_distances=False, return_indices=True
        )
        nearest = np.stack([columns[row, column], rows[row, column]], axis=1)
        apart = np.abs(points - (nearest + 0.5) * self._pixel_um) - self._pixel_um / 2
        return np.minimum(distance, np.hypot(*np.maximum(0, apart).T))

    def around(self, points: NDArray[np.float64], radius_um: float) -> NDArray[np.float64]:
        """How much tissue lies in a disc around each point.

        Returns:
            float64 `[N]`, µm²; π radius² where there is tissue everywhere.
        """
        height, width = self._tissue.shape
        before = np.zeros((height, width + 1), np.int32)  # pixels of tissue on the left
        np.cumsum(self._tissue, axis=1, out=before[:, 1:])
        offsets = radius_um * ((np.arange(_CHORDS) + 0.5) * 2 / _CHORDS - 1)
        halves = np.sqrt(radius_um**2 - offsets**2)
        total = np.zeros(len(points))
        x, y = (points - self._corner_um).T
        for offset, half in zip(offsets.tolist(), halves.tolist(), strict=True):
            row = np.floor((y + offset) / self._pixel_um[1]).astype(np.int64)
            on_slide = (row >= 0) & (row < height)
            row = np.clip(row, 0, height - 1)
            ends = []
            for end in (x - half, x + half):
                position = np.clip(end / self._pixel_um[0], 0, width)
                column = np.minimum(position.astype(np.int64), width - 1)
                ends.append(before[row, column] + (position - column) * self._tissue[row, column])
            total += (ends[1] - ends[0]) * on_slide
        # A whole disc has its exact area, however few chords it is cut in.
        return total * self._pixel_um[0] * (np.pi * radius_um**2 / (2 * halves.sum()))

    def _pixels(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """The column and row of the mask that each point lies in, int64 `[N, 2]`."""
        last = np.array(self._tissue.shape[::-1]) - 1
        return np.clip(np.floor((points - self._corner_um) / self._pixel_um).astype(np.int64), 0, last)
