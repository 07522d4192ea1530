"""Looks into an index: which nuclei lie where, their outlines and their measurements."""

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from nucseg_jax.view.nuclei.index_files import (
    ARRAYS,
    LEVEL_ARRAYS,
    column_file,
    level_file,
    mapped,
    read_about,
    read_told,
    unit_px,
)


class Rectangle(NamedTuple):
    """A part of a slide, in base pixels."""

    left: float
    top: float
    right: float
    bottom: float


class Outlines(NamedTuple):
    """Outlines of N nuclei.

    Attributes:
      ring_start: uint32 [N + 1], the first ring of each nucleus, which is its outside; others are holes or,
        of a truth, further pieces. What is within an odd number of rings is nucleus.
      point_start: uint32 [R + 1], the first point of each ring.
      points: float32 [P, 2], x and y in base pixels; rings are closed without a repetition.
    """

    ring_start: NDArray[np.uint32]
    point_start: NDArray[np.uint32]
    points: NDArray[np.float32]


class NucleiIndex:
    """The nuclei of one result; a row is a nucleus's number in the index, from 0.

    Args:
      folder: as `index_building.build` has written it.

    Attributes:
      about: see `index_files.About`.
      told: see `index_files.Told`.

    Raises:
      DataError: it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.about, self.told = read_about(folder), read_told(folder)
        self._folder = folder
        self._arrays = {name: mapped(folder, name, *form) for name, form in ARRAYS.items()}
        self._levels = [
            {name: mapped(folder, level_file(name, level), *form) for name, form in LEVEL_ARRAYS.items()}
            for level in range(self.about.levels)
        ]

    @property
    def ids(self) -> NDArray[np.int32]:
        """int32 [nuclei]."""
        return self._arrays["ids"]

    @property
    def centroids(self) -> NDArray[np.float32]:
        """float32 [nuclei, 2], x and y in base pixels."""
        return self._arrays["centroids"]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the nuclei's ids and object ids, by which the same nuclei are known again."""
        digest = hashlib.sha256(self.ids.tobytes())
        digest.update(self._arrays["object_ids"].tobytes())
        return digest.hexdigest()

    def column(self, name: str) -> NDArray[np.float64]:
        """A measurement of all nuclei, float64 [nuclei]; NaN where it was not measured.

        Raises:
          KeyError: there is none of this name.
        """
        if name not in self.about.columns:
            raise KeyError(name)
        return mapped(self._folder, column_file(name), "<f8")

    def touching(self, where: Rectangle) -> NDArray[np.int64]:
        """The rows of nuclei whose bounds touch a rectangle, in order."""
        reach = self.about.reach_px
        near = Rectangle(where.left - reach, where.top - reach, where.right + reach, where.bottom + reach)
        rows = self._in_cells(near)
        left, top, right, bottom = self._arrays["bounds"][rows].T
        touches = (
            (left <= where.right) & (right >= where.left) & (top <= where.bottom) & (bottom >= where.top)
        )
        return np.sort(rows[touches])

    def centred_in(self, where: Rectangle) -> NDArray[np.int64]:
        """The rows of nuclei whose centroid lies in a rectangle, its borders included, in order."""
        rows = self._in_cells(where)
        x, y = self.centroids[rows].T
        inside = (x >= where.left) & (x <= where.right) & (y >= where.top) & (y <= where.bottom)
        return np.sort(rows[inside])

    def count_points(self, rows: NDArray[np.int64], level: int) -> int:
        """Points that the outlines of some nuclei have."""
        first, last = self._levels[level]["ring_start"][np.stack([rows, rows + 1])]
        starts = self._levels[level]["point_start"]
        return int((starts[last].astype(np.int64) - starts[first]).sum())

    def outlines(self, rows: NDArray[np.int64], level: int) -> Outlines:
        """The outlines of some nuclei, of a level of `index_files.TOLERANCES_PX`."""
        arrays = self._levels[level]
        rings, ring_start = _of_ranges(arrays["ring_start"], rows)
        points, point_start = _of_ranges(arrays["point_start"], rings)
        owner = np.repeat(np.repeat(np.arange(len(rows)), np.diff(ring_start)), np.diff(point_start))
        bounds = self._arrays["bounds"][rows]
        steps = unit_px(bounds)[owner, None] if len(rows) else np.zeros((0, 1))
        places = bounds[owner, :2] + arrays["points"][points] * steps
        return Outlines(ring_start.astype("<u4"), point_start.astype("<u4"), places.astype("<f4"))

    def row_of(self, id_: int) -> int | None:
        """The row of a nucleus by its id; None where there is none."""
        ids, order = self._by_id
        place = int(np.searchsorted(ids, id_))
        return int(order[place]) if place < len(ids) and ids[place] == id_ else None

    def row_at(self, x: float, y: float) -> int | None:
        """The row of the nucleus that covers a point; None where there is none.

        Without outlines it is the nearest centroid within 40 base pixels.
        """
        if not self.about.levels:
            return self._nearest(x, y, 40.0)
        rows: list[int] = self.touching(Rectangle(x, y, x, y)).tolist()
        for row in rows:
            if shapely.intersects_xy(self.polygon(row), x, y):
                return row
        return None

    def polygon(self, row: int) -> shapely.Geometry:
        """The outline of a nucleus as the result has it, in base pixels; a MultiPolygon of several pieces."""
        rings = self.rings(row)
        polygon = shapely.Polygon(rings[0], rings[1:])
        whole = len(rings) == 1 or polygon.is_valid  # else a ring is no hole, but another piece
        return polygon if whole else shapely.make_valid(polygon)

    def rings(self, row: int) -> list[NDArray[np.float64]]:
        """The same as rings [points, 2], the first the outside; others are holes or further pieces."""
        found = self.outlines(np.array([row]), 0)
        return [ring.astype(np.float64) for ring in np.split(found.points, found.point_start[1:-1])]

    def measurements(self, row: int) -> dict[str, Any]:
        """id, object_id, centroid_px and measurements of a nucleus; None where it was not measured."""
        x, y = self.centroids[row].tolist()
        values = {name: float(self.column(name)[row]) for name in self.about.columns}
        return {
            "id": int(self.ids[row]),
            "object_id": bytes(self._arrays["object_ids"][row]).decode("ascii", "replace"),
            "centroid_px": {"x": x, "y": y},
            "measurements": {name: value if np.isfinite(value) else None for name, value in values.items()},
        }

    def _nearest(self, x: float, y: float, most_px: float) -> int | None:
        rows = self.centred_in(Rectangle(x - most_px, y - most_px, x + most_px, y + most_px))
        if not len(rows):
            return None
        distances = np.hypot(*(self.centroids[rows] - np.array([x, y], np.float32)).T)
        return int(rows[distances.argmin()]) if distances.min() <= most_px else None

    def _in_cells(self, where: Rectangle) -> NDArray[np.int64]:
        """The rows of nuclei in the squares that a rectangle touches."""
        (rows, columns), side = self.about.cells, self.about.cell_px

        def cell(at: float, count: int) -> int:
            return int(np.clip(np.floor(at / side), 0, count - 1))

        first, last = cell(where.left, columns), cell(where.right, columns)
        lines = np.arange(cell(where.top, rows), cell(where.bottom, rows) + 1) * columns
        starts = self._arrays["cell_start"]
        order = self._arrays["order"]
        found = [order[starts[line + first] : starts[line + last + 1]] for line in lines.tolist()]
        return np.concatenate(found).astype(np.int64)

    @cached_property
    def _by_id(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Ids, ascending, and the row of each."""
        order = np.argsort(self.ids, kind="stable")
        return self.ids[order], order


def _of_ranges(
    starts: NDArray[np.uint32], which: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All that lies in some ranges, one after the other.

    Args:
      starts: [M + 1], where each of M ranges begins, and the end.
      which: [K] of them.

    Returns:
      int64 [L], what lies in them; int64 [K + 1], where each begins in that.
    """
    first, last = starts[which].astype(np.int64), starts[which + 1].astype(np.int64)
    begins = np.concatenate([[0], np.cumsum(last - first)])
    return np.arange(begins[-1]) + np.repeat(first - begins[:-1], last - first), begins
