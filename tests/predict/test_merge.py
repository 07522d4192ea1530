"""`nucseg merge`: the tables of many slides as one, and what is said of the others."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyarrow import parquet

from nucseg_jax.cli import main as nucseg
from nucseg_jax.export import Exports
from nucseg_jax.io.names import host
from nucseg_jax.nuclei import Frame
from nucseg_jax.predict.folders import folder_names
from nucseg_jax.predict.jobs import deciding
from nucseg_jax.predict.merge import SLIDE_COLUMNS
from nucseg_jax.predict.results import source_of
from nucseg_jax.regions import Regions
from tests.export.drawn_nuclei import many

FRAME = Frame((400, 500), 0.25, 0.25, offset=(3, 4))
REQUEST = {
    "params_sha256": "ab12",
    "tile_px": 256,
    "pretrained": {"name": "he", "sha256": "cd"},
    "formats": ["csv", "parquet"],
}
MERGED = ["neighbours.csv", "neighbours.parquet", "nuclei.csv", "nuclei.parquet", "slides.csv"]
FORMATS = ("csv", "parquet", "neighbours")


def finish(out: Path, name: str, count: int, **options: Any) -> Path:
    """A finished slide's folder, as `nucseg predict` leaves it; `count` nuclei."""
    source = out.parent / f"{name}.svs"
    source.write_bytes(name.encode())
    request = REQUEST | options.pop("request", {}) | {"source": str(source), "bytes": len(name)}
    regions = options.get("regions")
    with Exports(
        out / name,
        FRAME,
        source=source,
        thumbnail=np.full((40, 50, 3), 200, np.uint8),
        config={"request": request},
        settings=deciding(request),
        seconds={},
        **{"formats": FORMATS, **options},
    ) as exports:
        for nucleus in many(count, FRAME, seed=count):
            exports.add(nucleus if regions is None else replace(nucleus, regions=('a, "b"\n',)))
    return out / name


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    finish(folder, "a", 30)
    finish(folder, 'b, "2"', 0)
    finish(folder, "c", 50)
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file())


def test_all_rows_of_all_slides(out: Path, capsys) -> None:
    assert nucseg(["merge", str(out)]) == 0
    files = "nuclei.parquet, nuclei.csv, neighbours.parquet, neighbours.csv, slides.csv"
    assert capsys.readouterr().out == f"{out}: 3 slides, 80 nuclei: {files}\n"
    assert files_in(out) == MERGED
    for name in ("nuclei", "neighbours"):
        single = [rows_of(out / slide / f"{name}.csv") for slide in ("a", 'b, "2"', "c")]
        assert rows_of(out / f"{name}.csv") == sum(single, [])
        tables = [parquet.read_table(out / slide / f"{name}.parquet").to_pylist() for slide in ("a", "c")]
        table = parquet.read_table(out / f"{name}.parquet")
        assert table.to_pylist() == sum(tables, [])
        assert table["slide"].to_pylist() == ["a"] * 30 + ["c"] * 50
    ids = parquet.read_table(out / "nuclei.parquet")["object_id"].to_pylist()
    assert len(set(ids)) == 80 and ids == [row["object_id"] for row in rows_of(out / "nuclei.csv")]


def test_a_row_a_slide(out: Path) -> None:
    assert nucseg(["merge", str(out)]) == 0
    rows = rows_of(out / "slides.csv")
    assert tuple(rows[0]) == SLIDE_COLUMNS
    assert [(row["slide"], row["count"]) for row in rows] == [("a", "30"), ('b, "2"', "0"), ("c", "50")]
    summary = json.loads((out / "c" / "summary.json").read_text())
    for name in ("area_mm2", "per_mm2", "mean_area_um2"):
        assert float(rows[2][name]) == summary["nuclei"][name]
    assert rows[1]["mean_area_um2"] == ""
    assert (rows[0]["mpp"], rows[0]["offset_x_px"], rows[0]["offset_y_px"]) == ("0.25", "4", "3")
    assert (rows[0]["model"], rows[0]["params_sha256"]) == ("he", "ab12")
    assert len({row["settings"] for row in rows}) == 1
    assert rows[0]["source"] == str(out.parent / "a.svs")


