"""Outlines as polygons of shapely, and simpler ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from nucseg_jax.errors import UserError
from nucseg_jax.export.base_pixels import base_pixels
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.outlines import Outlines
from nucseg_jax.nuclei import Frame


def check_simplify(simplify_um: float) -> None:
    """Raise UserError for a distance that no outline can be simplified by."""
    if not (math.isfinite(simplify_um) and simplify_um > 0):
        raise UserError(f"--simplify {simplify_um:g}: must be a distance of more than 0 µm, such as 0.25")


@dataclass(frozen=True)
class Shapes:
    """The outlines that files have, of a batch; other processes may make them (`batches.Maker`).

    Attributes:
        simplify_um: how far they may be from the exact ones, µm; None: they are exact.
    """

    simplify_um: float | None = None

    def __call__(self, batch: Batch) -> Outlines:
        if self.simplify_um is None:
            return batch.outlines
        frame = batch.canvas.frame
        return simplified(batch.outlines, frame, self.simplify_um / frame.mpp)


def polygons(outlines: Outlines, frame: Frame) -> NDArray[np.object_]:
    """Outlines as shapely's Polygons in base pixels, object `[M]`."""
    rings, nuclei = np.diff(outlines.ring_start), np.diff(outlines.nucleus_start)
    points = base_pixels(frame).points(outlines)
    closed = shapely.linearrings(points, indices=np.repeat(np.arange(len(rings)), rings))
    made: NDArray[np.object_] = shapely.polygons(closed, indices=np.repeat(np.arange(len(nuclei)), nuclei))
    return made


def simplified(outlines: Outlines, frame: Frame, tolerance_px: float) -> Outlines:
    """Fewer of the same corners: Douglas and Peucker's algorithm, in GEOS's variant that keeps all rings.

    Each nucleus stays one valid polygon with its holes. No point of its outline is farther than the tolerance
    from the exact one, nor the other way round (Hausdorff distance). Each nucleus is simplified by itself, so
    that nuclei that touch may overlap by as much: a variant that keeps common sides
    (`shapely.coverage_simplify`) needs all nuclei at once, and bounds areas instead of distances.

    Args:
        outlines: exact.
        frame: of the slide.
        tolerance_px: in base pixels.
    """
    exact = polygons(outlines, frame)
    simple, left = exact.copy(), np.arange(len(exact))
    # GEOS drops a ring's first corner at the end, which may add up to as much again: hence twice. What is
    # still not good stays exact.
    for tolerance in (tolerance_px, tolerance_px / 2):
        simple[left] = _simplified_by_geos(exact[left], tolerance)
        kept = _kept(outlines, frame, simple)
        left = np.flatnonzero(~_are_good(outlines, frame, kept, tolerance_px))
    owner = np.repeat(np.arange(len(exact)), np.diff(outlines.ring_start[outlines.nucleus_start]))
    return _part(outlines, kept | np.isin(owner, left))


def _simplified_by_geos(exact: NDArray[np.object_], tolerance: float) -> NDArray[np.object_]:
    """Object `[M]`; a polygon that would not be valid, or would lose a ring, stays as it is."""
    simple = shapely.simplify(exact, tolerance, preserve_topology=True)
    same = shapely.get_num_interior_rings(simple) == shapely.get_num_interior_rings(exact)
    made: NDArray[np.object_] = np.where(same & shapely.is_valid(simple), simple, exact)
    return made


def _kept(outlines: Outlines, frame: Frame, simple: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Which corners the polygons have, bool `[N]`; a ring passes no corner twice."""
    places = base_pixels(frame)
    _, points, (ring_start, _) = shapely.to_ragged_array(simple)
    x, y = np.searchsorted(places.x, points[:, 0]), np.searchsorted(places.y, points[:, 1])
    one, other = (
        (np.repeat(np.arange(len(start) - 1), np.diff(start)) * len(places.y) + rows) * len(places.x)
        + columns
        for start, rows, columns in ((outlines.ring_start, outlines.y, outlines.x), (ring_start, y, x))
    )
    found: NDArray[np.bool_] = np.isin(one, other)
    return found


def _part(outlines: Outlines, kept: NDArray[np.bool_]) -> Outlines:
    """Some of the corners."""
    start = np.concatenate([[0], np.cumsum(kept)])[outlines.ring_start]
    return Outlines(outlines.x[kept], outlines.y[kept], start, outlines.nucleus_start)


def _are_good(
    outlines: Outlines, frame: Frame, kept: NDArray[np.bool_], tolerance: float
) -> NDArray[np.bool_]:
    """Whether nuclei without the other corners go round as before, and are near enough, bool `[M]`."""
    part = _part(outlines, kept)
    far = _distances(base_pixels(frame).points(outlines), outlines.ring_start, kept, part.ring_start)
    first = outlines.ring_start[outlines.nucleus_start[:-1]]
    ccw = shapely.is_ccw(shapely.get_rings(polygons(part, frame)))
    is_exterior = np.isin(np.arange(len(ccw)), outlines.nucleus_start)
    same_way: NDArray[np.bool_] = np.logical_and.reduceat(ccw == is_exterior, outlines.nucleus_start[:-1])
    return same_way & (np.maximum.reduceat(far, first) <= tolerance * (1 + 1e-9))


def _distances(
    points: NDArray[np.float64],
    start: NDArray[np.int64],
    kept: NDArray[np.bool_],
    kept_start: NDArray[np.int64],
) -> NDArray[np.float64]:
    """From each corner to the line between the kept ones before and after it, float64 `[N]`.

    A line's points are as near to the outline as the corners are to the line.

    Args:
        points: float64 `[N, 2]`, the corners.
        start: int64 `[R + 1]`, where the rings begin.
        kept: bool `[N]`, at least one of each ring.
        kept_start: int64 `[R + 1]`, the same of the kept ones.
    """
    lengths = np.diff(start)
    begin, end = np.repeat(kept_start[:-1], lengths), np.repeat(kept_start[1:], lengths)
    before = np.cumsum(kept) - 1  # the last kept one up to here, of the ring before for those at its start
    after = np.where(before + 1 < end, before + 1, begin)
    before = np.where(before < begin, end - 1, before)
    corners = points[kept]
    one, along = corners[before], corners[after] - corners[before]
    squared = np.maximum((along**2).sum(axis=1), 1e-12)
    part = np.clip(((points - one) * along).sum(axis=1) / squared, 0, 1)
    return np.hypot(*(one + part[:, None] * along - points).T)
