"""Tables of the same columns, one after the other in one file; no more than some rows are in memory."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.export.geoparquet import GEOMETRY, OWN_KEY, Bounds, geo_metadata, joined, own_metadata
from nucseg_jax.export.row_groups import RowGroups
from nucseg_jax.export.table import REGION, quoted
from nucseg_jax.io.names import final

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

_REMEDY = "Do this slide again with nucseg predict --overwrite"
_COPIED_AT_ONCE = 1 << 20  # bytes


def write_csv(target: Path, tables: Sequence[Path]) -> None:
    """Join CSV tables. Where some have a column `region`, it is empty in the rows of the others.

    Args:
      target: the file to write.
      tables: at least one.

    Raises:
      DataError: one has other columns than the others.
    """
    headers = [_first_line(path) for path in tables]
    header = max(headers, key=len)
    without = header.removesuffix(f",{REGION}\n".encode()) + b"\n"
    with target.open("wb") as file:
        file.write(header)
        for path, found in _with_bar(target, tables, headers):
            if found not in (header, without):
                raise _other_columns(path, tables[headers.index(header)])
            if found == header:
                with path.open("rb") as table:
                    table.readline()
                    shutil.copyfileobj(table, file, _COPIED_AT_ONCE)
            else:
                file.writelines(_lines_with_empty_region(path))


def write_parquet(target: Path, tables: Sequence[Path]) -> None:
    """Join Parquet tables, and what their metadata says; a missing `region` is null.

    Args:
      target: the file to write.
      tables: at least one.

    Raises:
      DataError: one is damaged, or has other columns than the others.
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
        for path, found in _with_bar(target, tables, schemas):
            if found.remove_metadata() not in (schema, without):
                raise _other_columns(path, tables[[len(one) for one in schemas].index(len(schema))])
            for table in _row_groups(path):
                groups.add(_with_region(table, schema))
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


def _with_bar(target: Path, tables: Sequence[Path], found: Sequence[T]) -> Iterator[tuple[Path, T]]:
    """Tables and what is known of each, one by one, with a bar."""
    pairs = zip(tables, found, strict=True)
    name = final(target).name
    return iter(tqdm(pairs, total=len(tables), desc=name, unit="slide", disable=None, leave=False))


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


def _lines_with_empty_region(path: Path) -> Iterator[bytes]:
    """The rows of a CSV table below its names, whose values may have line breaks in them."""
    with path.open(encoding="utf-8", newline="") as table:
        rows = csv.reader(table)
        next(rows)
        for row in rows:
            yield (",".join(map(quoted, row)) + ",\n").encode()


def _other_columns(path: Path, other: Path) -> DataError:
    return DataError(f"{path}: has other columns than {other}. {_REMEDY}")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({in_short(error)}). {_REMEDY}") from error
