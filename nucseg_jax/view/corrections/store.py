"""What a user has corrected in a result: nuclei removed, nuclei drawn, regions that are checked.

The page keeps the history for undo; the server keeps the last state, in a file a result. That has a version,
so that two tabs do not overwrite each other's work.

Outlines that cross themselves are kept as they are drawn, and made valid where areas are needed
(`io.geojson_files.area_of`).
"""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from nucseg_jax.errors import DataError, UserError, listed
from nucseg_jax.io.files import write_text
from nucseg_jax.io.geojson_files import NoArea, area_of
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.names import beside
from nucseg_jax.view.corrections.document import Corrections, parsed

_REMEDY = "Delete it, which forgets the corrections of one result, or take it from a backup"


class OutdatedError(UserError):
    """Someone else has saved corrections since."""


class CorrectionStore:
    """The corrections of all results.

    Args:
      folder: for them; made if need be. Temporary files in it that an end of the server has left are
        deleted.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.tmp"):
            path.unlink()
        self._folder = folder
        self._lock = threading.Lock()

    def load(self, result: str, nuclei: str) -> Corrections:
        """The corrections of a result; those of version 0, which is none, where nobody has saved any.

        Args:
          result: its id.
          nuclei: the digest of its nuclei (`NucleiIndex.digest`): corrections name nuclei by their numbers,
            which are others' once the result has been made anew.

        Raises:
          DataError: the file is damaged.
        """
        path = self._path(result, nuclei)
        if not path.exists():
            return Corrections(0, (), (), ())
        try:
            return parsed(read_json(path, _REMEDY))
        except DataError:
            raise
        except UserError as error:
            raise DataError(f"{path}: is damaged ({error}). {_REMEDY}") from error

    def save(self, result: str, nuclei: str, corrections: Corrections) -> int:
        """Replace the corrections of a result.

        Args:
          result, nuclei: see `load`.
          corrections: their version is that which they were made from.

        Returns:
          The new version.

        Raises:
          OutdatedError: that version is not the current one.
          DiskFullError: there is no room; what was saved before stays.
        """
        with self._lock:
            current = self.load(result, nuclei).version
            if corrections.version != current:
                raise OutdatedError(
                    f"the corrections have been saved elsewhere since, as version {current}, and yours were "
                    f"made from {corrections.version}. Load the page again; another tab or window has them"
                )
            new = corrections._replace(version=current + 1)
            write_text(self._path(result, nuclei), json.dumps(new.document(), allow_nan=False))
        return new.version

    def earlier(self, result: str, nuclei: str) -> bool:
        """Whether there are corrections of a result as it was before it has been made anew."""
        return any(path != self._path(result, nuclei) for path in self._folder.glob(f"{result}-*.json"))

    def temporary(self, name: str) -> Path:
        """A new path, NAME.….tmp, for a file that goes once a client has it."""
        return beside(self._folder / name, "tmp")

    def _path(self, result: str, nuclei: str) -> Path:
        return self._folder / f"{result}-{nuclei[:16]}.json"


def check(corrections: Corrections, ids: NDArray[np.int32], size: tuple[int, int]) -> None:
    """Look whether corrections can be of a result.

    Args:
      corrections: see there.
      ids: of the result's nuclei.
      size: (height, width) of the slide in base pixels.

    Raises:
      UserError: they name a nucleus that the result has not; an outline holds no area on the slide.
    """
    gone = np.array(sorted(corrections.gone()), np.int64)
    unknown = gone[~np.isin(gone, ids)]
    if len(unknown):
        names = listed([str(id_) for id_ in unknown.tolist()])
        raise UserError(f"the result has no nucleus {names}. Load the page again")
    for nucleus in corrections.added:
        _check_on_slide(f"the nucleus {nucleus.id}", nucleus.polygon, size)
    for region in corrections.regions:
        _check_on_slide(f"the region {region.id}", region.polygon, size)


def area(polygon: Sequence[Sequence[float]]) -> BaseGeometry:
    """The area of an outline, a valid Polygon or MultiPolygon.

    Args:
      polygon: points of x and y; the first is not repeated at the end, or is.

    Raises:
      NoArea: it holds none.
    """
    return area_of({"type": "Polygon", "coordinates": [[*polygon, polygon[0]]]}).area


def _check_on_slide(what: str, polygon: Sequence[Sequence[float]], size: tuple[int, int]) -> None:
    height, width = size
    points = np.array(polygon)
    far = max(size)
    if not ((points > -far) & (points < np.array([width, height]) + far)).all():
        raise UserError(f"{what} has points far off the slide, which has {width}×{height} pixels")
    try:
        found = area(polygon)
    except NoArea as error:
        raise UserError(f"{what}: {error}. Draw it again") from error
    left, top, right, bottom = found.bounds
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        raise UserError(f"{what} lies off the slide, which has {width}×{height} pixels")
