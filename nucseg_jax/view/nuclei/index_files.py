"""The files of an index of nuclei: arrays as they lie in memory, which are mapped and not read.

An index is a folder. `index.json` has what holds for all nuclei (`About`); of the arrays those of LEVELS
outlines are named with the level's number.

A ring has its points without the repetition of the first. A point is kept as uint16 from the corner of its
nucleus's bounds, in units of the nucleus (`unit_px`): 1/16 pixel for all but giants.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import DataError
from nucseg_jax.io.json_files import read_json

VERSION = 1
"""Raised when an older index would be read wrongly."""

ABOUT = "index.json"

TOLERANCES_PX = (0.0, 1.0, 3.0)
"""How far the outlines of each level may be from those of the files, in base pixels; twice as far where a
ring begins."""

ARRAYS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "ids": ("<i4", ()),
    "object_ids": ("S36", ()),
    "centroids": ("<f4", (2,)),
    "bounds": ("<f4", (4,)),
    "order": ("<i4", ()),
    "cell_start": ("<i4", ()),
}
"""Name → type, and the shape of an element. Bounds are left, top, right, bottom."""

LEVEL_ARRAYS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "ring_start": ("<u4", ()),
    "point_start": ("<u4", ()),
    "points": ("<u2", (2,)),
}
"""The same of each level: the first ring of each nucleus, the first point of each ring, and the points."""

TOLD, ANNOTATED = "told.json", "annotated"
"""Files of a truth's index: notes, and the pixels that are annotated, which is not there where all are."""

_REMEDY = "Delete this folder, which is made again"
_UNIT_PX, _MOST_UNITS = 1 / 16, 65535


class About(NamedTuple):
    """What holds for all nuclei.

    Attributes:
      version: of the files.
      nuclei: how many.
      columns: measurements that are there, each an array float64 [nuclei].
      levels: of outlines; 0 where the result has none.
      cell_px: side of the squares that `order` is sorted by, in base pixels.
      cells: their rows and columns.
      reach_px: how far an outline is from its centroid at most, along an axis.
      ranges: column → its quantiles (`index_building.QUANTILES`); empty where nothing was measured.
    """

    version: int
    nuclei: int
    columns: list[str]
    levels: int
    cell_px: int
    cells: list[int]
    reach_px: float
    ranges: dict[str, list[float]]


class Told(NamedTuple):
    """What a truth says beside its nuclei.

    Attributes:
      notes: what a user should be told of it.
      annotated: int64 [N, 2], the pixels on which nuclei were annotated, as runs in the order of the slide:
        places (row · width + column) of the first, and after the last; None: all of the slide.
    """

    notes: list[str]
    annotated: NDArray[np.int64] | None


NOTHING_TOLD = Told([], None)


def column_file(name: str) -> str:
    """The file of a measurement."""
    return f"column.{name}"


def level_file(name: str, level: int) -> str:
    """The file of an array of LEVEL_ARRAYS."""
    return f"{name}.{level}"


def mapped(folder: Path, name: str, kind: str, shape: tuple[int, ...] = ()) -> NDArray[Any]:
    """An array on the disk, [N, *shape]; nothing is read before it is looked at."""
    path = folder / name
    if not path.stat().st_size:  # which cannot be mapped
        return np.zeros((0, *shape), kind)
    return np.memmap(path, kind, mode="r").reshape(-1, *shape)


def write_about(folder: Path, about: About) -> None:
    """Write what holds for all nuclei."""
    (folder / ABOUT).write_text(json.dumps(about._asdict()), encoding="utf-8")


def read_about(folder: Path) -> About:
    """Read it.

    Raises:
      DataError: it cannot be read.
    """
    try:
        return About(**read_json(folder / ABOUT, _REMEDY))
    except TypeError as error:
        raise DataError(f"{folder}: is no index of nuclei. {_REMEDY}") from error


def write_told(folder: Path, told: Told) -> None:
    """Write what a truth says beside its nuclei."""
    (folder / TOLD).write_text(json.dumps(told.notes), encoding="utf-8")
    if told.annotated is not None:
        (folder / ANNOTATED).write_bytes(told.annotated.astype("<i8").tobytes())


def read_told(folder: Path) -> Told:
    """Read it; nothing where an earlier version wrote the index.

    Raises:
      DataError: it cannot be read.
    """
    notes = [str(note) for note in read_json(folder / TOLD, _REMEDY)] if (folder / TOLD).exists() else []
    is_part = (folder / ANNOTATED).exists()
    return Told(notes, mapped(folder, ANNOTATED, "<i8", (2,)) if is_part else None)


def unit_px(bounds: NDArray[np.float32]) -> NDArray[np.float64]:
    """The unit of each nucleus's points, float64 [N], of its bounds, float32 [N, 4]."""
    side = (bounds[:, 2:] - bounds[:, :2]).max(axis=1).astype(np.float64)
    doublings = np.ceil(np.log2(np.maximum(1.0, side / (_UNIT_PX * _MOST_UNITS))))
    units: NDArray[np.float64] = _UNIT_PX * 2.0**doublings
    return units
