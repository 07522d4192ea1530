"""The document of corrections, as the page sends it and the server keeps it."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.io.json_files import finite

MOST_NUCLEI = 20_000
"""Removed, and as many drawn."""

MOST_REGIONS = 1_000
MOST_POINTS = 10_000
"""Of an outline."""

_LARGEST_ID = 2**31 - 1
_HELP = (
    'give {"version": the one that you have, "removed": [nucleus id, …], "added": [{"id": "a1", "polygon": '
    '[[x, y], …], "replaces": [nucleus id, …]}], "regions": [{"id": "r1", "polygon": [[x, y], …]}]}'
)

Polygon = tuple[tuple[float, float], ...]
"""Points of x and y, in base pixels; crossing itself or not."""


class DrawnNucleus(NamedTuple):
    """A nucleus that was drawn.

    Attributes:
      id: the page's name of it.
      polygon: its outline.
      replaces: ids of the nuclei that it was made of, which are gone: one that was drawn again, or several
        that are one.
    """

    id: str
    polygon: Polygon
    replaces: tuple[int, ...]


class CheckedRegion(NamedTuple):
    """A region in which somebody has looked at all nuclei; see `DrawnNucleus`."""

    id: str
    polygon: Polygon


class Corrections(NamedTuple):
    """All that was corrected in a result.

    Attributes:
      version: how often they were saved.
      removed: ids of nuclei that are none.
      added: nuclei that were drawn.
      regions: that are checked.
    """

    version: int
    removed: tuple[int, ...]
    added: tuple[DrawnNucleus, ...]
    regions: tuple[CheckedRegion, ...]

    def gone(self) -> set[int]:
        """The ids of nuclei that are removed or replaced."""
        return {*self.removed, *(id_ for nucleus in self.added for id_ in nucleus.replaces)}

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "version": self.version,
            "removed": self.removed,
            "added": [nucleus._asdict() for nucleus in self.added],
            "regions": [region._asdict() for region in self.regions],
        }


def parsed(document: object) -> Corrections:
    """Corrections of a document; what it has besides is not kept.

    Raises:
      UserError: it is none, has too many of something, or numbers that are not finite.
    """
    if not isinstance(document, dict):
        raise UserError(f"the corrections cannot be read: {_HELP}")
    added = tuple(
        DrawnNucleus(*_drawn(found, "added"), _ids(found.get("replaces", []), "replaces"))
        for found in _list(document.get("added"), "added", MOST_NUCLEI)
    )
    regions = tuple(
        CheckedRegion(*_drawn(found, "regions"))
        for found in _list(document.get("regions"), "regions", MOST_REGIONS)
    )
    for name, ids in (("added", [n.id for n in added]), ("regions", [r.id for r in regions])):
        if len(set(ids)) < len(ids):
            raise UserError(f"{name}: two have one id")
    removed = _ids(document.get("removed"), "removed")
    return Corrections(_whole(document.get("version"), "version"), removed, added, regions)


def _drawn(found: object, what: str) -> tuple[str, Polygon]:
    """The id and the outline of something drawn."""
    if not isinstance(found, dict):
        raise UserError(f"{what} cannot be read: {_HELP}")
    id_ = found.get("id")
    if not isinstance(id_, str) or not re.fullmatch("[A-Za-z0-9_-]{1,40}", id_):
        raise UserError(f"{what}: an id has 1 to 40 letters, digits, - and _, got {_told(id_)}")
    points = found.get("polygon")
    if not isinstance(points, list) or not 3 <= len(points) <= MOST_POINTS:
        raise UserError(f"{what} {id_}: a polygon has 3 to {MOST_POINTS:,} points of x and y")
    return id_, tuple(_point(point, f"{what} {id_}") for point in points)


def _point(point: object, what: str) -> tuple[float, float]:
    if isinstance(point, list) and len(point) == 2:
        x, y = (finite(value) for value in point)
        if x is not None and y is not None:
            return x, y
    raise UserError(f"{what}: a point is two finite numbers, [x, y], got {_told(point)}")


def _ids(found: object, what: str) -> tuple[int, ...]:
    """Ids of nuclei, each once, in the order they came."""
    return tuple(dict.fromkeys(_whole(id_, what) for id_ in _list(found, what, MOST_NUCLEI)))


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_ID:
        raise UserError(f"{what}: a whole number from 0 is needed, got {_told(value)}. {_HELP}")
    return value


def _told(value: object) -> str:
    """A wrong value for a message."""
    return type(value).__name__ if isinstance(value, list | dict) else in_short(repr(value), 60)


def _list(found: object, what: str, most: int) -> Sequence[Any]:
    if not isinstance(found, list):
        raise UserError(f"{what}: a list is needed. {_HELP}")
    if len(found) > most:
        raise UserError(f"{what}: {len(found):,} are more than the {most:,} that can be kept")
    return found
