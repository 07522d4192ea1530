"""Several outlines become one: what the page shows when nuclei are merged."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from nucseg_jax.errors import UserError
from nucseg_jax.io.geojson_files import NoArea, area_of

MOST_OUTLINES, MOST_POINTS = 100, 10_000
_NARROWEST_PX = 0.25  # the first bridge that is tried, half its width
_HELP = f'give {{"outlines": [[[x, y], …], …]}}: 2 to {MOST_OUTLINES}, of at most {MOST_POINTS:,} points'


def merged_outline(outlines: list[BaseGeometry]) -> list[list[float]]:
    """The outline of several nuclei together.

    Gaps are bridged by a closing (Serra, Image Analysis and Mathematical Morphology, 1982) with the smallest
    of the radii 0.25, 0.5, 1, … pixels that leaves one piece. Holes are filled.

    Args:
      outlines: areas in base pixels.

    Returns:
      x and y of the corners, not closed.

    Raises:
      UserError: a gap is wider than the nuclei are.
    """
    together = shapely.union_all(outlines)
    widest = float(np.sqrt(max(outline.area for outline in outlines)))
    radius, merged = _NARROWEST_PX, together
    while not isinstance(merged, shapely.Polygon):
        if radius > widest:
            raise UserError("the nuclei are too far apart to be merged: draw the outline instead")
        merged = together.buffer(radius).buffer(-radius)
        radius *= 2
    corners: list[list[float]] = shapely.get_coordinates(merged.exterior)[:-1].tolist()
    return corners


def read_outlines(document: object) -> list[BaseGeometry]:
    """The outlines that a client sends.

    Raises:
      UserError: they cannot be read, or one holds no area.
    """
    rings = document.get("outlines") if isinstance(document, Mapping) else None
    if not isinstance(rings, list) or not 2 <= len(rings) <= MOST_OUTLINES:
        raise UserError(f"the outlines cannot be read: {_HELP}")
    return [_area(ring) for ring in rings]


def _area(ring: Any) -> BaseGeometry:
    try:
        points = np.array(ring, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the outlines cannot be read: {_HELP}") from error
    if points.ndim != 2 or points.shape[1] != 2 or not 3 <= len(points) <= MOST_POINTS:
        raise UserError(f"the outlines cannot be read: {_HELP}")
    try:
        return area_of({"type": "Polygon", "coordinates": [[*points.tolist(), points[0].tolist()]]}).area
    except NoArea as error:
        raise UserError(f"an outline {error}: draw the outline instead") from error
