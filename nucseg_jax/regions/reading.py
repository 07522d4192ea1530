"""Regions from GeoJSON, as QuPath exports annotations."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from nucseg_jax.errors import DataError, in_short, listed
from nucseg_jax.regions.regions import Regions

_REMEDY = "Export the annotations in QuPath: File ▸ Export objects as GeoJSON"
_LINES_AND_POINTS = ("Point", "MultiPoint", "LineString", "MultiLineString")
_GEOMETRIES = (*_LINES_AND_POINTS, "Polygon", "MultiPolygon", "GeometryCollection")
_AGAIN = "Draw it again in QuPath, or take it out of the file"
_FARTHEST = 1e15  # pixels from the slide's corner: beyond, numbers are no longer exact to the pixel
_FOUND_NOT_DRAWN = ("detection", "cell", "tile")  # QuPath's kinds of objects that are no regions


def read_regions(path: Path) -> Regions:
    """The regions in a file.

    A Feature, a FeatureCollection, bare geometries, or a list of these; its areas are Polygons, with holes or
    without, and MultiPolygons. Features of one name are one region together. A name is QuPath's, or else that
    of the class; those that have neither are `region 1`, `region 2`, …

    Args:
      path: of GeoJSON, gzipped or not. Coordinates are pixels of the slide's base level.

    Raises:
      DataError: there is no such file, it is no GeoJSON, a feature has a bad outline, or there is no area.
    """
    content = _content(path)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no GeoJSON ({in_short(error)}). {_REMEDY}") from error
    areas: list[tuple[str, BaseGeometry]] = []
    left_out, mended, partly = 0, [], []
    for number, feature in enumerate(_features(document, path), 1):
        name, label = _name(feature), f"feature {number}"
        label += f" ({in_short(name)})" if name else ""
        if _kind(feature) in _FOUND_NOT_DRAWN or not _is_area(feature["geometry"]):
            left_out += 1
            continue
        drawn, area = _area(feature["geometry"], f"{path}: {label}")
        areas.append((name, area))
        if not drawn.is_valid:
            mended.append(label)
        if _has_lines_or_points(drawn):
            partly.append(label)
    if not areas:
        more = f", only {left_out} objects that are no drawn areas" if left_out else ""
        raise DataError(f"{path}: has no region{more}. {_REMEDY}")
    notes = []
    if mended:
        notes.append(f"regions with an outline that crosses itself, made valid: {listed(mended)}")
    if partly:
        notes.append(
            f"regions with lines or points beside their areas, which were left out: {listed(partly)}"
        )
    if left_out:
        notes.append(f"objects in {path.name} that are no drawn areas, left out: {left_out}")
    return Regions(_by_name(areas), path=path, sha256=hashlib.sha256(content).hexdigest(), notes=notes)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {_REMEDY}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({in_short(error)}). {_REMEDY}") from error


def _features(document: Any, path: Path) -> Iterator[Mapping[str, Any]]:
    """All features of a document; each has a `geometry` and `properties`, which may be None."""
    if isinstance(document, list):
        for part in document:
            yield from _features(part, path)
        return
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        yield from _features(document["features"], path)
    elif kind == "Feature" and isinstance(document.get("geometry"), dict | None):
        yield {"geometry": document.get("geometry"), "properties": document.get("properties")}
    elif kind in _GEOMETRIES:
        yield {"geometry": document, "properties": None}
    else:
        raise DataError(
            f"{path}: is no GeoJSON: a Feature, FeatureCollection or geometry is needed, got "
            f"{in_short(json.dumps(document), 60)}. {_REMEDY}"
        )


def _property(feature: Mapping[str, Any], *keys: str) -> Any:
    """The value of the first of some keys that there is; None without."""
    properties = feature["properties"]
    if not isinstance(properties, dict):
        return None
    return next((properties[key] for key in keys if properties.get(key)), None)


def _kind(feature: Mapping[str, Any]) -> Any:
    return _property(feature, "objectType", "object_type")


def _name(feature: Mapping[str, Any]) -> str:
    """A feature's name, or that of its class; "" without."""
    classification = _property(feature, "classification")
    if isinstance(classification, dict):
        classification = classification.get("name")
    for name in (_property(feature, "name"), classification):
        if isinstance(name, str) and name.strip():
            return name.strip().encode("utf-8", "replace").decode()
    return ""


def _is_area(geometry: Any) -> bool:
    """Whether a geometry is to be an area; what is no geometry at all is taken for one, and fails later."""
    return bool(geometry) and geometry.get("type") not in _LINES_AND_POINTS


def _area(geometry: Any, label: str) -> tuple[BaseGeometry, BaseGeometry]:
    """A geometry as it came, and its area: a valid Polygon or MultiPolygon."""
    try:
        with np.errstate(invalid="ignore"):  # NaN, which is refused below
            drawn = shapely.force_2d(shape(geometry))
    except (ValueError, TypeError, LookupError, AttributeError, shapely.errors.ShapelyError) as error:
        raise DataError(f"{label}: has no outline that can be read ({in_short(error)}). {_AGAIN}") from error
    if not (np.abs(shapely.get_coordinates(drawn)) <= _FARTHEST).all():  # NaN is not, either
        raise DataError(f"{label}: has coordinates that are no numbers, or beyond ±{_FARTHEST:.0e}. {_AGAIN}")
    valid = drawn if drawn.is_valid else shapely.make_valid(drawn, method="structure", keep_collapsed=False)
    area = shapely.union_all(_polygons(valid))
    if not area.area:
        why = "it has no polygon" if drawn.is_valid else shapely.is_valid_reason(drawn)
        raise DataError(f"{label}: its outline holds no area ({why}). {_AGAIN}")
    return drawn, area


def _has_lines_or_points(geometry: BaseGeometry) -> bool:
    parts = getattr(geometry, "geoms", None)
    if parts is None:
        return geometry.geom_type != "Polygon"
    return any(map(_has_lines_or_points, parts))


def _polygons(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The Polygons in a geometry, those in collections too."""
    if geometry.geom_type == "Polygon":
        return [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]


def _by_name(areas: list[tuple[str, BaseGeometry]]) -> dict[str, BaseGeometry]:
    """One area a name, in the order of the file."""
    taken, number = {name for name, _ in areas}, 0
    parts: dict[str, list[BaseGeometry]] = {}
    for given, area in areas:
        name = given
        if not name:
            number += 1
            while (name := f"region {number}") in taken:
                number += 1
        parts.setdefault(name, []).append(area)
    return {name: of[0] if len(of) == 1 else shapely.union_all(of) for name, of in parts.items()}
