"""Parquet in row groups of one size, whatever size the tables are that come."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nucseg_jax.export.limits import USUAL_LIMITS

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

_TEXTS_OF_FEW_KINDS = ["slide", "region"]  # the only columns that a dictionary makes smaller


class RowGroups:
    """A Parquet file that is written in groups of `rows` rows; the last one has fewer.

    Args:
        path: of the file, which is opened now.
        schema: of the tables.
        stack: closes it.
        rows: of a group. As many are held in memory.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, stack: ExitStack, rows: int = USUAL_LIMITS.rows
    ) -> None:
        import pyarrow.parquet

        file: BinaryIO = stack.enter_context(path.open("wb"))  # pyarrow takes no names that are not UTF-8
        self._writer: parquet.ParquetWriter = stack.enter_context(
            pyarrow.parquet.ParquetWriter(
                file,
                schema,
                compression="zstd",
                store_schema=False,  # which would hide from Arrow's readers what `finish` adds
                use_dictionary=[name for name in _TEXTS_OF_FEW_KINDS if name in schema.names],
            )
        )
        self._rows = rows
        self._waiting: list[pa.Table] = []
        self._count = 0

    def add(self, table: pa.Table) -> None:
        """Take some rows; they are written when a group is full."""
        self._waiting.append(table)
        self._count += table.num_rows
        if self._count >= self._rows:
            self._write(self._count - self._count % self._rows)

    def finish(self, metadata: Mapping[str, Any]) -> None:
        """Write the rest.

        Args:
            metadata: of the file: key → what JSON can hold.
        """
        self._write(self._count)
        self._writer.add_key_value_metadata({key: json.dumps(value) for key, value in metadata.items()})

    def _write(self, count: int) -> None:
        import pyarrow

        if not count:
            return
        table = pyarrow.concat_tables(self._waiting)
        self._writer.write_table(table.slice(0, count), row_group_size=self._rows)
        rest = table.slice(count)
        self._waiting, self._count = ([rest] if rest.num_rows else []), rest.num_rows
