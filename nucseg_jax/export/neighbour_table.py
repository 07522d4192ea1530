"""How nuclei lie to each other as tables: neighbours.csv and neighbours.parquet.

Tables of their own, since a nucleus's neighbours are known when the last nucleus is, and `nuclei.csv` and
`nuclei.parquet` are written as nuclei are found. Their rows have the same `slide` and `id`, in the same
order.

Columns, their units and definitions: `neighbours.Neighbours`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path

from numpy.typing import NDArray

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.centroids import Centroids
from nucseg_jax.export.neighbours import Neighbours, find_neighbours
from nucseg_jax.export.row_groups import RowGroups
from nucseg_jax.export.sinks import Sink
from nucseg_jax.export.table import quoted
from nucseg_jax.export.tissue_area import TissueArea
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.files import appearing
from nucseg_jax.nuclei import Frame

NEIGHBOUR_COLUMNS = ("slide", "id", *(field.name for field in fields(Neighbours)))

_FORMS = {"id": "%d", "delaunay_degree": "%.0f", "local_density_per_mm2": "%.1f"}
_LINE = ",".join(_FORMS.get(name, "%.3f") for name in NEIGHBOUR_COLUMNS[1:]) + "\n"
_ROWS_AT_ONCE = 1 << 16


class NeighbourTable(Sink):
    """A row for each nucleus, as text and as Parquet; what is not known is empty, and null.

    It holds the centroids of all nuclei, 20 bytes each, and at the end about 700 bytes a nucleus.

    Args:
        csv: path of the text.
        parquet: path of the Parquet file.
        frame: the slide.
        slide: its name, for the first column.
        tissue: that was analysed.
    """

    def __init__(self, csv: Path, parquet: Path, frame: Frame, *, slide: str, tissue: TissueArea) -> None:
        super().__init__(frame)
        self._path, self._parquet = csv, parquet
        self._slide = slide
        self._temporary: tuple[Path, Path]
        self._tissue = tissue
        self._centroids = Centroids()

    def _open(self, stack: ExitStack) -> None:
        csv, parquet = (stack.enter_context(appearing(path)) for path in (self._path, self._parquet))
        self._temporary = csv, parquet

    def _write(self, batch: Batch) -> None:
        self._centroids.add(batch)

    def _finish(self) -> None:
        csv, parquet = self._temporary
        found = find_neighbours(self._centroids.points_um, self._tissue)
        columns = [self._centroids.ids, *(getattr(found, field.name) for field in fields(Neighbours))]
        _write_csv(csv, self._slide, columns)
        with named_when_full(self._parquet):
            _write_parquet(parquet, self._slide, columns)


def _write_csv(path: Path, slide: str, columns: list[NDArray]) -> None:
    start_of_line = f"{quoted(slide)},"
    with path.open("wb") as file:
        file.write((",".join(NEIGHBOUR_COLUMNS) + "\n").encode())
        for start in range(0, len(columns[0]), _ROWS_AT_ONCE):
            rows = zip(*(column[start : start + _ROWS_AT_ONCE].tolist() for column in columns), strict=True)
            lines = [start_of_line + (_LINE % row).replace("nan", "") for row in rows]
            file.write("".join(lines).encode())


def _write_parquet(path: Path, slide: str, columns: list[NDArray]) -> None:
    import pyarrow

    values = [pyarrow.array(column, from_pandas=True) for column in columns]  # NaN becomes null
    slides = pyarrow.repeat(pyarrow.scalar(slide), len(columns[0]))
    table = pyarrow.table([slides, *values], names=list(NEIGHBOUR_COLUMNS))
    with ExitStack() as stack:
        groups = RowGroups(path, table.schema, stack)
        groups.add(table)
        groups.finish({})
