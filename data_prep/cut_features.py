"""The features of a piece of a slide: those of the slide, in the piece's pixels.

All else stays as it is, properties that nobody here knows, too, with three exceptions. Objects below others
stand beside them. `bbox` is left out. A region without a class gets the class Region*: what was detected in
it makes it a region (`geojson_objects`, rule 4), and that may not all be in the piece.

Where pixels stay as large, coordinates within the piece lose nothing: floating point has these differences
exactly.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from nucseg_jax.io.geojson_files import CHILDREN, REGION, Feature

_GEOMETRIES = ("geometry", "nucleusGeometry")


class _Place(NamedTuple):
    """Of a piece: see `text_of`."""

    left: int
    top: int
    scale: float


def text_of(
    features: Iterable[Feature], regions: frozenset[int], *, left: int, top: int, scale: float = 1.0
) -> str:
    """GeoJSON of a piece.

    Args:
      features: of the piece, in the slide's base pixels.
      regions: the numbers of those of them that are regions.
      left, top: of the piece, in its own pixels from the slide's corner.
      scale: pixels of the piece a base pixel.
    """
    place = _Place(left, top, scale)
    shifted = (_shifted(feature, feature.number in regions, place) for feature in features)
    lines = ",\n".join(map(json.dumps, shifted))
    return f'{{"type": "FeatureCollection", "features": [\n{lines}\n]}}\n'


def _shifted(feature: Feature, is_region: bool, place: _Place) -> dict[str, Any]:
    properties = feature.document.get("properties")
    known = properties if isinstance(properties, dict) else {}
    kept = {key: value for key, value in known.items() if key not in CHILDREN}
    if is_region and not feature.classification:
        kept["classification"] = REGION
    geometries = {key: _moved(feature.document[key], place) for key in _GEOMETRIES if key in feature.document}
    others = {key: value for key, value in feature.document.items() if key != "bbox"}
    return {"type": "Feature"} | others | geometries | {"properties": kept}


def _moved(geometry: Any, place: _Place) -> Any:
    """A geometry of GeoJSON; what is none stays as it is."""
    if not isinstance(geometry, Mapping):
        return geometry
    moved = {key: value for key, value in geometry.items() if key != "bbox"}
    if "coordinates" in moved:
        moved["coordinates"] = _moved_points(moved["coordinates"], place)
    if isinstance(moved.get("geometries"), list):
        moved["geometries"] = [_moved(part, place) for part in moved["geometries"]]
    return moved


def _moved_points(points: Any, place: _Place) -> Any:
    """A point, or a list of points or of such lists."""
    if not isinstance(points, list):
        return points
    if len(points) > 1 and all(isinstance(value, int | float) for value in points[:2]):
        return [points[0] * place.scale - place.left, points[1] * place.scale - place.top, *points[2:]]
    return [_moved_points(part, place) for part in points]
