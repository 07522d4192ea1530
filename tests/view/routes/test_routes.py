"""Endpoints of slides and results, as the page uses them."""

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from nucseg_jax.view.library import Library
from nucseg_jax.view.nuclei.answer import MAGIC
from nucseg_jax.view.nuclei.sources import COLUMNS
from nucseg_jax.view.results.store import ResultStore
from tests.view.conftest import page_of
from tests.view.drawn_results import write_result


@pytest.fixture(scope="module")
def slide(client) -> str:
    return f"api/slides/{client.get('api/library').json()['slides'][0]['id']}"


@pytest.fixture(scope="module")
def result(client) -> str:
    by_name = {result["name"]: result["id"] for result in client.get("api/library").json()["results"]}
    return f"api/results/{by_name['out']}"


@pytest.fixture(scope="module")
def lost(client) -> str:
    by_name = {result["name"]: result["id"] for result in client.get("api/library").json()["results"]}
    return f"api/results/{by_name['lost']}"


@pytest.fixture(scope="module")
def table(named):
    return pyarrow.parquet.read_table(named / "results/out/nuclei.parquet").to_pandas()


def unpacked(content: bytes) -> dict[str, np.ndarray]:
    """As the page reads it."""
    magic, kind, count, rings, points, total, level, _ = np.frombuffer(content, "<u4", 8).tolist()
    assert magic == MAGIC
    shapes = {"ids": ("<i4", count, 1), "value": ("<f4", count, 1), "centroids": ("<f4", count, 2)}
    if kind == 0:
        shapes |= {
            "ring_start": ("<u4", count + 1, 1),
            "point_start": ("<u4", rings + 1, 1),
            "points": ("<f4", points, 2),
        }
    found, at = {"kind": kind, "total": total, "level": level}, 32
    for name, (form, length, width) in shapes.items():
        array = np.frombuffer(content, form, length * width, at)
        found[name] = array.reshape(length, width) if width > 1 else array
        at += array.nbytes
    assert at == len(content)
    return found


def test_the_page_lists_what_is_open(client):
    page = client.get("")
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    library = client.get("api/library").json()
    assert [slide["name"] for slide in library["slides"]] == ["slide.png"]
    assert {result["name"] for result in library["results"]} == {"out", "lost"}
    out = next(result for result in library["results"] if result["name"] == "out")
    assert out["slide"] == library["slides"][0]["id"]
    lost = next(result for result in library["results"] if result["name"] == "lost")
    assert lost["slide"] is None and "gone.png is not there" in lost["missing"]


def test_a_slide_and_its_tiles(client, slide):
    about = client.get(slide).json()
    assert (about["width"], about["height"], about["last_level"]) == (400, 300, 9)
    assert about["mpp"] == pytest.approx(0.25, rel=1e-3) and "dots an inch" in about["mpp_source"]
    descriptor = client.get(f"{slide}.dzi")
    assert descriptor.headers["content-type"] == "application/xml"
    assert 'Width="400" Height="300"' in descriptor.text
    for name, size in (("9/0_0", (255, 255)), ("9/1_1", (147, 47)), ("0/0_0", (1, 1)), ("8/0_0", (200, 150))):
        for _ in range(2):  # made, and from the cache
            tile = client.get(f"{slide}_files/{name}.jpg")
            assert tile.headers["content-type"] == "image/jpeg"
            assert Image.open(io.BytesIO(tile.content)).size == size


@pytest.mark.parametrize(
    "name", ["9/2_0.jpg", "10/0_0.jpg", "9/0_0.png", "9/-1_0.jpg", "9/0_0", f"9/{10**20}_0.jpg"]
)
def test_tiles_that_are_not_there(client, slide, name):
    answer = client.get(f"{slide}_files/{name}")
    assert answer.status_code == 404 and answer.json()["error"]


def test_a_result(client, result, named):
    about = client.get(result).json()
    assert (about["count"], about["width"], about["height"], about["mpp"]) == (60, 400, 300, 0.25)
    assert list(about["columns"]) == list(COLUMNS) and about["has_outlines"]
    assert len(about["columns"]["area_um2"]) == len(about["quantiles"]) == 7
    assert about["nuclei"]["count"] == 60
    assert set(about["files"]) == {path.name for path in (named / "results/out").iterdir()}


