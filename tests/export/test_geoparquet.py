"""nuclei.parquet, read by pyarrow and by geopandas, and compared with masks."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
from pyarrow import parquet

import nucseg_jax
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.geojson import GeoJson
from nucseg_jax.export.geoparquet import ParquetTable
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import Shapes
from nucseg_jax.export.table import COLUMNS, MEASURED
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, SHAPES, leftovers, many, mask_of, nuclei_of

IDS = ObjectIds.of("slide.svs", {})
NUCLEI = nuclei_of([mask_of(name) for name in SHAPES])
LARGE = Frame((3000, 3000), 0.25, 0.25)


def write(
    path: Path, nuclei: list[Nucleus], frame: Frame = FRAME, um: float | None = None, **options
) -> Path:
    with ParquetTable(path, frame, slide="S1", ids=IDS, shapes=Shapes(um), **options) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    return path


def test_columns_and_values(tmp_path) -> None:
    nuclei = many(2500, LARGE)
    table = parquet.read_table(write(tmp_path / "a.parquet", nuclei, LARGE))
    batch = Batch(nuclei, LARGE)
    assert tuple(table.column_names) == (*COLUMNS, "geometry")
    names = ("slide", "id", "object_id", "area_um2", "touches_border", "geometry")
    kinds = [str(table.schema.field(name).type) for name in names]
    assert kinds == ["string", "int32", "string", "double", "bool", "binary"]
    for name in ("id", *MEASURED):
        np.testing.assert_array_equal(table[name].to_numpy(), getattr(batch.measurements, name), err_msg=name)
    assert table["slide"].to_pylist() == ["S1"] * 2500 and table["object_id"].to_pylist() == IDS(batch)
    assert leftovers(tmp_path) == ["a.parquet"]


def test_null_where_the_stain_was_not_measured(tmp_path) -> None:
    table = parquet.read_table(write(tmp_path / "a.parquet", NUCLEI))
    for column, name in (("hematoxylin_density", "hematoxylin"), ("eosin_ring_density", "eosin_ring")):
        assert table[column].to_pylist() == [getattr(nucleus, name) for nucleus in NUCLEI]


def test_row_groups_of_one_size_whatever_size_batches_have(tmp_path) -> None:
    nuclei = many(2500, LARGE)
    file = parquet.ParquetFile(write(tmp_path / "a.parquet", nuclei, LARGE, rows=600))
    rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert rows == [600, 600, 600, 600, 100]
    assert file.read(columns=["id"])["id"].to_pylist() == [nucleus.id for nucleus in nuclei]


def test_metadata(tmp_path) -> None:
    """The keys of GeoParquet 1.1.0, and what Arrow's readers see of them."""
    frame = Frame((300, 400), 0.25, 0.25, offset=(7, 9))
    path = write(tmp_path / "a.parquet", NUCLEI, frame, 0.5)
    metadata = {key: json.loads(value) for key, value in parquet.read_schema(path).metadata.items()}
    column = {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None,
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    points = [(n.left, n.top, n.left + n.mask.shape[1], n.top + n.mask.shape[0]) for n in NUCLEI]
    left, top, right, bottom = np.array(points).T
    column["bbox"] = [left.min(), top.min(), right.max(), bottom.max()]
    assert metadata == {
        b"geo": {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}},
        b"nucseg_jax": {
            "format_version": 2,
            "version": nucseg_jax.__version__,
            "slides": [
                {
                    "slide": "S1",
                    "size_px": [300, 400],
                    "mpp": 0.25,
                    "network_mpp": 0.25,
                    "offset_px": {"x": 9, "y": 7},
                    "simplify_um": 0.5,
                }
            ],
        },
    }


def test_no_nuclei(tmp_path) -> None:
    path = write(tmp_path / "a.parquet", [])
    (column,) = json.loads(parquet.read_schema(path).metadata[b"geo"])["columns"].values()
    assert parquet.read_table(path).num_rows == 0 and "bbox" not in column


@pytest.fixture
def geopandas() -> Iterator:
    yield pytest.importorskip("geopandas")


@pytest.mark.parametrize("um", [None, 0.4])
@pytest.mark.parametrize("frame", [FRAME, Frame((300, 400), 0.2495, 0.25), Frame((150, 200), 0.5, 0.25)])
def test_geopandas_reads_what_it_reads_of_the_geojson(tmp_path, geopandas, frame, um) -> None:
    nuclei = many(150, frame)
    path = write(tmp_path / "nuclei.parquet", nuclei, frame, um)
    for name in ("nuclei.geojson", "nuclei.geojson.gz"):
        packed = name.endswith("gz")
        with GeoJson(tmp_path / name, frame, ids=IDS, shapes=Shapes(um), compressed=packed) as sink:
            for nucleus in nuclei:
                sink.add(nucleus)
    found = geopandas.read_parquet(path)
    assert found.crs is None and found.geometry.is_valid.all() and len(found) == 150
    for name in ("nuclei.geojson", "/vsigzip/{nuclei.geojson.gz}"):
        place = name.replace("{", f"{tmp_path}/").rstrip("}") if "{" in name else tmp_path / name
        other = geopandas.read_file(place).set_crs(None, allow_override=True)
        assert other["id"].tolist() == found["object_id"].tolist()
        assert other.geometry.geom_equals_exact(found.geometry, 0).all()
    if um is None:
        np.testing.assert_allclose(found.geometry.area * frame.mpp**2, found["area_um2"], rtol=2e-3)


def test_a_polygon_covers_the_pixels_of_its_nucleus(tmp_path, geopandas) -> None:
    """Each pixel's centre, of all shapes: inside where it is of the mask, and outside where it is not."""
    found = geopandas.read_parquet(write(tmp_path / "a.parquet", NUCLEI))
    rows, columns = np.mgrid[: FRAME.size[0], : FRAME.size[1]]
    labels = np.zeros(FRAME.size, np.int32)
    for number, polygon in zip(found["id"], found.geometry, strict=True):
        labels[shapely.contains_xy(polygon, columns + 0.5, rows + 0.5)] = number
    expected = np.zeros(FRAME.size, np.int32)
    for nucleus in NUCLEI:
        height, width = nucleus.mask.shape
        part = expected[nucleus.top : nucleus.top + height, nucleus.left : nucleus.left + width]
        part[nucleus.mask] = nucleus.id
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(found.geometry.area, [nucleus.mask.sum() for nucleus in NUCLEI])
