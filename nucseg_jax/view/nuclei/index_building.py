"""Makes an index of a result's nuclei (`index_files`), part by part, for bounded memory."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import shapely
from numpy.typing import NDArray

from nucseg_jax.errors import DataError
from nucseg_jax.io.files import replacing_folder
from nucseg_jax.view.nuclei.index_files import (
    ARRAYS,
    LEVEL_ARRAYS,
    NOTHING_TOLD,
    TOLERANCES_PX,
    VERSION,
    About,
    Told,
    column_file,
    level_file,
    mapped,
    unit_px,
    write_about,
    write_told,
)
from nucseg_jax.view.nuclei.sources import COLUMNS, Part

CELL_PX = 512
_FARTHEST_PX = 1e7  # from the corner, of coordinates that can be

QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)
"""Of each measurement over all nuclei, for scales of colours and the edges of histograms."""


def build(
    folder: Path,
    parts: Iterable[Part],
    size: tuple[int, int],
    on_count: Callable[[int], None],
    told: Told = NOTHING_TOLD,
) -> None:
    """Write an index.

    Args:
      folder: appears when it is complete.
      parts: of the nuclei, in any order.
      size: (height, width) of the slide in base pixels.
      on_count: is told how many nuclei are done.
      told: what a truth says beside its nuclei.

    Raises:
      DataError: as the parts.
      DiskFullError: there is no room for it.
    """
    with replacing_folder(folder) as temporary:
        with ExitStack() as stack:
            writer = _Writer(temporary, stack)
            for part in parts:
                if len(part):
                    writer.add(part)
                on_count(writer.count)
            writer.finish_levels()
        cells = [max(1, -(-side // CELL_PX)) for side in size]
        _sort(temporary, cells)
        columns = writer.columns or []
        ranges = {name: _quantiles(mapped(temporary, column_file(name), "<f8")) for name in columns}
        levels = len(TOLERANCES_PX) if writer.has_outlines else 0
        about = About(VERSION, writer.count, columns, levels, CELL_PX, cells, writer.reach_px, ranges)
        write_told(temporary, told)
        write_about(temporary, about)


class _Writer:
    """Appends nuclei to the files.

    Attributes:
      count: nuclei so far.
      columns: that the first part has, and so all; None before it.
      has_outlines: as of the first part.
      reach_px: see `About`.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.count, self.reach_px = 0, 0.0
        self.columns: list[str] | None = None
        self.has_outlines = False
        self._levels = range(len(TOLERANCES_PX))
        names = [name for name in ARRAYS if name not in ("order", "cell_start")]
        names += [level_file(name, level) for name in LEVEL_ARRAYS for level in self._levels]
        names += [column_file(name) for name in COLUMNS]
        self._files: dict[str, BinaryIO] = {
            name: stack.enter_context((folder / name).open("wb")) for name in names
        }
        self._rings, self._points = [0] * len(self._levels), [0] * len(self._levels)

    def add(self, part: Part) -> None:
        """Append some nuclei."""
        if self.columns is None:
            self.columns = [name for name in COLUMNS if name in part.columns]
            self.has_outlines = part.outlines is not None
        bounds = np.tile(part.centroids, 2) if part.outlines is None else shapely.bounds(part.outlines)
        bounds = bounds.astype("<f4")
        if not (np.abs(bounds) <= _FARTHEST_PX).all() or not (np.abs(part.centroids) <= _FARTHEST_PX).all():
            ids = ", ".join(map(str, part.ids[:3].tolist()))
            raise DataError(f"nuclei {ids} … lie nowhere: the result is damaged. Run nucseg predict again")
        self.count += len(part)
        self.reach_px = max(self.reach_px, float(np.abs(bounds - np.tile(part.centroids, 2)).max()))
        self._write("ids", part.ids, "<i4")
        self._write("object_ids", part.object_ids, "S36")
        self._write("centroids", part.centroids, "<f4")
        self._write("bounds", bounds, "<f4")
        for name in self.columns:
            self._write(column_file(name), part.columns[name], "<f8")
        if part.outlines is not None:
            for level in self._levels:
                self._add_outlines(level, _simplified(part.outlines, TOLERANCES_PX[level]), bounds)

    def finish_levels(self) -> None:
        """Write where the last nucleus and the last ring end."""
        for level in self._levels:
            self._write(level_file("ring_start", level), np.array([self._rings[level]]), "<u4")
            self._write(level_file("point_start", level), np.array([self._points[level]]), "<u4")

    def _add_outlines(self, level: int, outlines: NDArray[np.object_], bounds: NDArray[np.float32]) -> None:
        pieces, owner_of_piece = shapely.get_parts(outlines, return_index=True)
        rings, piece = shapely.get_rings(pieces, return_index=True)
        nucleus = owner_of_piece[piece]
        points, ring = shapely.get_coordinates(rings, return_index=True)
        last = np.append(ring[1:] != ring[:-1], True)  # which repeats the first
        points, ring = points[~last], ring[~last]
        owner = nucleus[ring]
        units = (points - bounds[owner, :2]) / unit_px(bounds)[owner, None]
        starts = np.searchsorted(ring, np.arange(len(rings))) + self._points[level]
        first_rings = np.searchsorted(nucleus, np.arange(len(outlines))) + self._rings[level]
        self._write(level_file("points", level), np.clip(np.rint(units), 0, 65535), "<u2")
        self._write(level_file("point_start", level), starts, "<u4")
        self._write(level_file("ring_start", level), first_rings, "<u4")
        self._rings[level] += len(rings)
        self._points[level] += len(points)

    def _write(self, name: str, values: NDArray[np.generic], kind: str) -> None:
        self._files[name].write(np.ascontiguousarray(values, kind).tobytes())


def _simplified(outlines: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Outlines of fewer points; holes go from the second level on. They are drawn, and need not be valid."""
    if not tolerance:
        return outlines
    if tolerance > 1:
        pieces, nucleus = shapely.get_parts(outlines, return_index=True)
        filled = shapely.polygons(shapely.get_exterior_ring(pieces))
        outlines = filled if len(filled) == len(outlines) else shapely.multipolygons(filled, indices=nucleus)
    simpler = shapely.simplify(outlines, tolerance, preserve_topology=False)  # a tenth of the time
    return np.where(shapely.is_empty(simpler), outlines, simpler)


def _sort(folder: Path, cells: list[int]) -> None:
    """Write the nuclei of each square one after the other, and where each square begins."""
    centroids = mapped(folder, "centroids", *ARRAYS["centroids"])
    place = np.floor(centroids / CELL_PX).astype(np.int64)
    column, row = (np.clip(place[:, axis], 0, cells[1 - axis] - 1) for axis in (0, 1))
    cell = (row * cells[1] + column).astype(np.int32)
    order = np.argsort(cell, kind="stable").astype("<i4")
    starts = np.searchsorted(cell[order], np.arange(cells[0] * cells[1] + 1)).astype("<i4")
    (folder / "order").write_bytes(order.tobytes())
    (folder / "cell_start").write_bytes(starts.tobytes())


def _quantiles(values: NDArray[np.float64]) -> list[float]:
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    return [float(value) for value in np.quantile(known, QUANTILES)]
