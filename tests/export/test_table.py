"""nuclei.csv and nuclei.parquet."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from pyarrow import parquet

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.table import COLUMNS, CsvTable, ParquetTable
from nucseg_jax.nuclei import Frame
from tests.export.drawn_nuclei import FRAME, SHAPES, leftovers, many, mask_of, nuclei_of

NUCLEI = nuclei_of([mask_of(name) for name in SHAPES])


def test_columns():
    assert COLUMNS == (
        "id",
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
    with CsvTable(path, FRAME) as sink:
        for nucleus in NUCLEI:
            sink.add(nucleus)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values = Batch(NUCLEI, FRAME).measurements
    assert len(rows) == len(NUCLEI)
    for name in COLUMNS:
        found = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_allclose(found, getattr(values, name), rtol=0, atol=0.0006, err_msg=name)
    assert [row["id"] for row in rows] == [str(nucleus.id) for nucleus in NUCLEI]
    assert {row["touches_border"] for row in rows} == {"0"}
    assert {rows[1][name] for name in COLUMNS if name.startswith(("hematoxylin", "eosin"))} == {""}
    assert leftovers(tmp_path) == ["nuclei.csv"]


def test_parquet(tmp_path):
    path = tmp_path / "nuclei.parquet"
    frame = Frame((3000, 3000), 0.25, 0.25)
    nuclei = many(2500, frame)
    with ParquetTable(path, frame) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    table = parquet.read_table(path)
    values = Batch(nuclei, frame).measurements
    assert tuple(table.column_names) == COLUMNS
    assert [str(table.schema.field(name).type) for name in ("id", "area_um2", "touches_border")] == [
        "int32",
        "double",
        "bool",
    ]
    for name in COLUMNS:
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(values, name), err_msg=name)


def test_parquet_has_null_where_the_stain_was_not_measured(tmp_path):
    with ParquetTable(tmp_path / "a.parquet", FRAME) as sink:
        for nucleus in NUCLEI:
            sink.add(nucleus)
    table = parquet.read_table(tmp_path / "a.parquet")
    for column, name in (("hematoxylin_density", "hematoxylin"), ("eosin_ring_density", "eosin_ring")):
        assert table[column].to_pylist() == [getattr(nucleus, name) for nucleus in NUCLEI]


@pytest.mark.parametrize("table", [CsvTable, ParquetTable])
def test_no_nuclei(tmp_path, table):
    with table(tmp_path / "a", FRAME):
        pass
    if table is ParquetTable:
        assert parquet.read_table(tmp_path / "a").num_rows == 0
    else:
        assert (tmp_path / "a").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("table", [CsvTable, ParquetTable])
def test_a_block_that_raises_leaves_nothing(tmp_path, table):
    with pytest.raises(KeyboardInterrupt), table(tmp_path / "a", FRAME) as sink:
        sink.add(NUCLEI[0])
        raise KeyboardInterrupt
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("with_regions", [False, True])
def test_the_first_region_is_the_last_column(tmp_path, with_regions):
    """A table without that column takes nuclei of regions, too."""
    names = ["a", 'b, "c"', "d\ne", "=f"]
    nuclei = [replace(n, regions=(name, "other")) for n, name in zip(NUCLEI, names, strict=False)]
    tables = (
        CsvTable(tmp_path / "a.csv", FRAME, with_regions=with_regions),
        ParquetTable(tmp_path / "a.parquet", FRAME, with_regions=with_regions),
    )
    for sink in tables:
        with sink:
            for nucleus in nuclei:
                sink.add(nucleus)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "a.parquet")
    expected = (*COLUMNS, "region") if with_regions else COLUMNS
    assert tuple(rows[0]) == tuple(table.column_names) == expected and None not in rows[0]
    if with_regions:
        assert [row["region"] for row in rows] == table["region"].to_pylist() == names
