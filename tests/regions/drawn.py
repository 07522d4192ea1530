"""GeoJSON of regions, as QuPath writes it."""

import json
from pathlib import Path
from typing import Any


def rectangle(left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    ring = [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]
    return {"type": "Polygon", "coordinates": [ring]}


def feature(geometry: dict[str, Any] | None, name: str | None = None, **properties: Any) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"objectType": "annotation"} | named | properties,
    }


def collection(*features: dict[str, Any]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features)}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
