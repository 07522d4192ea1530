"""Nuclei as a table: nuclei.csv. `geoparquet` writes the same columns as Parquet.

`slide`, `id`, `object_id` (as in GeoJSON, where QuPath calls it "Object ID"), and then the other columns of
`measurements.Measurements`, with their units and definitions. Where nuclei were looked for in regions, a last
column `region` has the name of the first one that holds the centroid.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import BinaryIO

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.measurements import Measurements
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame

MEASURED = tuple(field.name for field in fields(Measurements) if field.name != "id")
COLUMNS = ("slide", "id", "object_id", *MEASURED)
REGION = "region"

_LENGTH, _RATIO = "%.3f", "%.4f"
"""Pixels and µm to the nanometre or so, ratios to four decimals: finer than any segmentation."""


class CsvTable(Sink):
    """A row of comma-separated values for each nucleus, below a row of names.

    `touches_border` is 0 or 1; what was not measured of the stains is empty.

    Args:
        path: of the file.
        frame: the slide.
        slide: its name, for the first column.
        ids: makes the column `object_id`.
        with_regions: nuclei were looked for in regions.
    """

    def __init__(
        self, path: Path, frame: Frame, *, slide: str, ids: ObjectIds, with_regions: bool = False
    ) -> None:
        super().__init__(frame)
        self._path = path
        self._columns = (*COLUMNS, REGION) if with_regions else COLUMNS
        self._lines = _Lines(quoted(slide), ids, with_regions)
        self.makers = (self._lines,)
        self._file: BinaryIO

    def _open(self, stack: ExitStack) -> None:
        temporary = stack.enter_context(appearing(self._path))
        self._file = stack.enter_context(temporary.open("wb"))
        self._file.write((",".join(self._columns) + "\n").encode())

    def _write(self, batch: Batch) -> None:
        self._file.write(batch.made(self._lines))


def quoted(text: str) -> str:
    """A text as a value of CSV (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


def region_names(batch: Batch) -> list[str]:
    """The name of the first region that holds each nucleus; "" where none does."""
    return [names[0] if names else "" for names in batch.canvas.regions]


def _form(name: str) -> str:
    """How a value of a column is written."""
    if name == "touches_border":
        return "%d"
    return _LENGTH if name.endswith(("_px", "_um", "_um2")) else _RATIO


_LINE = ",".join(["%d", "%s", *map(_form, MEASURED)])


@dataclass(frozen=True)
class _Lines:
    """A batch's nuclei as text in UTF-8.

    Attributes:
        slide: as it stands in the file.
        ids: of the nuclei.
        with_regions: they have the column `region`.
    """

    slide: str
    ids: ObjectIds
    with_regions: bool

    def __call__(self, batch: Batch) -> bytes:
        measured = batch.measurements
        columns = [measured.id.tolist(), batch.made(self.ids)]
        columns += [getattr(measured, name).tolist() for name in MEASURED]
        # What was not measured is empty; an id has no letter behind f.
        lines = [(_LINE % row).replace("nan", "") for row in zip(*columns, strict=True)]
        ends = (
            [f",{quoted(name)}" for name in region_names(batch)] if self.with_regions else [""] * len(batch)
        )
        return "".join(
            [f"{self.slide},{line}{end}\n" for line, end in zip(lines, ends, strict=True)]
        ).encode()
