"""Neighbours of drawn points, and the tables of them."""

import csv
import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from nucseg_jax.export.neighbour_table import NEIGHBOUR_COLUMNS, NeighbourTable
from nucseg_jax.export.neighbours import Neighbours, find_neighbours
from nucseg_jax.export.tissue_area import TissueArea
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import leftovers

FRAME = Frame((2000, 2000), 0.5, 0.25)  # 1000 × 1000 µm
EVERYWHERE = TissueArea(FRAME)
NAME = 'nan, "100 %"'


def hexagonal(step_um: float) -> NDArray[np.float64]:
    """Points of which each has six neighbours at one distance."""
    row, column = np.mgrid[:30, :30].reshape(2, -1)
    return np.stack([250 + step_um * (column + row % 2 / 2), 250 + step_um * np.sqrt(3) / 2 * row], axis=1)


def test_a_hexagonal_lattice() -> None:
    points = hexagonal(15)
    found = find_neighbours(points, EVERYWHERE)
    inner = (np.abs(points - points.mean(axis=0)) < 120).all(axis=1)
    assert inner.sum() > 200
    np.testing.assert_allclose(found.nearest_um, 15)
    np.testing.assert_allclose(found.mean_of_5_nearest_um[inner], 15)
    assert (found.delaunay_degree[inner] == 6).all()
    # 36 other points of the lattice are within 50/15 steps.
    np.testing.assert_allclose(found.local_density_per_mm2[inner], 36 / (np.pi * 0.05**2))


def test_longer_edges_do_not_count() -> None:
    wide = TissueArea(Frame((2500, 2500), 1.0, 1.0))
    inner = find_neighbours(hexagonal(49), wide).delaunay_degree[465]
    assert (inner, find_neighbours(hexagonal(51), wide).delaunay_degree.max()) == (6, 0)


def test_five_on_a_cross() -> None:
    points = np.array([[500.0, 500], [520, 500], [480, 500], [500, 530], [500, 460]])
    found = find_neighbours(points, EVERYWHERE)
    np.testing.assert_allclose(found.nearest_um, [20, 20, 20, 30, 40])
    assert np.isnan(found.mean_of_5_nearest_um).all()  # there are four others
    assert found.delaunay_degree.tolist() == [4, 3, 3, 3, 3]
    # (500, 530) and (500, 460) are 70 µm apart, all others within 50.
    np.testing.assert_allclose(found.local_density_per_mm2 * np.pi * 0.05**2, [4, 4, 4, 3, 3])
    np.testing.assert_allclose(found.border_um, [500, 480, 480, 470, 460])
    sixth = find_neighbours(np.vstack([points, [[500, 590.0]]]), EVERYWHERE)
    assert sixth.mean_of_5_nearest_um[0] == pytest.approx((20 + 20 + 30 + 40 + 90) / 5)


def test_density_is_of_the_tissue_alone() -> None:
    tissue = TissueArea(FRAME, np.array([[True, False]]))
    points = np.array([[500.0, 500], [460, 500], [520, 500]]) - [1e-9, 0]  # the last one is outside
    found = find_neighbours(points, tissue)
    assert found.local_density_per_mm2[0] == pytest.approx(1 / (np.pi * 0.05**2 / 2))
    assert np.isnan(found.local_density_per_mm2[2])
    np.testing.assert_allclose(found.nearest_um, [20, 40, 20])
    np.testing.assert_allclose(found.border_um, [0, 40, 0], atol=1e-6)


def test_two_at_one_place() -> None:
    points = np.vstack([hexagonal(15), hexagonal(15)[465:466]])
    found = find_neighbours(points, EVERYWHERE)
    assert found.nearest_um[465] == found.nearest_um[-1] == 0
    assert found.delaunay_degree[465] == found.delaunay_degree[-1] == 6


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_few_and_those_on_one_line(count: int) -> None:
    found = find_neighbours(np.arange(2.0 * count).reshape(-1, 2) * 10, EVERYWHERE)
    assert np.isnan(found.delaunay_degree).all()
    assert np.isnan(found.nearest_um).all() == (count < 2)
    assert np.isnan(found.mean_of_5_nearest_um).all() == (count < 6)
    assert all(len(getattr(found, field.name)) == count for field in dataclasses.fields(Neighbours))


def test_tables(tmp_path) -> None:
    frame = Frame((400, 600), 0.5, 0.25)
    places = [(100, 100), (100, 180), (180, 100), (700, 900)]
    nuclei = [Nucleus(i + 3, *place, np.ones((6, 8), bool), 0.5) for i, place in enumerate(places)]
    with NeighbourTable(
        tmp_path / "a.csv", tmp_path / "a.parquet", frame, slide=NAME, tissue=TissueArea(frame)
    ) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "a.parquet")
    assert NEIGHBOUR_COLUMNS == (
        "slide",
        "id",
        "nearest_um",
        "mean_of_5_nearest_um",
        "local_density_per_mm2",
        "delaunay_degree",
        "border_um",
    )
    assert tuple(rows[0]) == tuple(table.column_names) == NEIGHBOUR_COLUMNS
    points = (np.array(places)[:, ::-1] + [4, 3]) * 0.25
    expected = find_neighbours(points, TissueArea(frame))
    for name in NEIGHBOUR_COLUMNS[2:]:
        values = getattr(expected, name)
        np.testing.assert_allclose(table[name].to_numpy(), values, err_msg=name)
        shown = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_allclose(shown, values, atol=0.06, err_msg=name)
    assert [row["id"] for row in rows] == ["3", "4", "5", "6"] and table["id"].to_pylist() == [3, 4, 5, 6]
    assert [row["slide"] for row in rows] == table["slide"].to_pylist() == [NAME] * 4
    assert expected.nearest_um[0] == 20 and table["mean_of_5_nearest_um"].null_count == 4
    assert leftovers(tmp_path) == ["a.csv", "a.parquet"]


def test_tables_without_nuclei(tmp_path) -> None:
    with NeighbourTable(tmp_path / "a.csv", tmp_path / "a.parquet", FRAME, slide=NAME, tissue=EVERYWHERE):
        pass
    assert (tmp_path / "a.csv").read_text() == ",".join(NEIGHBOUR_COLUMNS) + "\n"
    assert parquet.read_table(tmp_path / "a.parquet").num_rows == 0
