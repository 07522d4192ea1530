"""Tables of the same columns, one after the other in one file; no more than some rows are in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.export.geoparquet import GEOMETRY, OWN_KEY, Bounds, geo_metadata, joined, own_metadata
from nucseg_jax.export.row_groups import RowGroups
from nucseg_jax.export.table import REGION
from nucseg_jax.io.names import final
from nucseg_jax.predict.results import SUMMARY

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_REMEDY = "Do this slide again with nucseg predict --overwrite"


def write_csv(target: Path, tables: Sequence[Path], counts: Sequence[int]) -> None:
    """Join CSV tables. Where some have a column `region`, it is empty in the rows of the others.

    Args:
      target: the file to write.
      tables: at least one.
      counts: the rows that each should have.

    Raises:
      DataError: one is damaged, or has other columns or more or fewer rows than it should.
    """
    headers = [_first_line(path) for path in tables]
    header = max(headers, key=len)
    without = header.removesuffix(f",{REGION}\n".encode()) + b"\n"
    with target.open("wb") as file:
        file.write(header)
        for path, found, count in _with_bar(target, tables, headers, counts):
            if found not in (header, without):
                raise _other_columns(path, tables[headers.index(header)])
            rows = 0
            for row in _rows(path):
                file.write(row if found == header else row[:-1] + b",\n")
                rows += 1
            _check_count(path, rows, count)


def write_parquet(target: Path, tables: Sequence[Path], counts: Sequence[int]) -> None:
    """Join Parquet tables, and what their metadata says; a missing `region` is null.

    Args:
      target: the file to write.
      tables: at least one.
      counts: the rows that each should have.

    Raises:
      DataError: one is damaged, or has other columns or more or fewer rows than it should.
    """
    import pyarrow
    from pyarrow import parquet

    schemas = []
    for path in tables:
        with _readable(path):
            schemas.append(parquet.read_schema(path))
    schema = max(schemas, key=len).remove_metadata()
    without = pyarrow.schema([field for field in schema if field.name != REGION])
    bounds: Bounds | None = None
    slides: list[Any] = []
    with ExitStack() as stack:
        groups = RowGroups(target, schema, stack)
        for path, found, count in _with_bar(target, tables, schemas, counts):
            if found.remove_metadata() not in (schema, without):
                raise _other_columns(path, tables[[len(one) for one in schemas].index(len(schema))])
            rows = 0
            for table in _row_groups(path):
                groups.add(_with_region(table, schema))
                rows += table.num_rows
            _check_count(path, rows, count)
            if GEOMETRY in schema.names:
                of_one, of_slides = _metadata(path, found)
                bounds = joined(bounds, of_one)
                slides += of_slides
        groups.finish(geo_metadata(bounds) | own_metadata(slides) if GEOMETRY in schema.names else {})


def _metadata(path: Path, schema: pa.Schema) -> tuple[Bounds | None, list[Any]]:
    """The bounds of a table's outlines, and what it says of its slides."""
    try:
        geo, own = (json.loads(schema.metadata[key]) for key in (b"geo", OWN_KEY.encode()))
        return geo["columns"][GEOMETRY].get("bbox"), own["slides"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: has lost the metadata `geo` or `{OWN_KEY}`. {_REMEDY}") from error


def _with_bar(
    target: Path, tables: Sequence[Path], found: Sequence[T], counts: Sequence[int]
) -> Iterator[tuple[Path, T, int]]:
    """Tables, what is known of each, and the rows that it should have, one by one, with a bar."""
    all_tables = zip(tables, found, counts, strict=True)
    name = final(target).name
    return iter(tqdm(all_tables, total=len(tables), desc=name, unit="slide", disable=None, leave=False))


def _row_groups(path: Path) -> Iterator[pa.Table]:
    from pyarrow import parquet

    with _readable(path), parquet.ParquetFile(path) as file:
        groups = file.num_row_groups
    for i in range(groups):
        with _readable(path), parquet.ParquetFile(path) as file:
            table = file.read_row_group(i)
        yield table


def _with_region(table: pa.Table, schema: pa.Schema) -> pa.Table:
    import pyarrow

    if REGION in schema.names and REGION not in table.column_names:
        nothing = pyarrow.nulls(table.num_rows, pyarrow.string())
        table = table.add_column(schema.get_field_index(REGION), REGION, nothing)
    return table.cast(schema)


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()


def _rows(path: Path) -> Iterator[bytes]:
    """The rows of a CSV table below its names, each with its line end; values may have line breaks."""
    lines: list[bytes] = []
    is_open = False  # a quote was opened and not closed
    with path.open("rb") as table:
        table.readline()
        for line in table:
            lines.append(line)
            is_open ^= line.count(b'"') % 2 == 1
            if not is_open:
                yield _text(path, b"".join(lines))
                lines = []
    if lines:
        raise _damaged(path, "a quote is not closed")


def _text(path: Path, row: bytes) -> bytes:
    """The row, if it is a whole line in UTF-8."""
    try:
        row.decode()
    except UnicodeDecodeError as error:
        raise _damaged(path, in_short(error)) from error
    if not row.endswith(b"\n"):
        raise _damaged(path, "its last row is cut off")
    return row


def _check_count(path: Path, rows: int, count: int) -> None:
    if rows != count:
        raise _damaged(path, f"{rows} rows, where {SUMMARY} counts {count} nuclei")


def _damaged(path: Path, why: str) -> DataError:
    return DataError(f"{path}: is damaged ({why}). {_REMEDY}")


def _other_columns(path: Path, other: Path) -> DataError:
    return DataError(f"{path}: has other columns than {other}. {_REMEDY}")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({in_short(error)}). {_REMEDY}") from error
