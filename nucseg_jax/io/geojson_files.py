"""Features of GeoJSON files as QuPath writes them, and the areas of their outlines.

QuPath (0.2 to 0.6; `QuPathTypeAdapters.java`) writes a FeatureCollection, a list of Features or one Feature.
A Feature has a `geometry`, a cell also a `nucleusGeometry` beside it, and in its `properties` the kind of
object (`objectType`; 0.2: `object_type`, or the Java class for `id`), `name`, `classification` (`name`, or a
list `names`), and the objects below it (`childObjects`) where the hierarchy was exported.
"""

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from nucseg_jax.errors import DataError, in_short

REMEDY = "Export the objects in QuPath: File ▸ Export objects as GeoJSON"

REGION = {"name": "Region*", "color": [0, 0, 180]}
"""QuPath's class of regions that mean nothing but where something was done, and its colour there."""

CHILDREN = ("childObjects", "children")
"""Properties of a feature that hold the objects below it."""

FARTHEST = 1e15
"""Pixels from the corner: beyond, numbers are no longer exact to the pixel."""

_LARGEST = 2**30  # bytes of text
# What a gzipped file may hold: QuPath's text is 5 to 20 times as large as its gzip.
_MOST_TIMES, _ALWAYS = 200, 2**26
_LINES_AND_POINTS = ("Point", "MultiPoint", "LineString", "MultiLineString")
_GEOMETRIES = (*_LINES_AND_POINTS, "Polygon", "MultiPolygon", "GeometryCollection")
_JAVA_CLASSES = {
    "PathTileObject": "tile",
    "PathCellObject": "cell",
    "TMACoreObject": "tmaCore",
    "PathDetectionObject": "detection",
    "PathRootObject": "root",
    "PathAnnotationObject": "annotation",
}