def test_near_nuclei_are_exact_outlines(client, result, table):
    answer = client.get(f"{result}/nuclei?x=0&y=0&w=400&h=300&scale=0.5&value=circularity")
    assert answer.headers["content-type"] == "application/octet-stream"
    found = unpacked(answer.content)
    assert (found["kind"], found["level"], found["total"]) == (0, 0, 60)
    np.testing.assert_array_equal(found["ids"], table.id)
    np.testing.assert_allclose(found["value"], table.circularity, rtol=1e-6)
    np.testing.assert_allclose(found["centroids"], table[["centroid_x_px", "centroid_y_px"]], rtol=1e-6)
    for number in range(60):
        first = found["ring_start"][number]
        ring = found["points"][found["point_start"][first] : found["point_start"][first + 1]].astype(float)
        x, y = ring.T
        area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2 * 0.25**2
        assert area >= table.area_um2[number] - 1e-6, "with its holes"


def test_farther_off_they_are_simpler_and_then_points(client, result):
    def at(scale: float) -> dict[str, np.ndarray]:
        return unpacked(client.get(f"{result}/nuclei?x=0&y=0&w=400&h=300&scale={scale}").content)

    near, middle, far, dots = at(1), at(2), at(8), at(13)
    assert [found["level"] for found in (near, middle, far)] == [0, 1, 2]
    assert len(near["points"]) > 2 * len(middle["points"]) > 2 * len(far["points"]) > 0
    assert dots["kind"] == 1 and len(dots["ids"]) == 60 and "points" not in dots


def test_answers_are_bounded(client, result, monkeypatch):
    from nucseg_jax.view.nuclei import answer as nuclei_answer

    address = f"{result}/nuclei?x=0&y=0&w=400&h=300&scale=1"
    exact = unpacked(client.get(address).content)
    monkeypatch.setattr(nuclei_answer, "MOST_POINTS", len(exact["points"]) - 1)
    simpler = unpacked(client.get(address).content)
    assert simpler["level"] == 1 and simpler["total"] == len(simpler["ids"]) == 60
    monkeypatch.setattr(nuclei_answer, "MOST_POINTS", 50)
    assert unpacked(client.get(address).content)["kind"] == 1
    monkeypatch.setattr(nuclei_answer, "MOST_CENTROIDS", 20)
    few = unpacked(client.get(address).content)
    assert few["total"] == 60 and 5 <= len(few["ids"]) <= 20
    assert set(few["ids"]) <= set(exact["ids"])


def test_a_part_of_the_slide(client, result, table):
    found = unpacked(client.get(f"{result}/nuclei?x=100&y=100&w=50&h=50").content)
    x, y = table.centroid_x_px, table.centroid_y_px
    inside = table.id[x.between(100, 150) & y.between(100, 150)]
    near = table.id[x.between(85, 165) & y.between(85, 165)]
    assert set(inside) <= set(found["ids"]) <= set(near) and 0 < len(found["ids"]) < 60
    assert not len(unpacked(client.get(f"{result}/nuclei?x=-9&y=-9&w=1&h=1").content)["ids"])


def test_a_result_without_nuclei_has_an_answer_without_nuclei(tmp_path, named):
    write_result(tmp_path / "none", named / "slides/slide.png", [])
    library = Library()
    library.add(tmp_path / "none")
    with page_of(library, tmp_path) as client:
        address = f"api/results/{library.results()[0].id}"
        found = unpacked(client.get(f"{address}/nuclei?x=0&y=0&w=400&h=300").content)
        assert found["total"] == 0 and client.get(address).json()["count"] == 0


def test_one_nucleus(client, result, table):
    by_id = client.get(f"{result}/nucleus?id=5").json()
    assert by_id["object_id"] == table.object_id[4]
    assert by_id["measurements"]["eosin_ring_density"] == table.eosin_ring_density[4]
    x, y = np.mean(by_id["outline"][0], axis=0)
    assert client.get(f"{result}/nucleus?x={x}&y={y}").json()["id"] == 5
    assert client.get(f"{result}/nucleus?id=61").status_code == 404
    assert client.get(f"{result}/nucleus?x=-5&y=-5").json() == {"error": "there is no nucleus"}


