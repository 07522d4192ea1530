"""Reads a slide's ground truth, label map or outlines, into an index of its nuclei."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.errors import DataError
from nucseg_jax.evaluation import external
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.io.label_maps import check_areas, check_for_training, pieces_of
from nucseg_jax.nuclei import Frame
from nucseg_jax.view.nuclei.index_building import build
from nucseg_jax.view.nuclei.index_files import Told
from nucseg_jax.view.nuclei.pixel_runs import runs_of_mask
from nucseg_jax.view.truths.label_parts import parts_of

MOST_PX = 1 << 27
"""Of a slide with a truth, which is read as a label map, at up to 25 bytes a pixel."""

OUTLINES = (".geojson", ".geojson.gz", ".json", ".json.gz", ".xml")
"""Endings of files with outlines."""


class Drawing(Protocol):
    """Outlines as they are drawn; `data_prep.annotations.Drawing` is one."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """int32 [height, width], 0 is background."""

    @property
    def unannotated(self) -> NDArray[np.bool_] | None:
        """bool [height, width], True where nobody has looked for nuclei; None: all is annotated."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """Why outlines were skipped → how many."""

    @property
    def told(self) -> Mapping[str, int]:
        """What else a user should be told → of how many objects."""

    def said_of_skipped(self) -> str:
        """How many outlines were skipped, and why."""


DrawOutlines = Callable[[Path, tuple[int, int], float, Sequence[str]], Drawing]
"""Draws the outlines of a file on an image of (height, width), of a µm a pixel, where objects of some classes
are regions. It raises UserError."""


class _Truth(NamedTuple):
    """labels: int32 [height, width]; told: see there."""

    labels: NDArray[np.int32]
    told: Told


def is_outlines(path: Path) -> bool:
    """Whether a file has outlines, by its name."""
    return path.name.lower().endswith(OUTLINES)


def build_truth(
    folder: Path,
    path: Path,
    frame: Frame,
    region_classes: Sequence[str],
    draw_outlines: DrawOutlines | None,
    on_count: Callable[[int], None],
) -> None:
    """Write the index of a truth.

    Args:
      folder: of the index; appears when it is complete.
      path: of a label map (`external.SUFFIXES`), or of OUTLINES.
      frame: of the slide.
      region_classes: names of QuPath's classes of regions, besides Region*.
      draw_outlines: see there; None where outlines cannot be drawn.
      on_count: is told how many nuclei are done.

    Raises:
      UserError: the file cannot be used, or is not of the slide.
    """
    height, width = frame.size
    if height * width > MOST_PX:
        raise DataError(
            f"{path}: its slide has {width} × {height} pixels, and truths are for {MOST_PX:,} at most. "
            "Cut the annotated regions out with nucseg prepare cut, and look at these images"
        )
    if not is_outlines(path):
        truth = _label_map(path, frame)
    elif draw_outlines is None:
        raise DataError(f"{path}: outlines are not read here. Give a label map")
    else:
        truth = _outlines(draw_outlines(path, frame.size, frame.mpp, region_classes))
    ids = ObjectIds.of(path.name, {"truth": True})
    build(folder, parts_of(truth.labels, frame, ids), frame.size, on_count, truth.told)


def _label_map(path: Path, frame: Frame) -> _Truth:
    labels = external.read(path, frame.size)
    check_areas(path, labels)
    check_for_training({path: pieces_of(labels)})
    return _Truth(labels, Told([], None))


def _outlines(drawing: Drawing) -> _Truth:
    notes = [drawing.said_of_skipped()] if drawing.skipped else []
    notes += [f"{what}: {number}" for what, number in drawing.told.items()]
    ignore = drawing.unannotated
    return _Truth(drawing.labels, Told(notes, None if ignore is None else runs_of_mask(~ignore)))