def test_it_stays_geoparquet(out: Path) -> None:
    assert nucseg(["merge", str(out)]) == 0
    metadata = parquet.read_schema(out / "nuclei.parquet").metadata
    boxes = [
        json.loads(parquet.read_schema(out / slide / "nuclei.parquet").metadata[b"geo"])["columns"][
            "geometry"
        ]
        for slide in ("a", "c")
    ]
    geo = json.loads(metadata[b"geo"])
    bounds = np.array([box["bbox"] for box in boxes])
    assert geo["columns"]["geometry"].pop("bbox") == [*bounds[:, :2].min(0), *bounds[:, 2:].max(0)]
    del boxes[0]["bbox"]
    assert geo["columns"]["geometry"] == boxes[0] and geo["version"] == "1.1.0"
    slides = json.loads(metadata[b"nucseg_jax"])["slides"]
    assert [(slide["slide"], slide["mpp"]) for slide in slides] == [
        ("a", 0.25),
        ('b, "2"', 0.25),
        ("c", 0.25),
    ]
    geopandas = pytest.importorskip("geopandas")
    found = geopandas.read_parquet(out / "nuclei.parquet")
    np.testing.assert_allclose(found.geometry.area / 16, found["area_um2"])
    other = geopandas.read_parquet(out / "c" / "nuclei.parquet").geometry
    assert found.geometry[found["slide"] == "c"].reset_index(drop=True).geom_equals_exact(other, 0).all()


def test_small_slides_share_row_groups(out: Path) -> None:
    assert nucseg(["merge", str(out)]) == 0
    assert parquet.ParquetFile(out / "nuclei.parquet").num_row_groups == 1


def test_slides_with_and_without_regions(out: Path) -> None:
    finish(out, "d", 20, regions=Regions({'a, "b"\n': shapely.box(0, 0, 500, 400)}))
    assert nucseg(["merge", str(out)]) == 0
    expected = [None] * 80 + ['a, "b"\n'] * 20
    table = parquet.read_table(out / "nuclei.parquet")
    assert table["region"].to_pylist() == expected
    assert table.column_names[-2:] == ["region", "geometry"]
    assert [row["region"] or None for row in rows_of(out / "nuclei.csv")] == expected
    single = rows_of(out / "a" / "nuclei.csv")
    assert [{**row, "region": ""} for row in single] == rows_of(out / "nuclei.csv")[:30]


def test_other_settings_are_refused_unless_mixed(out: Path, capsys) -> None:
    finish(out, "d", 10, request={"tile_px": 512})
    finish(out, "e", 10, request={"formats": None, "roi_sha256": "1"}, formats=None)
    assert nucseg(["merge", str(out)]) == 2
    error = capsys.readouterr().err
    assert "1 of 5 slides have other settings" in error and "  d: tile_px 512 and not 256\n" in error
    assert "--mixed" in error and files_in(out) == []
    assert nucseg(["merge", str(out), "--mixed"]) == 0
    digests = [row["settings"] for row in rows_of(out / "slides.csv")]
    assert [digest == digests[0] for digest in digests] == [True, True, True, False, True]


