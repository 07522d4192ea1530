"""Figures of the nuclei in a drawn region: how many, how dense, how their measurements are spread."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from nucseg_jax.errors import UserError
from nucseg_jax.export.region_areas import region_areas
from nucseg_jax.io.geojson_files import NoArea, area_of
from nucseg_jax.nuclei import Frame
from nucseg_jax.regions import Regions
from nucseg_jax.view.nuclei.index import NucleiIndex, Rectangle
from nucseg_jax.view.nuclei.index_building import QUANTILES
from nucseg_jax.view.results.analysed_tissue import AnalysedTissue

BINS = 30
MOST_POINTS = 10_000
"""Of a drawn polygon."""

_NAME = "drawn region"
_HELP = (
    'give {"rectangle": [left, top, right, bottom]} or {"polygon": [[x, y], …]}, and "unit": "px" (of the '
    'base level) or "um"'
)


def read_region(document: object, frame: Frame) -> Regions:
    """A region that a client has drawn.

    Args:
      document: see `_HELP`.
      frame: of the result.

    Raises:
      UserError: it is none, holds no area, or lies off the slide.
    """
    if not isinstance(document, Mapping) or document.get("unit", "px") not in ("px", "um"):
        raise UserError(f"the region cannot be read: {_HELP}")
    points = _corners(document)
    if document.get("unit") == "um":
        points = points / frame.mpp
    try:
        area = area_of({"type": "Polygon", "coordinates": [[*points.tolist(), points[0].tolist()]]}).area
    except NoArea as error:
        raise UserError(f"the drawn region {error}. Draw it again") from error
    regions = Regions({_NAME: area})
    regions.check_on("the slide", frame.size)
    return regions


def figures(
    index: NucleiIndex, regions: Regions, frame: Frame, tissue: AnalysedTissue | None
) -> dict[str, Any]:
    """What the page shows of a region.

    A nucleus counts where its centroid lies in the region, as in `nucseg predict --roi`.

    Returns:
      count; area_mm2 of the region on the slide; tissue_mm2 in it, None where that is not known; per_mm2,
      None without tissue; per: "tissue", "squares" (`AnalysedTissue`) or "region", what per_mm2 is of;
      measurements: by name mean, median, standard deviation (sd), how many were measured (count), and a
      histogram: edges [BINS + 1], which are the same for all regions of a result, and counts [BINS], with
      those beyond the edges in the first and the last.
    """
    rows = _rows(index, regions)
    area_mm2 = regions.areas_px(frame.size)[_NAME] * (frame.mpp / 1000) ** 2
    tissue_mm2 = None
    if tissue is not None:
        tissue_mm2 = region_areas(regions, frame, tissue.mask)[_NAME].tissue_mm2
    per = area_mm2 if tissue_mm2 is None else tissue_mm2
    return {
        "count": len(rows),
        "area_mm2": area_mm2,
        "tissue_mm2": tissue_mm2,
        "per_mm2": len(rows) / per if per else None,
        "per": "region" if tissue is None else tissue.kind,
        "measurements": {
            name: _spread(index.column(name)[rows], index.about.ranges[name])
            for name in index.about.columns
            if index.about.ranges[name]
        },
    }


def _rows(index: NucleiIndex, regions: Regions) -> NDArray[np.int64]:
    """The nuclei whose centroid lies in a region, on its border, too."""
    area = regions.areas[0]
    rows = index.centred_in(Rectangle(*area.bounds))
    x, y = index.centroids[rows].astype(np.float64).T
    inside: NDArray[np.bool_] = shapely.intersects_xy(area, x, y)
    return rows[inside]


def _spread(values: NDArray[np.float64], quantiles: list[float]) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    low, high = (quantiles[QUANTILES.index(part)] for part in (0.01, 0.99))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    counts, _ = np.histogram(np.clip(known, edges[0], edges[-1]), edges)
    return {
        "count": len(known),
        "mean": float(known.mean()) if len(known) else None,
        "median": float(np.median(known)) if len(known) else None,
        "sd": float(known.std()) if len(known) else None,
        "edges": edges.tolist(),
        "counts": counts.tolist(),
    }


def _corners(document: Mapping[str, Any]) -> NDArray[np.float64]:
    """The corners of what was drawn, float64 [N, 2]."""
    rectangle, polygon = document.get("rectangle"), document.get("polygon")
    try:
        if rectangle is not None and polygon is None:
            left, top, right, bottom = np.array(rectangle, np.float64).tolist()
            return np.array([[left, top], [left, bottom], [right, bottom], [right, top]])
        points = np.array(polygon, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"the region cannot be read: {_HELP}") from error
    if points.ndim != 2 or points.shape[1] != 2 or not 3 <= len(points) <= MOST_POINTS:
        raise UserError(f"the region cannot be read: a polygon has 3 to {MOST_POINTS:,} points of x and y")
    return points
