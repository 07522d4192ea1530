"""The index of nuclei against the files that it is made of."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import shapely

from nucseg_jax.errors import DataError
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.view.nuclei.index import NucleiIndex, Rectangle
from nucseg_jax.view.nuclei.index_building import build
from nucseg_jax.view.nuclei.sources import COLUMNS, DENSITY, read_parts, source_of
from tests.export.drawn_nuclei import SHAPES, many, mask_of, nuclei_of
from tests.view.drawn_results import FRAME, write_result

EVERYTHING = Rectangle(0, 0, 400, 300)


def index_of(
    tmp_path: Path,
    nuclei: list[Nucleus] | None = None,
    frame: Frame = FRAME,
    *,
    slide: str = "any.svs",
    **options: Any,
) -> NucleiIndex:
    (tmp_path / slide).touch()
    write_result(tmp_path / "out", tmp_path / slide, nuclei, frame=frame, **options)

    def file(name: str) -> Path | None:
        path = tmp_path / "out" / name
        return path if path.exists() else None

    counted: list[int] = []
    parts = read_parts(source_of(file), file("neighbours.parquet"))
    build(tmp_path / "index", parts, frame.size, counted.append)
    index = NucleiIndex(tmp_path / "index")
    assert counted[-1:] == [index.about.nuclei][: len(counted)]
    return index


def polygons_of(path: Path) -> list[shapely.Polygon]:
    table = pyarrow.parquet.read_table(path)
    return list(shapely.from_wkb(table["geometry"].to_numpy()))


def test_has_the_columns_and_places_of_the_table(tmp_path):
    index = index_of(tmp_path)
    table = pyarrow.parquet.read_table(tmp_path / "out/nuclei.parquet").to_pydict()
    neighbours = pyarrow.parquet.read_table(tmp_path / "out/neighbours.parquet").to_pydict()
    assert index.about.nuclei == 60 and index.about.columns == list(COLUMNS)
    np.testing.assert_array_equal(index.ids, table["id"])
    np.testing.assert_allclose(index.centroids[:, 0], table["centroid_x_px"], rtol=1e-6)
    for name in COLUMNS:
        wanted = neighbours[name] if name == DENSITY else table[name]
        np.testing.assert_array_equal(index.column(name), np.array(wanted, np.float64))
    low, *_, high = index.about.ranges["area_um2"]
    assert (low, high) == (min(table["area_um2"]), max(table["area_um2"]))
    row = index.row_of(7)
    found = index.measurements(row)
    assert found["id"] == 7 and found["object_id"] == table["object_id"][6]
    assert found["measurements"]["area_um2"] == table["area_um2"][6]
    assert index.row_of(0) is None and index.row_of(61) is None


@pytest.mark.parametrize("options", [{}, {"formats": ["geojson"]}, {"formats": ["geojson"], "gzip": True}])
def test_outlines_of_every_shape_are_those_of_the_result(tmp_path, options):
    nuclei = nuclei_of([mask_of(name) for name in SHAPES])
    index = index_of(tmp_path, nuclei, **options)
    for row, nucleus in enumerate(nuclei):
        polygon = index.polygon(row)
        assert polygon.area == nucleus.mask.sum()
        rows, columns = np.nonzero(nucleus.mask)
        inside = shapely.contains_xy(polygon, nucleus.left + columns + 0.5, nucleus.top + rows + 0.5)
        assert inside.all()
        np.testing.assert_allclose(
            index.centroids[row],
            [nucleus.left + columns.mean() + 0.5, nucleus.top + rows.mean() + 0.5],
            rtol=1e-6,
        )


def test_outlines_of_a_coarser_network_are_a_32nd_of_a_pixel_off_at_most(tmp_path):
    frame = Frame(size=(300, 400), mpp=0.25, network_mpp=0.37)
    index = index_of(tmp_path, many(20, frame), frame)
    for row, wanted in enumerate(polygons_of(tmp_path / "out/nuclei.parquet")):
        assert shapely.hausdorff_distance(index.polygon(row), wanted) <= np.hypot(1, 1) / 32 + 1e-4


def test_a_giant_has_an_outline_too(tmp_path):
    frame = Frame(size=(10, 70_000), mpp=0.25, network_mpp=0.25)
    giant = Nucleus(1, 2, 100, np.ones((3, 69_000), bool), 0.5)
    index = index_of(tmp_path, [giant], frame, formats=["parquet"])
    assert shapely.hausdorff_distance(index.polygon(0), shapely.box(100, 2, 69_100, 5)) <= 1.0
    assert list(index.touching(Rectangle(69_000, 0, 69_001, 10))) == [0]


@pytest.mark.parametrize("where", [EVERYTHING, Rectangle(100, 50, 130, 220), Rectangle(-50, -50, -1, -1)])
def test_touching_and_centred_are_those_of_a_search_through_all(tmp_path, where):
    index = index_of(tmp_path)
    polygons = polygons_of(tmp_path / "out/nuclei.parquet")
    bounds = [shapely.box(*polygon.bounds) for polygon in polygons]
    assert list(index.touching(where)) == [
        i for i, box in enumerate(bounds) if shapely.intersects(box, shapely.box(*where))
    ]
    centroids = shapely.points(index.centroids)
    assert list(index.centred_in(where)) == [
        i for i, point in enumerate(centroids) if shapely.intersects(point, shapely.box(*where))
    ]


def test_many_cells_give_each_nucleus_once(tmp_path):
    frame = Frame(size=(1100, 1000), mpp=0.25, network_mpp=0.25)
    index = index_of(tmp_path, many(300, frame), frame, formats=["parquet"])
    assert index.about.cells == [3, 2]
    assert list(index.touching(Rectangle(0, 0, 1000, 1100))) == list(range(300))
    quarter = index.centred_in(Rectangle(0, 0, 550, 550))
    x, y = index.centroids[quarter].T
    assert 0 < len(quarter) < 150 and x.max() <= 550 and y.max() <= 550


def test_the_nucleus_at_a_point(tmp_path):
    nuclei = nuclei_of([mask_of("block"), mask_of("ring")])
    index = index_of(tmp_path, nuclei)
    ring = nuclei[1]
    assert index.row_at(ring.left + 0.5, ring.top + 0.5) == 1
    assert index.row_at(ring.left + 1.5, ring.top + 1.5) is None, "its hole"
    assert index.row_at(200, 200) is None


def test_simpler_outlines_have_fewer_points_and_stay_near(tmp_path):
    index = index_of(tmp_path)
    rows = np.arange(60)
    counts = [index.count_points(rows, level) for level in range(3)]
    assert counts[0] > 2 * counts[1] > 2 * counts[2]
    for level, tolerance in ((1, 1.0), (2, 3.0)):
        found = index.outlines(rows, level)
        assert len(found.points) == counts[level] and found.ring_start[-1] == len(found.point_start) - 1
        for row in range(60):
            first = found.ring_start[row]
            ring = found.points[found.point_start[first] : found.point_start[first + 1]]
            distance = shapely.hausdorff_distance(shapely.LinearRing(ring), index.polygon(row).exterior)
            assert distance <= 2 * tolerance


def test_csv_has_places_and_no_outlines(tmp_path):
    index = index_of(tmp_path, formats=["csv"])
    assert index.about.levels == 0 and index.about.nuclei == 60
    x, y = index.centroids[3].tolist()
    assert index.row_at(x + 1, y) == 3
    assert DENSITY not in index.about.columns
    with pytest.raises(KeyError):
        index.column(DENSITY)


def test_a_result_without_nuclei(tmp_path):
    index = index_of(tmp_path, [])
    assert index.about.nuclei == 0 and index.row_at(5, 5) is None and index.row_of(1) is None
    assert not len(index.touching(EVERYTHING)) and not index.about.levels


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _other_ids(path: Path) -> None:
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.slice(5), path)


def _no_polygons(path: Path) -> None:
    table = pyarrow.parquet.read_table(path)
    place = table.schema.get_field_index("geometry")
    pyarrow.parquet.write_table(table.set_column(place, "geometry", [[b"\1\2\3"] * len(table)]), path)


def _nowhere(path: Path) -> None:
    table = pyarrow.parquet.read_table(path)
    place = table.schema.get_field_index("geometry")
    far = shapely.to_wkb(shapely.box(0, 0, 1e30, 1e30))
    pyarrow.parquet.write_table(table.set_column(place, "geometry", [[far] * len(table)]), path)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("nuclei.parquet", _no_polygons, "nuclei.parquet: cannot be read"),
        ("nuclei.parquet", _nowhere, "nuclei 1, 2, 3 … lie nowhere"),
        ("nuclei.parquet", _cut, "nuclei.parquet: cannot be read"),
        ("neighbours.parquet", _other_ids, "neighbours.parquet: has not the nuclei of the other files"),
    ],
)
def test_damaged_files_are_named(tmp_path, name: str, damage: Callable[[Path], None], message: str):
    (tmp_path / "slide.png").write_bytes(b"any")
    write_result(tmp_path / "out", tmp_path / "slide.png")
    damage(tmp_path / "out" / name)
    parts = read_parts(tmp_path / "out/nuclei.parquet", tmp_path / "out/neighbours.parquet")
    with pytest.raises(DataError, match=message):
        build(tmp_path / "index", parts, FRAME.size, lambda count: None)
    assert not (tmp_path / "index").exists()


def test_foreign_geojson_is_refused(tmp_path):
    path = tmp_path / "nuclei.geojson"
    path.write_text(json.dumps([{"type": "Feature"}]))
    with pytest.raises(DataError, match="is not as nucseg predict writes it"):
        list(read_parts(path, None))


def test_a_result_without_a_list_of_nuclei_says_so():
    with pytest.raises(DataError, match="no list of nuclei"):
        source_of(lambda name: None)
