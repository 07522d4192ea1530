"""nuclei.zarr, read back by spatialdata, beside what the other files say."""

import csv
import dataclasses
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import shapely

from nucseg_jax.errors import MissingExtraError
from nucseg_jax.export import Exports, Limits
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import Shapes
from nucseg_jax.export.spatialdata_zarr import SpatialDataZarr
from nucseg_jax.export.table import COLUMNS, MEASURED
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, SHAPES, leftovers, many, mask_of, nuclei_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its packages' own deprecations, at import
    spatialdata = pytest.importorskip("spatialdata", reason="the extra `spatialdata` is not installed")
    import ome_zarr.writer  # noqa: F401 (spatialdata imports it when it writes)
from spatialdata import models  # noqa: E402
from spatialdata.transformations import Identity, Scale, get_transformation  # noqa: E402

LARGE, COARSE = Frame((1200, 1200), 0.25, 0.25), Frame((300, 400), 0.25, 0.4)


def write(
    out: Path, nuclei: list[Nucleus], frame: Frame = FRAME, um: float | None = None, **config: object
) -> None:
    with Exports(
        out,
        frame,
        source=Path(__file__),
        thumbnail=np.full((75, 100, 3), 200, np.uint8),
        config=config,
        seconds={},
        limits=Limits(nuclei=32),  # so that some of the tests have several batches, and groups of rows
        formats=["geojson", "csv", "spatialdata"],
        simplify_um=um,
    ) as exports:
        for nucleus in nuclei:
            exports.add(nucleus)


def of_geojson(out: Path) -> list[shapely.Polygon]:
    features = json.loads((out / "nuclei.geojson").read_text())["features"]
    return [shapely.geometry.shape(feature["geometry"]) for feature in features]


@pytest.mark.parametrize(
    ("frame", "nuclei"),
    [
        (FRAME, nuclei_of([mask_of(name) for name in SHAPES])),
        (LARGE, many(1500, LARGE)),
        (COARSE, many(100, COARSE)),  # whose pixels are no whole base pixels
    ],
    ids=["holes", "batches", "resolution"],
)
def test_shapes_and_table_are_those_of_the_other_files(
    tmp_path: Path, frame: Frame, nuclei: list[Nucleus]
) -> None:
    write(tmp_path / "out", nuclei, frame)
    found = spatialdata.read_zarr(tmp_path / "out" / "nuclei.zarr")
    models.ShapesModel().validate(found["nuclei"])
    models.TableModel().validate(found["measurements"])
    ids = [nucleus.id for nucleus in nuclei]
    shapes, table = found["nuclei"], found["measurements"]
    assert shapes.index.tolist() == table.obs["id"].tolist() == ids
    assert shapely.equals_exact(shapes.geometry.to_numpy(), of_geojson(tmp_path / "out"), 0).all()
    assert shapes.is_valid.all()

    with (tmp_path / "out" / "nuclei.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and tuple(table.var_names) == MEASURED
    for name in ("slide", "object_id"):
        assert table.obs[name].tolist() == [row[name] for row in rows]
    expected = np.array([[float(row[name] or "nan") for name in MEASURED] for row in rows])
    np.testing.assert_allclose(table.X, expected, atol=6e-4)
    np.testing.assert_array_equal(table.obsm["spatial"], table.X[:, :2])


def test_simplified_outlines(tmp_path: Path) -> None:
    write(tmp_path / "out", many(50, FRAME), um=0.5)
    shapes = spatialdata.read_zarr(tmp_path / "out" / "nuclei.zarr")["nuclei"].geometry.to_numpy()
    assert shapely.equals_exact(shapes, of_geojson(tmp_path / "out"), 0).all()
    write(tmp_path / "exact", many(50, FRAME))
    exact = of_geojson(tmp_path / "exact")
    assert shapely.get_num_coordinates(shapes).sum() < shapely.get_num_coordinates(exact).sum()


def test_coordinate_systems(tmp_path: Path) -> None:
    write(tmp_path / "out", many(50, FRAME))
    found = spatialdata.read_zarr(tmp_path / "out" / "nuclei.zarr")
    transformations = get_transformation(found["nuclei"], get_all=True)
    assert transformations == {"global": Identity(), "um": Scale([0.25, 0.25], axes=("x", "y"))}
    in_um = spatialdata.transform(found["nuclei"], to_coordinate_system="um")
    area = found["measurements"][:, "area_um2"].X.ravel()
    np.testing.assert_allclose(in_um.area, area)


def test_the_table_follows_the_shapes(tmp_path: Path) -> None:
    """A query of a part of the slide has the rows of the nuclei there."""
    write(tmp_path / "out", many(200, FRAME))
    found = spatialdata.read_zarr(tmp_path / "out" / "nuclei.zarr")
    part = found.query.bounding_box(("x", "y"), [100, 0], [250, 300], target_coordinate_system="global")
    assert 0 < len(part["nuclei"]) < 200
    assert part["measurements"].obs["id"].tolist() == part["nuclei"].index.tolist()


def test_it_says_where_the_slide_is(tmp_path: Path) -> None:
    frame = dataclasses.replace(FRAME, offset=(7, 11))
    write(tmp_path / "out", many(3, frame), frame, run={"model": "unet"})
    about = spatialdata.read_zarr(tmp_path / "out" / "nuclei.zarr").attrs["nucseg_jax"]
    assert about["config"] == {"run": {"model": "unet"}}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert about["slide"] == {"path": __file__, **summary["slide"]}
    assert about["slide"]["offset_px"] == {"x": 11, "y": 7}
    assert about["version"] == summary["versions"]["nucseg_jax"]


def test_regions_of_interest(tmp_path: Path) -> None:
    nuclei = [
        dataclasses.replace(nucleus, regions=names)
        for nucleus, names in zip(many(3, FRAME), (("a", "b"), ("b",), ()), strict=True)
    ]
    path = tmp_path / "nuclei.zarr"
    options = {"slide": "S1", "source": Path(__file__), "ids": ObjectIds.of("a.svs", {}), "shapes": Shapes()}
    with SpatialDataZarr(path, FRAME, config={}, with_regions=True, **options) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    assert leftovers(tmp_path) == ["nuclei.zarr"]
    table = spatialdata.read_zarr(path)["measurements"]
    assert table.obs["region_of_interest"].tolist() == ["a", "b", ""]
    assert table.obs["region"].tolist() == ["nuclei"] * 3


def test_without_nuclei_there_is_only_the_slide(tmp_path: Path) -> None:
    write(tmp_path / "out", [])
    found = spatialdata.read_zarr(tmp_path / "out" / "nuclei.zarr")
    assert not list(found.gen_elements())
    assert found.attrs["nucseg_jax"]["slide"]["mpp"] == 0.25


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spatialdata", None)
    with pytest.raises(MissingExtraError, match=r"the extra `spatialdata`(.|\n)*-e \"\.\[spatialdata\]\""):
        write(tmp_path / "out", [])
    assert leftovers(tmp_path) == []
