"""Corrected nuclei as GeoJSON, which QuPath opens, and `nucseg prepare` takes as annotations.

Its features are those of `export.geojson`: the checked regions, annotations of QuPath's class Region*,
outside of which nothing is annotated; the drawn nuclei, detections without measurements; and the nuclei of
the result that are left, as its own files have them. Drawn ones come first, since a pixel of two nuclei
belongs to the first (`data_prep.geojson_annotations`).
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry
from shapely.geometry.polygon import orient

from nucseg_jax.export.geojson import (
    END,
    MEASUREMENTS,
    START,
    annotation,
    detection,
    measurement_texts,
    named_id,
)
from nucseg_jax.io.files import replacing
from nucseg_jax.io.geojson_files import REGION
from nucseg_jax.view.corrections.document import Corrections
from nucseg_jax.view.corrections.store import area
from nucseg_jax.view.nuclei.sources import Part


def write(
    path: Path, parts: Iterable[Part], corrections: Corrections, *, origin: str, whole_slide: bool
) -> None:
    """Write it, part by part, for bounded memory.

    Args:
      path: of the file, which appears when it is complete.
      parts: the nuclei of the result, with outlines.
      corrections: of the result.
      origin: of the result; ids of what was drawn are made of it.
      whole_slide: all nuclei, and no region, so that the whole slide counts as annotated; otherwise the
        regions, of which there is one at least, and the nuclei that touch one, so that those which a border
        cuts are whole.

    Raises:
      DataError: as the parts.
      DiskFullError: there is no room for it.
    """
    regions = [] if whole_slide else [_counter_clockwise(area(r.polygon)) for r in corrections.regions]
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(START)
        separator = b""
        for texts in _texts(parts, corrections, regions, origin, whole_slide):
            if texts:
                file.write(separator + ",".join(texts).encode())
                separator = b","
        file.write(END)


def _texts(
    parts: Iterable[Part],
    corrections: Corrections,
    regions: Sequence[BaseGeometry],
    origin: str,
    whole_slide: bool,
) -> Iterator[list[str]]:
    """Features, some at once."""
    yield [_region(found, number, origin) for number, found in enumerate(regions, 1)]
    drawn = np.array([_counter_clockwise(area(nucleus.polygon)) for nucleus in corrections.added], object)
    ids = [named_id(f"{origin} drawn nucleus {nucleus.id}") for nucleus in corrections.added]
    rows = range(len(drawn)) if whole_slide else _touching(drawn, regions).tolist()
    yield [detection(ids[row], shapely.to_geojson(drawn[row]), "{}") for row in rows]
    gone = np.array(sorted(corrections.gone()), np.int32)
    for part in parts:
        left = ~np.isin(part.ids, gone)
        assert part.outlines is not None
        if not whole_slide:
            touching = np.zeros(len(part), bool)
            touching[_touching(part.outlines, regions)] = True
            left &= touching
        yield _detections(part, np.flatnonzero(left))


def _region(found: BaseGeometry, number: int, origin: str) -> str:
    """A region as a Feature in a line of its own, locked, so that drawing in it does not change it."""
    name, text = f"Checked {number}", f"{origin} checked region {number}"
    feature = annotation(text, mapping(found), name=name, classification=REGION, isLocked=True)
    return "\n" + json.dumps(feature, separators=(",", ":"))


def _detections(part: Part, rows: NDArray[np.int64]) -> list[str]:
    """Some nuclei of a part."""
    assert part.outlines is not None
    unknown = np.full(len(part), np.nan)
    columns: dict[str, NDArray[Any]] = {"id": part.ids, **part.columns}
    values = [columns.get(column, unknown)[rows] for column in MEASUREMENTS.values()]
    names = [bytes(name).decode("ascii") for name in part.object_ids[rows]]
    geometries = shapely.to_geojson(part.outlines[rows]).tolist()
    return list(map(detection, names, geometries, measurement_texts(values)))


def _touching(outlines: NDArray[np.object_], regions: Sequence[BaseGeometry]) -> NDArray[np.int64]:
    """The rows of outlines that touch a region, in order."""
    if not len(outlines):
        return np.zeros(0, np.int64)
    _, rows = shapely.STRtree(outlines).query(list(regions), predicate="intersects")
    return np.unique(rows)


def _counter_clockwise(found: BaseGeometry) -> BaseGeometry:
    """The same with exteriors counter-clockwise and holes clockwise, as RFC 7946 asks."""
    polygons = [orient(polygon) for polygon in shapely.get_parts(found)]
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
