"""Regions from GeoJSON, as QuPath exports annotations."""

from pathlib import Path

import shapely
from shapely.geometry.base import BaseGeometry

from nucseg_jax.errors import DataError, listed
from nucseg_jax.io.geojson_files import NoArea, area_of, has_lines_or_points, is_area, read_features
from nucseg_jax.regions.regions import Regions

_REMEDY = "Export the annotations in QuPath: File ▸ Export objects as GeoJSON"
_AGAIN = "Draw it again in QuPath, or take it out of the file"
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
    features, sha256 = read_features(path)
    areas: list[tuple[str, BaseGeometry]] = []
    left_out, mended, partly = 0, [], []
    for feature in features:
        if feature.kind in _FOUND_NOT_DRAWN or not is_area(feature.geometry):
            left_out += 1
            continue
        try:
            drawn, area = area_of(feature.geometry)
        except NoArea as error:
            raise DataError(f"{path}: {feature.label}: {error}. {_AGAIN}") from error
        areas.append((feature.name or feature.classification, area))
        if not drawn.is_valid:
            mended.append(feature.label)
        if has_lines_or_points(drawn):
            partly.append(feature.label)
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
    return Regions(_by_name(areas), path=path, sha256=sha256, notes=notes)


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
