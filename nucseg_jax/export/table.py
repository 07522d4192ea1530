"""Nuclei as a table: nuclei.csv, and nuclei.parquet.

Columns, their units and definitions: `measurements.Measurements`. Where nuclei were looked for in regions, a
last column `region` has the name of the first one that holds the centroid.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.measurements import Measurements
from nucseg_jax.export.sinks import Sink
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

COLUMNS = tuple(field.name for field in fields(Measurements))
REGION = "region"

_FORMATS = {"id": "%d", "touches_border": "%d"}
_LENGTH, _RATIO = "%.3f", "%.4f"
"""Pixels and µm to the nanometre or so, ratios to four decimals: finer than any segmentation."""


class CsvTable(Sink):
    """A row of comma-separated values for each nucleus, below a row of names.

    `touches_border` is 0 or 1; what was not measured of the stains is empty.

    Args:
        path: of the file.
        frame: the slide.
        with_regions: nuclei were looked for in regions.
    """

    def __init__(self, path: Path, frame: Frame, *, with_regions: bool = False) -> None:
        super().__init__(frame)
        self._path = path
        self._columns = (*COLUMNS, REGION) if with_regions else COLUMNS
        self._lines = _csv_lines_with_region if with_regions else _csv_lines
        self.makers = (self._lines,)
        self._file: BinaryIO

    def _open(self, stack: ExitStack) -> None:
        temporary = stack.enter_context(appearing(self._path))
        self._file = stack.enter_context(temporary.open("wb"))
        self._file.write((",".join(self._columns) + "\n").encode())

    def _write(self, batch: Batch) -> None:
        self._file.write(batch.made(self._lines))


def _form(name: str) -> str:
    """How a value of a column is written."""
    return _FORMATS.get(name, _LENGTH if name.endswith(("_px", "_um", "_um2")) else _RATIO)


_FORMS = tuple(map(_form, COLUMNS))
_LINE = ",".join(_FORMS) + "\n"


def _csv_lines(batch: Batch) -> bytes:
    """A batch's nuclei as text."""
    return "".join(_lines(batch)).encode()


def _csv_lines_with_region(batch: Batch) -> bytes:
    """The same with the column `region`."""
    names = map(_quoted, _region_names(batch))
    return "".join(f"{line[:-1]},{name}\n" for line, name in zip(_lines(batch), names, strict=True)).encode()


def _region_names(batch: Batch) -> list[str]:
    """The name of the first region that holds each nucleus; "" where none does."""
    return [names[0] if names else "" for names in batch.canvas.regions]


def _lines(batch: Batch) -> Iterator[str]:
    columns = [getattr(batch.measurements, name).tolist() for name in COLUMNS]
    return map(_line, zip(*columns, strict=True))


def _quoted(text: str) -> str:
    """A text as a value of CSV (RFC 4180)."""
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


def _line(values: tuple[float, ...]) -> str:
    """A nucleus as text; without what was not measured."""
    return (_LINE % values).replace("nan", "")


class ParquetTable(Sink):
    """The same as a Parquet file: numbers in full precision, what was not measured null.

    Args:
        path: of the file.
        frame: the slide.
        with_regions: nuclei were looked for in regions.
    """

    def __init__(self, path: Path, frame: Frame, *, with_regions: bool = False) -> None:
        super().__init__(frame)
        import pyarrow

        self._path = path
        self.makers = (_measurements,)
        columns = [(name, _arrow_type(name)) for name in COLUMNS]
        if with_regions:
            columns.append((REGION, pyarrow.string()))
        self._schema: pa.Schema = pyarrow.schema(columns)
        self._writer: parquet.ParquetWriter

    def _open(self, stack: ExitStack) -> None:
        import pyarrow.parquet

        temporary = stack.enter_context(appearing(self._path))
        file = stack.enter_context(temporary.open("wb"))  # pyarrow takes no names that are not UTF-8
        self._writer = stack.enter_context(
            pyarrow.parquet.ParquetWriter(file, self._schema, compression="zstd")
        )

    def _write(self, batch: Batch) -> None:
        import pyarrow

        measurements = batch.made(_measurements)
        values = [
            pyarrow.array(getattr(measurements, name), type=self._schema.field(name).type, from_pandas=True)
            for name in COLUMNS  # from_pandas: NaN becomes null
        ]
        if REGION in self._schema.names:
            values.append(pyarrow.array(_region_names(batch), type=pyarrow.string()))
        self._writer.write_table(pyarrow.table(values, schema=self._schema))


def _measurements(batch: Batch) -> Measurements:
    return batch.measurements


def _arrow_type(name: str) -> pa.DataType:
    import pyarrow

    kinds = {"id": pyarrow.int32(), "touches_border": pyarrow.bool_()}
    return kinds.get(name, pyarrow.float64())
