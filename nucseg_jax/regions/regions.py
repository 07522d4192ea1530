"""Named parts of a slide: which points they hold, which squares they touch, how large they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from nucseg_jax.errors import DataError, in_short, listed
from nucseg_jax.regions.coverage import coverage


class Regions:
    """Named parts of a slide, in base pixels: x to the right, y down from the slide's top left corner.

    Args:
      areas: name → Polygon or MultiPolygon of shapely, valid; the order decides where regions overlap.
      path: of the file that they come from.
      sha256: of what is in that file, by which a finished result is known again.
      notes: what a user should be told of them.

    Attributes:
      names: of the regions, in order.
      areas: the outline of each.
      path, sha256: as given.
      notes: as given, and which regions overlap.

    Raises:
      ValueError: there is no region, or an outline is no valid area.
    """

    def __init__(
        self,
        areas: Mapping[str, BaseGeometry],
        *,
        path: Path | None = None,
        sha256: str = "",
        notes: Sequence[str] = (),
    ):
        if not areas:
            raise ValueError("there must be one region at least")
        for name, area in areas.items():
            if area.geom_type not in ("Polygon", "MultiPolygon") or not area.is_valid or not area.area:
                raise ValueError(f"region {name}: a valid Polygon or MultiPolygon is needed")
        self.names, self.areas = tuple(areas), tuple(areas.values())
        self.path, self.sha256 = path, sha256
        shapely.prepare(list(self.areas))
        self.notes = (*notes, *self._overlaps())

    def check_on(self, slide: object, size: tuple[int, int]) -> None:
        """Raise DataError for a region that has nothing on a slide.

        Args:
          slide: its name, for the message.
          size: (height, width) in base pixels.
        """
        height, width = size
        canvas = shapely.box(0, 0, width, height)
        off = [
            name
            for name, area in zip(self.names, self.areas, strict=True)
            if not shapely.relate_pattern(area, canvas, "T********")
        ]
        if off:
            where = "" if self.path is None else f" of {self.path}"
            verb = "lies" if len(off) == 1 else "lie"
            raise DataError(
                f"{slide}: {listed(off)}{where} {verb} off the slide, which has {width}×{height} pixels. "
                "Coordinates of regions are pixels of the slide's base level, as QuPath exports them; is "
                "this the file of another slide?"
            )

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> list[tuple[str, ...]]:
        """The names of the regions that hold each point, their borders included; () where none does.

        Args:
          x, y: float64 [N], in base pixels.
        """
        held: list[list[str]] = [[] for _ in x]
        for name, area in zip(self.names, self.areas, strict=True):
            for i in np.flatnonzero(shapely.intersects_xy(area, x, y)).tolist():
                held[i].append(name)
        return list(map(tuple, held))

    def touched(self, shape: tuple[int, int], side: float) -> NDArray[np.bool_]:
        """Which squares of a grid a region touches: bool [rows, columns].

        Args:
          shape: rows and columns of the grid, which begins at the slide's corner.
          side: of a square, in base pixels.
        """
        result = np.zeros(shape, bool)
        for area in self.areas:
            left, top, right, bottom = (int(np.floor(bound / side)) for bound in area.bounds)
            rows = np.arange(max(0, top), min(shape[0], bottom + 1))[:, None]
            columns = np.arange(max(0, left), min(shape[1], right + 1))[None, :]
            if rows.size and columns.size:
                squares = shapely.box(columns * side, rows * side, (columns + 1) * side, (rows + 1) * side)
                result[np.ix_(rows[:, 0], columns[0])] |= shapely.intersects(area, squares)
        return result

    def areas_px(self, size: tuple[int, int]) -> dict[str, float]:
        """Name → area in base pixels² of what lies on a slide of `size`, (height, width) in base pixels."""
        canvas = shapely.box(0, 0, size[1], size[0])
        return {
            name: float(shapely.area(shapely.intersection(area, canvas)))
            for name, area in zip(self.names, self.areas, strict=True)
        }

    def shares(self, mask: NDArray[np.bool_], size: tuple[int, int]) -> dict[str, float]:
        """Name → the share of the slide that is within the region and True in a mask, in 0 … 1.

        Args:
          mask: bool [h, w], the whole slide at any resolution.
          size: (height, width) of the slide in base pixels.
        """
        return {name: _share(area, mask, size) for name, area in zip(self.names, self.areas, strict=True)}

    def share_of_all(self, mask: NDArray[np.bool_], size: tuple[int, int]) -> float:
        """The same of all regions together: where they overlap, it counts once."""
        return _share(shapely.union_all(self.areas), mask, size)

    def masks(
        self, shape: tuple[int, ...], size: tuple[int, int]
    ) -> dict[str, tuple[NDArray[np.bool_], tuple[slice, slice]]]:
        """Name → the pixels of a mask of the whole slide that are mostly within the region.

        Args:
          shape: of the mask.
          size: (height, width) of the slide in base pixels.

        Returns:
          bool [h', w'] of the rectangle of the mask that holds the region; and that rectangle.
        """
        found = {name: coverage(a, shape, size) for name, a in zip(self.names, self.areas, strict=True)}
        return {name: (part >= 0.5, where) for name, (part, where) in found.items()}

    def mask(self, shape: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
        """bool [h, w] of `shape`: the pixels of a mask of the whole slide that are mostly within a region.

        Args:
          shape: of the mask.
          size: (height, width) of the slide in base pixels.
        """
        result = np.zeros(shape, bool)
        part, where = coverage(shapely.union_all(self.areas), shape, size)
        result[where] = part >= 0.5
        return result

    def _overlaps(self) -> list[str]:
        """A note of the regions that overlap, if any do."""
        first, second = shapely.STRtree(self.areas).query(list(self.areas))
        once = first < second
        first, second = first[once], second[once]
        areas = np.array(self.areas, dtype=object)
        both = shapely.relate_pattern(areas[first], areas[second], "T********")
        pairs = sorted(zip(first[both].tolist(), second[both].tolist(), strict=True))
        if not pairs:
            return []
        named = listed([f"{in_short(self.names[i])} and {in_short(self.names[j])}" for i, j in pairs])
        return [
            f"regions overlap: {named}. A nucleus in several has the name of the first one in tables, and "
            "counts in each in the summary"
        ]


def _share(area: BaseGeometry, mask: NDArray[np.bool_], size: tuple[int, int]) -> float:
    part, where = coverage(area, mask.shape, size)
    return float((part * mask[where]).sum() / mask.size)
