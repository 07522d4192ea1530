"""nuclei.csv; what it and nuclei.parquet have in common."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.geoparquet import ParquetTable
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import Shapes
from nucseg_jax.export.table import COLUMNS, MEASURED, CsvTable
from tests.export.drawn_nuclei import FRAME, SHAPES, leftovers, mask_of, nuclei_of

IDS, NAME = ObjectIds.of("slide.svs", {}), 'nan, "100 %s"'
NUCLEI = nuclei_of([mask_of(name) for name in SHAPES])


def csv_table(path: Path, *, with_regions: bool = False) -> CsvTable:
    return CsvTable(path, FRAME, slide=NAME, ids=IDS, with_regions=with_regions)


def parquet_table(path: Path, *, with_regions: bool = False) -> ParquetTable:
    return ParquetTable(path, FRAME, slide=NAME, ids=IDS, shapes=Shapes(), with_regions=with_regions)


def test_columns():
    assert COLUMNS == (
        "slide",
        "id",
        "object_id",
        "centroid_x_px",
        "centroid_y_px",
        "centroid_x_um",
        "centroid_y_um",
        "area_um2",
        "perimeter_um",
        "circularity",
        "solidity",
        "major_axis_um",
        "minor_axis_um",
        "eccentricity",
        "hematoxylin_density",
        "probability",
        "touches_border",
        "hematoxylin_contrast",
        "hematoxylin_entropy_bits",
        "eosin_ring_density",
    )


def test_csv(tmp_path):
    path = tmp_path / "nuclei.csv"
    with csv_table(path) as sink:
        for nucleus in NUCLEI:
            sink.add(nucleus)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = Batch(NUCLEI, FRAME).measurements
    assert len(rows) == len(NUCLEI)
    for name in MEASURED:
        found = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_allclose(found, getattr(values, name), rtol=0, atol=0.0006, err_msg=name)
    assert [row["slide"] for row in rows] == [NAME] * len(NUCLEI)
    assert [row["object_id"] for row in rows] == IDS(Batch(NUCLEI, FRAME))
    assert [row["id"] for row in rows] == [str(nucleus.id) for nucleus in NUCLEI]
    assert {row["touches_border"] for row in rows} == {"0"}
    assert {rows[1][name] for name in COLUMNS if name.startswith(("hematoxylin", "eosin"))} == {""}
    assert leftovers(tmp_path) == ["nuclei.csv"]


@pytest.mark.parametrize("table", [csv_table, parquet_table])
def test_no_nuclei(tmp_path, table):
    with table(tmp_path / "a"):
        pass
    if table is parquet_table:
        assert parquet.read_table(tmp_path / "a").num_rows == 0
    else:
        assert (tmp_path / "a").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("table", [csv_table, parquet_table])
def test_a_block_that_raises_leaves_nothing(tmp_path, table):
    with pytest.raises(KeyboardInterrupt), table(tmp_path / "a") as sink:
        sink.add(NUCLEI[0])
        raise KeyboardInterrupt
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("with_regions", [False, True])
def test_the_first_region_is_the_last_column_but_the_geometry(tmp_path, with_regions):
    """A table without that column takes nuclei of regions, too."""
    names = ["a", 'b, "c"', "d\ne", "=f"]
    nuclei = [replace(n, regions=(name, "other")) for n, name in zip(NUCLEI, names, strict=False)]
    tables = (
        csv_table(tmp_path / "a.csv", with_regions=with_regions),
        parquet_table(tmp_path / "a.parquet", with_regions=with_regions),
    )
    for sink in tables:
        with sink:
            for nucleus in nuclei:
                sink.add(nucleus)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "a.parquet")
    expected = (*COLUMNS, "region") if with_regions else COLUMNS
    assert tuple(rows[0]) == tuple(table.column_names)[:-1] == expected and None not in rows[0]
    assert table.column_names[-1] == "geometry"
    if with_regions:
        assert [row["region"] for row in rows] == table["region"].to_pylist() == names
