"""Nuclei as GeoParquet: nuclei.parquet, the table with an outline in each row.

Version 1.1.0 of GeoParquet (geoparquet.org): the column `geometry` has polygons as WKB, in pixels of the
slide's base level as in GeoJSON. They are no places on Earth, so that `crs` is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

import nucseg_jax
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.limits import USUAL_LIMITS
from nucseg_jax.export.measurements import Measurements
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import Shapes, polygons
from nucseg_jax.export.row_groups import RowGroups
from nucseg_jax.export.sinks import Sink
from nucseg_jax.export.summary import FORMAT_VERSION
from nucseg_jax.export.table import COLUMNS, MEASURED, REGION, region_names
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame

if TYPE_CHECKING:
    import pyarrow as pa

GEOMETRY, OWN_KEY = "geometry", "nucseg_jax"

Bounds = tuple[float, float, float, float]
"""The least x and y, and the greatest."""


class ParquetTable(Sink):
    """The columns of `CsvTable` and `geometry`: numbers in full precision, what was not measured null.

    The file's metadata has, beside `geo`, the key `nucseg_jax` with a JSON object (`own_metadata`).

    Args:
        path: of the file.
        frame: the slide.
        slide: its name, for the first column.
        ids: makes the column `object_id`.
        shapes: makes the outlines.
        with_regions: nuclei were looked for in regions.
        rows: of a row group.
    """

    def __init__(
        self,
        path: Path,
        frame: Frame,
        *,
        slide: str,
        ids: ObjectIds,
        shapes: Shapes,
        with_regions: bool = False,
        rows: int = USUAL_LIMITS.rows,
    ) -> None:
        super().__init__(frame)
        self._path = path
        self._slide, self._shapes, self._rows = slide, shapes, rows
        self._columns = _Columns(ids, shapes)
        self.makers = (self._columns,)
        self._schema = _schema(with_regions)
        self._bounds: Bounds | None = None
        self._groups: RowGroups

    def _open(self, stack: ExitStack) -> None:
        temporary = stack.enter_context(appearing(self._path))
        self._groups = RowGroups(temporary, self._schema, stack, self._rows)

    def _write(self, batch: Batch) -> None:
        made = batch.made(self._columns)
        self._groups.add(self._table(made, batch))
        self._bounds = joined(self._bounds, made.bounds)

    def _finish(self) -> None:
        own = own_metadata([of_slide(self._slide, self._frame, self._shapes)])
        self._groups.finish(geo_metadata(self._bounds) | own)

    def _table(self, made: _Made, batch: Batch) -> pa.Table:
        import pyarrow

        columns: dict[str, Any] = {
            "slide": [self._slide] * len(batch),
            "object_id": made.object_ids,
            GEOMETRY: _binary(made.wkb, made.wkb_start),
        }
        columns |= {name: getattr(made.measurements, name) for name in ("id", *MEASURED)}
        if REGION in self._schema.names:
            columns[REGION] = region_names(batch)
        arrays = [
            column
            if isinstance(column := columns[field.name], pyarrow.Array)
            else pyarrow.array(column, type=field.type, from_pandas=True)  # NaN becomes null
            for field in self._schema
        ]
        return pyarrow.table(arrays, schema=self._schema)


def geo_metadata(bounds: Bounds | None) -> dict[str, Any]:
    """GeoParquet's own metadata of a file; None: it has no nucleus."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None,
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    if bounds is not None:
        column["bbox"] = list(bounds)
    return {"geo": {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}}


def own_metadata(slides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the file says of itself: format_version and version of nucseg_jax; slides (`of_slide`)."""
    return {
        OWN_KEY: {
            "format_version": FORMAT_VERSION,
            "version": nucseg_jax.__version__,
            "slides": list(slides),
        }
    }


def of_slide(slide: str, frame: Frame, shapes: Shapes) -> dict[str, Any]:
    """What the file says of a slide; see `nuclei.Frame` and `polygons.Shapes`."""
    return {
        "slide": slide,
        "size_px": list(frame.size),
        "mpp": frame.mpp,
        "network_mpp": frame.network_mpp,
        "offset_px": {"x": frame.offset[1], "y": frame.offset[0]},
        "simplify_um": shapes.simplify_um,
    }


def joined(one: Bounds | None, other: Bounds | None) -> Bounds | None:
    """What holds both."""
    if one is None or other is None:
        return other if one is None else one
    return (*map(min, one[:2], other[:2]), *map(max, one[2:], other[2:]))  # type: ignore[return-value]


@dataclass(frozen=True)
class _Made:
    """What is written of a batch.

    Attributes:
        measurements: of its nuclei.
        object_ids: of each.
        wkb: the polygons, one after the other.
        wkb_start: int32 `[M + 1]`, where each begins, and the end.
        bounds: of all.
    """

    measurements: Measurements
    object_ids: list[str]
    wkb: bytes
    wkb_start: NDArray[np.int32]
    bounds: Bounds


@dataclass(frozen=True)
class _Columns:
    ids: ObjectIds
    shapes: Shapes

    def __call__(self, batch: Batch) -> _Made:
        made = polygons(batch.made(self.shapes), batch.canvas.frame)
        texts = shapely.to_wkb(made, byte_order=1).tolist()
        start = np.cumsum([0, *map(len, texts)], dtype=np.int32)
        left, top, right, bottom = shapely.total_bounds(made).tolist()
        return _Made(
            batch.measurements, batch.made(self.ids), b"".join(texts), start, (left, top, right, bottom)
        )


def _binary(content: bytes, start: NDArray[np.int32]) -> pa.Array:
    import pyarrow

    buffers = [None, pyarrow.py_buffer(start), pyarrow.py_buffer(content)]
    return pyarrow.Array.from_buffers(pyarrow.binary(), len(start) - 1, buffers)


def _schema(with_regions: bool) -> pa.Schema:
    import pyarrow

    kinds = {
        "slide": pyarrow.string(),
        "id": pyarrow.int32(),
        "object_id": pyarrow.string(),
        "touches_border": pyarrow.bool_(),
        REGION: pyarrow.string(),
        GEOMETRY: pyarrow.binary(),
    }
    names = [*COLUMNS, *([REGION] if with_regions else []), GEOMETRY]
    return pyarrow.schema([(name, kinds.get(name, pyarrow.float64())) for name in names])