class NoArea(ValueError):
    """A geometry is no area.

    Attributes:
      reason: of few, so that features can be counted by it; follows "3 outlines".
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Area(NamedTuple):
    """A geometry as it came, and its area: a valid Polygon or MultiPolygon, not empty."""

    drawn: BaseGeometry
    area: BaseGeometry


@dataclass(frozen=True)
class Feature:
    """An object of QuPath, or what another program wrote as a feature.

    Attributes:
      number: in the file, from 1.
      kind: QuPath's kind of object: "annotation", "detection", "cell", "tile", "tmaCore" or "root".
      name: as given; "" without.
      classification: the name of its class, such as "Region*" or "Tumor: Positive"; "" without.
      geometry: a geometry of GeoJSON that nobody has checked, or None.
      nucleus: the same of a cell's nucleus.
      document: the feature as the file has it, with the objects below it.
    """

    number: int
    kind: str
    name: str
    classification: str
    geometry: Any
    nucleus: Any = None
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        """For messages."""
        name = self.name or self.classification
        return f"feature {self.number} ({in_short(name)})" if name else f"feature {self.number}"


def read_features(path: Path) -> tuple[list[Feature], str]:
    """The features of a file, those below others too, and the SHA-256 of its text.

    Args:
      path: of GeoJSON, gzipped or not, whatever its name: a Feature, a FeatureCollection, bare geometries, or
        a list of these.

    Raises:
      DataError: there is no such file, it cannot be read, is too large or no GeoJSON.
    """
    content = _content(path)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no GeoJSON ({in_short(error)}). {REMEDY}") from error
    try:
        features = [_feature(i, found) for i, found in enumerate(_objects(document, path), 1)]
    except RecursionError as error:
        raise DataError(f"{path}: its features are nested too deeply. {REMEDY}") from error
    return features, hashlib.sha256(content).hexdigest()


def is_area(geometry: Any) -> bool:
    """Whether a geometry is to be an area; what is no geometry at all is taken for one, and fails later."""
    return bool(geometry) and not (isinstance(geometry, dict) and geometry.get("type") in _LINES_AND_POINTS)


def area_of(geometry: Any) -> Area:
    """The area of a geometry of GeoJSON.

    An outline that crosses itself is made valid; the polygons of a collection are one area together.

    Raises:
      NoArea: it cannot be read, has coordinates that are no numbers or beyond `FARTHEST`, or no area.
    """
    try:
        with np.errstate(invalid="ignore"):  # NaN, which is refused below
            drawn = shapely.force_2d(shape(geometry))
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as error:
        reason = "without an outline that can be read"
        raise NoArea(f"has no outline that can be read ({in_short(error)})", reason) from error
    if not (np.abs(shapely.get_coordinates(drawn)) <= FARTHEST).all():  # NaN is not, either
        reason = f"with coordinates that are no numbers, or beyond ±{FARTHEST:.0e}"
        raise NoArea(f"has {reason.removeprefix('with ')}", reason)
    valid = drawn if drawn.is_valid else shapely.make_valid(drawn, method="structure", keep_collapsed=False)
    area = valid if valid.geom_type == "Polygon" else shapely.union_all(_polygons(valid))
    if not area.area:
        why = "it has no polygon" if drawn.is_valid else shapely.is_valid_reason(drawn)
        raise NoArea(f"its outline holds no area ({why})", "whose outline holds no area")
    return Area(drawn, area)


def has_lines_or_points(geometry: BaseGeometry) -> bool:
    """Whether there is something else in a geometry than polygons."""
    parts = getattr(geometry, "geoms", None)
    if parts is None:
        return geometry.geom_type != "Polygon"
    return any(map(has_lines_or_points, parts))


def _polygons(geometry: BaseGeometry) -> list[BaseGeometry]:
    """The Polygons in a geometry, those in collections too."""
    if geometry.geom_type == "Polygon":
        return [geometry]
    return [polygon for part in getattr(geometry, "geoms", ()) for polygon in _polygons(part)]


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read(_LARGEST + 1)
        if not packed.startswith(b"\x1f\x8b"):
            most, content = _LARGEST, packed
        else:
            most = min(_LARGEST, max(_ALWAYS, _MOST_TIMES * len(packed)))
            content = gzip.GzipFile(fileobj=io.BytesIO(packed)).read(most + 1)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file. {REMEDY}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({in_short(error)}). {REMEDY}") from error
    if len(content) > most:
        raise DataError(
            f"{path}: holds more than {most / 2**20:,.0f} MiB of text, which is more than is read. Export "
            "fewer objects, or without their measurements"
        )
    return content


def _objects(document: Any, path: Path) -> Iterator[Mapping[str, Any]]:
    """All features of a document, as JSON has them; what is in no feature is made one."""
    if isinstance(document, list):
        for part in document:
            yield from _objects(part, path)
        return
    kind = document.get("type") if isinstance(document, dict) else None
    if kind == "FeatureCollection" and isinstance(document.get("features"), list):
        yield from _objects(document["features"], path)
    elif kind == "Feature" and isinstance(document.get("geometry"), dict | None):
        yield document
        if children := _property(document, *CHILDREN):
            yield from _objects(children if isinstance(children, list) else [], path)
    elif isinstance(kind, str) and kind in _GEOMETRIES:
        yield {"geometry": document}
    else:
        raise DataError(
            f"{path}: is no GeoJSON: a Feature, FeatureCollection or geometry is needed, got "
            f"{in_short(json.dumps(document)[:200], 60)}. {REMEDY}"
        )


def _feature(number: int, found: Mapping[str, Any]) -> Feature:
    kind = _property(found, "objectType", "object_type", "type")
    if not kind and isinstance(found.get("id"), str):
        kind = found["id"] if found["id"] in _JAVA_CLASSES else None
    classification = _property(found, "classification")
    if isinstance(classification, dict):
        parts = classification.get("names")
        joined = ": ".join(map(str, parts)) if isinstance(parts, list) else ""
        classification = classification.get("name") or joined
    return Feature(
        number,
        _known_kind(kind),
        _text(_property(found, "name")),
        _text(classification),
        found.get("geometry"),
        found.get("nucleusGeometry"),
        found,
    )


def _known_kind(kind: Any) -> str:
    """QuPath's kind of object; what it does not know, it takes for an annotation."""
    kind = _JAVA_CLASSES.get(kind, kind) if isinstance(kind, str) else ""
    kind = "tmaCore" if kind == "tma_core" else kind
    return kind if kind in _JAVA_CLASSES.values() else "annotation"


def _property(feature: Mapping[str, Any], *keys: str) -> Any:
    """The value of the first of some keys that there is; None without."""
    properties = feature.get("properties")
    if not isinstance(properties, dict):
        return None
    return next((properties[key] for key in keys if properties.get(key)), None)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return value.strip().encode("utf-8", "replace").decode()
