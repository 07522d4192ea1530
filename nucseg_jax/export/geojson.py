"""Nuclei as GeoJSON for QuPath: File ▸ Import objects from file, version 0.4 or newer.

What QuPath reads is in its `QuPathTypeAdapters.java`; the documents are RFC 7946's, with the one liberty that
its section 4 grants by prior arrangement: coordinates are pixels of the slide's base level, x to the right, y
down, from the top left corner of the top left pixel, and not longitude and latitude. Of a slide that QuPath
crops to what was scanned that is the first pixel of the scanned part (`slides.bounds`).
"""

from __future__ import annotations

import gzip
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.base_pixels import DECIMALS, base_pixels
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.outlines import Outlines
from nucseg_jax.export.polygons import Shapes
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame

CLASSIFICATION = {"name": "Nucleus", "color": [0, 229, 255]}
"""QuPath's class and its colour: the cyan of `drawing.PREDICTION`, far from the stains."""

MEASUREMENTS = {
    "Nucleus number": "id",
    "Area µm^2": "area_um2",
    "Perimeter µm": "perimeter_um",
    "Circularity": "circularity",
    "Solidity": "solidity",
    "Major axis µm": "major_axis_um",
    "Minor axis µm": "minor_axis_um",
    "Eccentricity": "eccentricity",
    "Hematoxylin density": "hematoxylin_density",
    "Probability": "probability",
    "Hematoxylin contrast": "hematoxylin_contrast",
    "Hematoxylin entropy bits": "hematoxylin_entropy_bits",
    "Eosin ring density": "eosin_ring_density",
}
"""Name in QuPath → column of `Measurements`."""

START, END = b'{"type":"FeatureCollection","features":[', b"\n]}\n"
"""Of a file, before and behind its Features, which have commas between them."""

_LEVEL = 5
"""Of gzip's 1 to 9: 18 % of the size is left. Level 6 takes 1.4 times as long and saves 0.1 % more."""


class GeoJson(Sink):
    """A FeatureCollection, each nucleus a Feature with one valid Polygon, by default exact to the pixel.

    Nuclei are *detections*, QuPath's kind of object for what an algorithm finds in millions: light, not
    edited by accident, counted and shown by its tables and density maps. Annotations are for hundreds of
    regions drawn by hand and slow in such numbers; a cell needs an outline of its own besides its nucleus's.

    Exteriors are counter-clockwise and holes clockwise by their numbers, as RFC 7946 asks. The area of an
    exact polygon is that of the mask's pixels. Nothing is smoothed: the outlines of touching nuclei touch,
    and never overlap. Those that are simplified may (`polygons.simplified`).

    The `id` is a UUID, from which QuPath knows an object again, and which tables have, too.

    Where nuclei were looked for in regions, the property `region` has the name of the first one that holds
    the centroid.

    Args:
        path: of the file.
        frame: the slide.
        ids: makes the ids.
        shapes: makes the outlines.
        compressed: by gzip, which QuPath opens as it is; `path` ends with .gz.
    """

    def __init__(
        self, path: Path, frame: Frame, *, ids: ObjectIds, shapes: Shapes, compressed: bool = False
    ) -> None:
        super().__init__(frame)
        self._path = path
        self._packed = _gzipped if compressed else bytes
        self._features = _Features(ids, shapes, compressed)
        self.makers = (self._features,)
        self._file: BinaryIO
        self._separator = b""

    def _open(self, stack: ExitStack) -> None:
        temporary = stack.enter_context(appearing(self._path))
        self._file = stack.enter_context(temporary.open("wb"))
        self._file.write(self._packed(START))

    def _write(self, batch: Batch) -> None:
        self._file.write(self._separator)
        self._file.write(batch.made(self._features))
        self._separator = self._packed(b",")

    def _finish(self) -> None:
        self._file.write(self._packed(END))


def detection(name: str, geometry: str, measurements: str, more: str = "") -> str:
    """A nucleus as a Feature, in a line of its own.

    Args:
      name: its id, a UUID.
      geometry: in JSON.
      measurements: the same; see `measurement_texts`.
      more: further properties in JSON, with a comma before each.
    """
    return (
        f'\n{{"type":"Feature","id":"{name}","geometry":{geometry},"properties":{{"objectType":"detection",'
        f'"classification":{_CLASSIFICATION},"measurements":{measurements}{more}}}}}'
    )


