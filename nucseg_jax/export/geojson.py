"""Nuclei as GeoJSON for QuPath: File ▸ Import objects from file, version 0.4 or newer.

What QuPath reads is in its `QuPathTypeAdapters.java`; the documents are RFC 7946's, with the one liberty that
its section 4 grants by prior arrangement: coordinates are pixels of the slide's base level, x to the right, y
down, from the top left corner of the top left pixel, and not longitude and latitude. Of a slide that QuPath
crops to what was scanned that is the first pixel of the scanned part (`slides.bounds`).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.batches import Batch
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


class GeoJson(Sink):
    """A FeatureCollection, each nucleus a Feature with one valid Polygon, exact to the pixel.

    Nuclei are *detections*, QuPath's kind of object for what an algorithm finds in millions: light, not
    edited by accident, counted and shown by its tables and density maps. Annotations are for hundreds of
    regions drawn by hand and slow in such numbers; a cell needs an outline of its own besides its nucleus's.

    Exteriors are counter-clockwise and holes clockwise by their numbers, as RFC 7946 asks. The area of a
    polygon is that of the mask's pixels. Nothing is smoothed: the outlines of touching nuclei touch, and
    never overlap.

    The `id` is a UUID, from which QuPath knows an object again: made of the slide's name, and of the
    nucleus's number in its last twelve hexadecimal digits.

    Where nuclei were looked for in regions, the property `region` has the name of the first one that holds
    the centroid.

    Args:
        path: of the file.
        frame: the slide.
        name: of the slide, for the ids; and what tells its regions apart.
    """

    def __init__(self, path: Path, frame: Frame, *, name: str) -> None:
        super().__init__(frame)
        self._path = path
        self._features = _Features(_uuid_prefix(name))
        self.makers = (self._features,)
        self._file: BinaryIO
        self._separator = b""

    def _open(self, stack: ExitStack) -> None:
        temporary = stack.enter_context(appearing(self._path))
        self._file = stack.enter_context(temporary.open("wb"))
        self._file.write(b'{"type":"FeatureCollection","features":[')

    def _write(self, batch: Batch) -> None:
        self._file.write(self._separator)
        self._file.write(batch.made(self._features))
        self._separator = b","

    def _finish(self) -> None:
        self._file.write(b"\n]}\n")


@dataclass(frozen=True)
class _Features:
    """A batch's Features, in UTF-8, with commas between them.

    Attributes:
        id: what all ids begin with.
    """

    id: str

    def __call__(self, batch: Batch) -> bytes:
        geometries = _geometries(batch, _coordinates(batch.canvas.frame))
        features = [
            f'\n{{"type":"Feature","id":"{self.id}{number:012x}",'
            f'"geometry":{geometry},"properties":{{"objectType":"detection",'
            f'"classification":{_CLASSIFICATION},"measurements":{values}{region}}}}}'
            for number, geometry, values, region in zip(
                batch.ids.tolist(), geometries, _values(batch), _regions(batch), strict=True
            )
        ]
        return ",".join(features).encode()


_CLASSIFICATION = json.dumps(CLASSIFICATION, separators=(",", ":"))


class _Coordinates:
    """The texts of all coordinates that a slide can have, made once: looked up, they are faster than made.

    Three decimals at most. As rounding keeps the order of coordinates, and keeps apart those of different
    pixels, a polygon with rounded corners is as valid as the exact one.
    """

    def __init__(self, frame: Frame) -> None:
        height, width = frame.network_size
        # The last pixel of the network's level may end past the slide, by less than it is wide.
        across = (min(x * frame.scale, frame.size[1]) for x in range(width + 1))
        down = (min(y * frame.scale, frame.size[0]) for y in range(height + 1))
        self._x = np.array([f"[{_text(x)}," for x in across], dtype=object)
        self._y = np.array([f"{_text(y)}]" for y in down], dtype=object)

    def texts(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> list[str]:
        """Positions in JSON, in base pixels, of points in pixels of the network's level."""
        return (self._x[x] + self._y[y]).tolist()


@lru_cache(maxsize=1)  # a process that makes the text of many batches has those of one slide at a time
def _coordinates(frame: Frame) -> _Coordinates:
    return _Coordinates(frame)


def _text(coordinate: float) -> str:
    return f"{coordinate:.3f}".rstrip("0").rstrip(".")


def _geometries(batch: Batch, coordinates: _Coordinates) -> list[str]:
    """A Polygon in JSON for each nucleus."""
    outlines = batch.outlines
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
    columns = [getattr(batch.measurements, column) for column in MEASUREMENTS.values()]
    complete: NDArray[np.bool_] = ~np.any(np.isnan(columns), axis=0)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        _ALL_VALUES % values if whole else _known_values(values)
        for values, whole in zip(rows, complete.tolist(), strict=True)
    ]


_VALUES = [
    f"{json.dumps(name, ensure_ascii=False)}:{'%d' if column == 'id' else '%.7g'}"
    for name, column in MEASUREMENTS.items()
]
_ALL_VALUES = "{" + ",".join(_VALUES) + "}"


def _known_values(values: tuple[float, ...]) -> str:
    """Without those that are NaN: JSON has no such number, and QuPath fails at null."""
    known = (form % value for form, value in zip(_VALUES, values, strict=True) if not math.isnan(value))
    return "{" + ",".join(known) + "}"


def _uuid_prefix(name: str) -> str:
    """All but the last 12 digits of a UUID of version 8 (RFC 9562: of one's own making)."""
    digits = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-8{digits[12:15]}-8{digits[15:18]}-"