def test_figures_of_a_region(client, result, table):
    answer = client.post(f"{result}/region", json={"rectangle": [0, 0, 200, 300]}).json()
    assert answer["count"] == (table.centroid_x_px <= 200).sum()
    assert answer["per"] == "tissue" and answer["tissue_mm2"] <= answer["area_mm2"]
    assert client.post(f"{result}/region", json={"rectangle": [0, 0]}).status_code == 422


def test_a_result_without_its_slide(client, lost):
    about = client.get(lost).json()
    assert about["slide"] is None and not about["has_outlines"]
    found = unpacked(client.get(f"{lost}/nuclei?x=0&y=0&w=400&h=300").content)
    assert found["kind"] == 1 and len(found["ids"]) == 60
    answer = client.post(f"{lost}/region", json={"rectangle": [0, 0, 200, 300]}).json()
    assert answer["per"] == "region" and answer["tissue_mm2"] is None
    assert client.get(f"{lost}/density").status_code == 404
    assert client.get(f"{lost}/nucleus?id=3").json()["outline"] is None


def test_the_density_map_as_an_overlay(client, result):
    about = client.get(f"{result}/density").json()
    assert (about["width"], about["height"]) == (2, 2) and about["width_px"] == 400
    picture = np.asarray(Image.open(io.BytesIO(client.get(f"{result}/density.png").content)))
    assert picture.shape == (2, 2, 4) and (picture[..., 3] == 255).all()


def test_downloads(client, result, named):
    answer = client.get(f"{result}/files/nuclei.geojson")
    assert answer.content == (named / "results/out/nuclei.geojson").read_bytes()
    assert answer.headers["content-disposition"] == 'attachment; filename="out_nuclei.geojson"'
    for name in ("secret.txt", "..%2f..%2fsecret.txt", "nuclei.geojson.gz", "%00"):
        assert client.get(f"{result}/files/{name}").status_code == 404


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("y=0&w=1&h=1", "needs x=NUMBER"),
        ("x=a&y=0&w=1&h=1", "x must be a number"),
        ("x=nan&y=0&w=1&h=1", "x must be a number"),
        ("x=0&y=0&w=1e99&h=1", "w must be a number"),
        ("x=0&y=0&w=1&h=1&value=ids", "no such measurement. There are: area_um2, "),
    ],
)
def test_bad_queries_are_explained(client, result, query, message):
    answer = client.get(f"{result}/nuclei?{query}")
    assert answer.status_code == 400 and message in answer.json()["error"]


def test_bad_bodies_are_explained(client, result):
    assert client.post(f"{result}/region", content=b"{").status_code == 400
    assert client.post(f"{result}/region", content=b" " * (1 << 20) + b"1").status_code == 413
    assert client.get(f"{result}/region").status_code == 405


def test_what_is_not_listed_is_not_there(client):
    for address in ("api/slides/x", "api/slides/x.dzi", "api/results/x", "api/results/x/nuclei", "nothing"):
        answer = client.get(address)
        assert answer.status_code == 404 and answer.json()["error"], address


def test_while_an_index_is_made_the_page_is_told_how_far_it_is(client, result, monkeypatch):
    from nucseg_jax.view.results.store import NotReadyError

    def not_ready(self: ResultStore, listed: object) -> None:
        raise NotReadyError(20, 60)

    monkeypatch.setattr(ResultStore, "index", not_ready)
    answer = client.get(result)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    assert answer.json() == {"error": "the nuclei are being read: 20 of 60", "done": 20, "of": 60}


def test_a_damaged_result_is_explained(tmp_path: Path, named: Path):
    write_result(tmp_path / "bad", named / "slides" / "slide.png", formats=["parquet"])
    (tmp_path / "bad" / "nuclei.parquet").write_bytes(b"PAR1")
    library = Library()
    library.add(tmp_path / "bad")
    with page_of(library, tmp_path) as client:
        for _ in range(2):
            answer = client.get(f"api/results/{library.results()[0].id}")
            assert answer.status_code == 422 and "nuclei.parquet: cannot be read" in answer.json()["error"]
