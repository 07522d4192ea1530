"""The nuclei of a result, read part by part from the best file that it has.

That is nuclei.parquet, which has all; or nuclei.geojson, without some measurements; or nuclei.csv, without
outlines. The local density is added from neighbours.parquet, whose rows are in the same order.
"""

import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import shapely
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.export.geojson import MEASUREMENTS
from nucseg_jax.export.table import MEASURED

DENSITY = "local_density_per_mm2"
COLUMNS = (*(name for name in MEASURED if not name.startswith("centroid_")), DENSITY)
"""Measurements that an index keeps."""

ROWS = 8192
"""Nuclei that are read at once."""

_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, zlib.error),
    *(pa.ArrowException, shapely.errors.ShapelyError),
)
"""What is raised at damaged files."""

_AGAIN = "Run nucseg predict again with --overwrite"
_FILES = ("nuclei.parquet", "nuclei.geojson", "nuclei.geojson.gz", "nuclei.csv")


@dataclass(frozen=True)
class Part:
    """N nuclei.

    Attributes:
      ids: int32 [N].
      object_ids: S36 [N], as QuPath and tables have them.
      centroids: float64 [N, 2], x and y in base pixels.
      columns: float64 [N] by name, of COLUMNS; what was not measured is NaN, or not there.
      outlines: N Polygons in base pixels; None where the file has none.
    """

    ids: NDArray[np.int32]
    object_ids: NDArray[np.bytes_]
    centroids: NDArray[np.float64]
    columns: Mapping[str, NDArray[np.float64]]
    outlines: NDArray[np.object_] | None

    def __len__(self) -> int:
        return len(self.ids)


def source_of(file: Callable[[str], Path | None]) -> Path:
    """The best of a result's files.

    Args:
      file: gives a file of the result by its name; None where there is none.

    Raises:
      DataError: the result has none of them.
    """
    for name in _FILES:
        if (path := file(name)) is not None:
            return path
    raise DataError(
        f"this result has no list of nuclei ({', '.join(_FILES)}). Run nucseg predict again with --formats "
        "parquet and --overwrite"
    )


def read_parts(source: Path, neighbours: Path | None) -> Iterator[Part]:
    """The nuclei in the order of the file, ROWS at once.

    Args:
      source: of `source_of`.
      neighbours: neighbours.parquet, where the result has it.

    Raises:
      DataError: a file is damaged, or they are not of one result.
    """
    readers = {".parquet": _of_parquet, ".csv": _of_csv}
    read = readers.get(source.suffix, _of_geojson)
    try:
        if neighbours is None:
            yield from read(source)
        else:
            yield from _with_density(read(source), neighbours)
    except _DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{source}: cannot be read ({in_short(error)}). {_AGAIN}") from error


def _of_parquet(path: Path) -> Iterator[Part]:
    with path.open("rb") as file:
        table = pyarrow.parquet.ParquetFile(file)
        wanted = ["id", "object_id", "centroid_x_px", "centroid_y_px", "geometry", *COLUMNS]
        names = [name for name in wanted if name in table.schema_arrow.names]
        for batch in table.iter_batches(ROWS, columns=names):
            outlines = None
            if "geometry" in names:
                outlines = shapely.from_wkb(batch.column("geometry").to_numpy(zero_copy_only=False))
            yield _part_of_table(batch, outlines)


def _of_csv(path: Path) -> Iterator[Part]:
    with path.open("rb") as file:
        for batch in pyarrow.csv.open_csv(file, pyarrow.csv.ReadOptions(block_size=4 << 20)):
            yield _part_of_table(batch, None)


def _part_of_table(batch: pa.RecordBatch, outlines: NDArray[np.object_] | None) -> Part:
    def numbers(name: str) -> NDArray[np.float64]:
        return _numbers(batch.column(name))

    return Part(
        numbers("id").astype(np.int32),
        np.array(batch.column("object_id").to_pylist(), dtype="S36"),
        np.stack([numbers("centroid_x_px"), numbers("centroid_y_px")], axis=1),
        {name: numbers(name) for name in COLUMNS if name in batch.schema.names},
        outlines,
    )


def _numbers(column: pa.Array) -> NDArray[np.float64]:
    """float64, NaN for what is null."""
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _of_geojson(path: Path) -> Iterator[Part]:
    """Of our own file, which has a feature a line; the centroid of an outline is that of its pixels."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        if not file.readline().startswith('{"type":"FeatureCollection","features":['):
            raise DataError(f"{path}: is not as nucseg predict writes it. {_AGAIN}")
        while lines := list(itertools.islice(file, ROWS)):
            features = [json.loads(line.rstrip().rstrip(",")) for line in lines if line.startswith("{")]
            if features:
                yield _part_of_features(features)


def _part_of_features(features: list[dict[str, Any]]) -> Part:
    measured = [feature["properties"]["measurements"] for feature in features]
    outlines = shapely.from_geojson([json.dumps(feature["geometry"]) for feature in features])
    columns = {
        column: np.array([values.get(name, np.nan) for values in measured], np.float64)
        for name, column in MEASUREMENTS.items()
        if column in COLUMNS
    }
    return Part(
        np.array([values["Nucleus number"] for values in measured], np.int32),
        np.array([feature["id"] for feature in features], "S36"),
        shapely.get_coordinates(shapely.centroid(outlines)),
        columns,
        outlines,
    )


def _with_density(parts: Iterator[Part], neighbours: Path) -> Iterator[Part]:
    """The same with the local density, which is in another file."""
    with neighbours.open("rb") as file:
        table = pyarrow.parquet.ParquetFile(file)
        batches = table.iter_batches(ROWS, columns=["id", DENSITY])
        ids, density = np.empty(0), np.empty(0)
        for part in parts:
            while len(ids) < len(part):
                batch = next(batches, None)
                if batch is None:
                    break
                more = [_numbers(column) for column in batch.columns]
                ids, density = np.concatenate([ids, more[0]]), np.concatenate([density, more[1]])
            if not np.array_equal(ids[: len(part)], part.ids):
                raise DataError(f"{neighbours}: has not the nuclei of the other files. {_AGAIN}")
            columns = {**part.columns, DENSITY: density[: len(part)]}
            ids, density = ids[len(part) :], density[len(part) :]
            yield Part(part.ids, part.object_ids, part.centroids, columns, part.outlines)