def annotation(text: str, geometry: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    """What was drawn by hand, or is to be edited, as a Feature.

    Args:
      text: that no other of the file has; its id is made of it, so that the same command gives the same ids.
      geometry: of GeoJSON.
      properties: of QuPath.
    """
    return {
        "type": "Feature",
        "id": named_id(text),
        "geometry": geometry,
        "properties": {"objectType": "annotation", **properties},
    }


def named_id(text: str) -> str:
    """The UUID of an object that no `ObjectIds` names, the same for the same text."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


def measurement_texts(columns: Sequence[NDArray[Any]]) -> list[str]:
    """The measurements of nuclei, a JSON object each, without those that are NaN.

    Args:
      columns: [N] each, those of MEASUREMENTS, in its order.
    """
    complete: NDArray[np.bool_] = ~np.any(np.isnan(columns), axis=0)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        _ALL_VALUES % values if whole else _known_values(values)
        for values, whole in zip(rows, complete.tolist(), strict=True)
    ]


def _gzipped(text: bytes) -> bytes:
    """A member of a gzip file, which may have many one after the other (RFC 1952), whoever makes them."""
    return gzip.compress(text, _LEVEL, mtime=0)


@dataclass(frozen=True)
class _Features:
    """A batch's Features, in UTF-8, with commas between them; see `GeoJson`."""

    ids: ObjectIds
    shapes: Shapes
    compressed: bool

    def __call__(self, batch: Batch) -> bytes:
        geometries = _geometries(batch.made(self.shapes), _coordinates(batch.canvas.frame))
        features = [
            detection(name, geometry, values, region)
            for name, geometry, values, region in zip(
                batch.made(self.ids), geometries, _values(batch), _regions(batch), strict=True
            )
        ]
        text = ",".join(features).encode()
        return _gzipped(text) if self.compressed else text


_CLASSIFICATION = json.dumps(CLASSIFICATION, separators=(",", ":"))


class _Coordinates:
    """The texts of all coordinates that a slide can have, made once: looked up, they are faster than made."""

    def __init__(self, frame: Frame) -> None:
        across, down = (places.tolist() for places in base_pixels(frame))
        self._x = np.array([f"[{_text(x)}," for x in across], dtype=object)
        self._y = np.array([f"{_text(y)}]" for y in down], dtype=object)

    def texts(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> list[str]:
        """Positions in JSON, in base pixels, of points in pixels of the network's level."""
        return (self._x[x] + self._y[y]).tolist()


@lru_cache(maxsize=1)  # a process that makes the text of many batches has those of one slide at a time
def _coordinates(frame: Frame) -> _Coordinates:
    return _Coordinates(frame)


def _text(coordinate: float) -> str:
    return f"{coordinate:.{DECIMALS}f}".rstrip("0").rstrip(".")


def _geometries(outlines: Outlines, coordinates: _Coordinates) -> list[str]:
    """A Polygon in JSON for each nucleus."""
    corners = coordinates.texts(outlines.x, outlines.y)
    start = outlines.ring_start.tolist()
    rings = [f"[{','.join(corners[a:b])},{corners[a]}]" for a, b in zip(start[:-1], start[1:], strict=True)]
    first = outlines.nucleus_start.tolist()
    return [
        f'{{"type":"Polygon","coordinates":[{",".join(rings[a:b])}]}}'
        for a, b in zip(first[:-1], first[1:], strict=True)
    ]


def _regions(batch: Batch) -> list[str]:
    """The property `region` of each nucleus, with a comma before it; "" where there are no regions."""
    return [
        f',"region":{json.dumps(names[0], ensure_ascii=False)}' if names else ""
        for names in batch.canvas.regions
    ]


def _values(batch: Batch) -> list[str]:
    """The measurements of each nucleus as a JSON object."""
    return measurement_texts([getattr(batch.measurements, column) for column in MEASUREMENTS.values()])


_VALUES = [
    f"{json.dumps(name, ensure_ascii=False)}:{'%d' if column == 'id' else '%.7g'}"
    for name, column in MEASUREMENTS.items()
]
_ALL_VALUES = "{" + ",".join(_VALUES) + "}"


def _known_values(values: tuple[float, ...]) -> str:
    """Without those that are NaN: JSON has no such number, and QuPath fails at null."""
    known = (form % value for form, value in zip(_VALUES, values, strict=True) if not math.isnan(value))
    return "{" + ",".join(known) + "}"
