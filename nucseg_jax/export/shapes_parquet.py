"""Outlines in the Parquet file that SpatialData keeps shapes in, written as they come.

`SpatialData.write` takes all polygons at once, and then holds them three times: 7 KB a nucleus. Here
geopandas makes the rows of some thousand nuclei at a time, and one file has them all.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa
    from geopandas import GeoDataFrame
    from pyarrow import parquet


class ShapesParquet:
    """A GeoParquet file of polygons and their index; it is closed when the `with` block ends.

    Args:
        path: of the file; there is none without polygons.
        rows_at_once: how many rows at least go to the file together, and wait in memory until then.

    Attributes:
        first: the first row, as geopandas has it; None before there is one.
    """

    def __init__(self, path: Path, rows_at_once: int) -> None:
        self.first: GeoDataFrame | None = None
        self._path, self._rows_at_once = path, rows_at_once
        self._ids: list[NDArray[np.int64]] = []
        self._polygons: list[NDArray[np.object_]] = []
        self._stack = ExitStack()
        self._writer: parquet.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def add(self, ids: NDArray[np.int64], shapes: NDArray[np.object_]) -> None:
        """Take polygons of shapely; they may be written later, with others."""
        self._ids.append(ids)
        self._polygons.append(shapes)
        if sum(map(len, self._ids)) >= self._rows_at_once:
            self._write()

    def finish(self) -> None:
        """Write the rest; nothing can be added after it."""
        self._write()
        self._stack.close()

    def _write(self) -> None:
        from geopandas import GeoDataFrame
        from pyarrow import parquet

        if not self._ids:
            return
        rows = GeoDataFrame(geometry=np.concatenate(self._polygons), index=np.concatenate(self._ids))
        self._ids, self._polygons = [], []
        table = _as_stored(rows)
        if self._writer is None:
            self.first = rows.iloc[:1].copy()
            file = self._stack.enter_context(self._path.open("wb"))
            self._writer = self._stack.enter_context(
                parquet.ParquetWriter(file, table.schema, compression="zstd")
            )
        self._writer.write_table(table)


def _as_stored(rows: GeoDataFrame) -> pa.Table:
    """What geopandas writes of rows, with its metadata, but without their bounding box: others follow."""
    from pyarrow import parquet

    buffer = BytesIO()
    rows.to_parquet(buffer, compression=None)
    buffer.seek(0)
    table = parquet.read_table(buffer)
    metadata = dict(table.schema.metadata)
    geo = json.loads(metadata[b"geo"])
    for column in geo["columns"].values():
        column.pop("bbox", None)
    return table.replace_schema_metadata(metadata | {b"geo": json.dumps(geo).encode()})