def test_tables_that_a_slide_lacks_are_not_merged_and_older_ones_go(out: Path, capsys) -> None:
    assert nucseg(["merge", str(out)]) == 0
    finish(out, "d", 10, formats=["parquet"])
    capsys.readouterr()
    assert nucseg(["merge", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "not merged: nuclei.csv, which 1 of 4 slides lack: d\n" in printed
    assert files_in(out) == ["nuclei.parquet", "slides.csv"]
    assert parquet.read_table(out / "nuclei.parquet").num_rows == 90


def test_what_is_not_finished_is_named(out: Path, capsys) -> None:
    (out / f"x.{host()}-1-0123abcd.tmp").mkdir()
    (out / ".y.lock").touch()
    (out / ".a.lock").touch()
    (out / "z.error.txt").touch()
    (out / "c.error.txt").touch()
    (out / "notes").mkdir()
    (out / "notes" / "a.txt").touch()
    assert nucseg(["merge", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "unfinished, not merged: x, y",
        "failed, not merged: z",
        "failed the last time, the older result is merged: c",
        "no results, not merged: notes",
    ]


def test_results_of_another_release_are_refused(out: Path, capsys) -> None:
    path = out / "a" / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 1}))
    assert nucseg(["merge", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"  {out / 'a'}: format_version 1 and not 2\n" in error and "--overwrite" in error
    assert files_in(out) == []


@pytest.mark.parametrize("name", ["nuclei.parquet", "nuclei.csv"])
def test_a_damaged_table_leaves_what_was_merged_before(out: Path, name: str, capsys) -> None:
    assert nucseg(["merge", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    table = out / "c" / name
    table.write_bytes(table.read_bytes()[10:])
    assert nucseg(["merge", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"error: {table}: " in error and error.count("\n") == 1
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("with_regions", [False, True])
@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("nuclei.csv", lambda text: text[:-40], "is damaged (its last row is cut off). Do this slide again"),
        ("nuclei.csv", lambda text: text[:-2] + b'"\n', "is damaged (a quote is not closed)"),
        ("neighbours.csv", lambda text: text[: text[:-1].rindex(b"\n") + 1], "is damaged (49 rows, where"),
        (
            "nuclei.csv",
            lambda text: text[:-9] + b"\xff" + text[-9:],
            "is damaged ('utf-8' codec can't decode byte 0xff",
        ),
    ],
)
def test_damaged_csv_is_refused(
    out: Path, with_regions: bool, name: str, harm: Callable[[bytes], bytes], message: str, capsys
) -> None:
    if with_regions:  # so that rows of the others get a column
        finish(out, "d", 20, regions=Regions({"a": shapely.box(0, 0, 500, 400)}))
    table = out / "c" / name
    table.write_bytes(harm(table.read_bytes()))
    assert nucseg(["merge", str(out)]) == 2
    error = capsys.readouterr().err
    assert f"error: {table}: {message}" in error and error.count("\n") == 1
    assert files_in(out) == []


def test_parquet_with_fewer_rows_is_refused(out: Path, capsys) -> None:
    table = out / "c" / "neighbours.parquet"
    parquet.write_table(parquet.read_table(table).slice(0, 49), table)
    assert nucseg(["merge", str(out)]) == 2
    message = "is damaged (49 rows, where summary.json counts 50 nuclei). Do this slide again"
    assert f"error: {table}: {message}" in capsys.readouterr().err
    assert files_in(out) == []


def test_a_slide_with_the_name_of_a_table_is_refused(out: Path, capsys) -> None:
    finish(out, "nuclei.csv", 10)
    assert nucseg(["merge", str(out)]) == 2
    assert f"  {out / 'nuclei.csv'}\nRename these folders" in capsys.readouterr().err


def test_a_damaged_summary_and_lost_metadata(out: Path, capsys) -> None:
    table = out / "c" / "nuclei.parquet"
    parquet.write_table(parquet.read_table(table).replace_schema_metadata(None), table)
    assert nucseg(["merge", str(out)]) == 2
    assert f"error: {table}: has lost the metadata `geo`" in capsys.readouterr().err
    path = out / "a" / "summary.json"
    summary = json.loads(path.read_text())
    del summary["slide"]["mpp"]
    path.write_text(json.dumps(summary))
    assert nucseg(["merge", str(out)]) == 2
    assert f"error: {path}: is damaged (KeyError: 'mpp'). Do this slide again" in capsys.readouterr().err
    summary["slide"]["mpp"], summary["nuclei"]["count"] = 0.25, "30"
    path.write_text(json.dumps(summary))
    assert nucseg(["merge", str(out)]) == 2
    assert f"error: {path}: is damaged (TypeError: 'str' object" in capsys.readouterr().err
    assert files_in(out) == []


def test_two_of_one_name_and_nothing_to_merge(out: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(out / "a", out / "copy")
    assert nucseg(["merge", str(out)]) == 2
    assert f"slides of one name:\n  {out / 'a'}: a\n  {out / 'copy'}: a\n" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert nucseg(["merge", str(tmp_path / "empty")]) == 2
    assert "has no finished slide" in capsys.readouterr().err
    assert nucseg(["merge", str(tmp_path / "nothing")]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_merged_folder_goes_on(out: Path, tmp_path: Path) -> None:
    """What looks for finished slides finds the same as before."""
    assert nucseg(["merge", str(out)]) == 0
    again = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert folder_names([tmp_path / "a.svs", tmp_path / "nuclei.svs"], out) == ["a", "nuclei"]
    assert source_of(out / "nuclei.csv") is None
    assert nucseg(["merge", str(out)]) == 0
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == again
