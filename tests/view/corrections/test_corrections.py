"""Corrections: saved, refused, found again, and as GeoJSON that training takes."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from ml_collections import ConfigDict
from starlette.testclient import TestClient

from data_prep import folder
from nucseg_jax import data
from nucseg_jax.nuclei import Nucleus
from nucseg_jax.view.library import Library
from nucseg_jax.view.routes import corrections as correction_routes
from tests.view.conftest import page_of
from tests.view.drawn_results import FRAME, write_result, write_slide

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""

NUCLEI: dict[int, Box] = {
    1: (20, 20, 30, 30),
    2: (50, 20, 60, 30),
    3: (80, 20, 90, 30),
    4: (92, 20, 102, 30),
    5: (20, 60, 30, 70),
    6: (146, 60, 156, 70),  # which the region's border cuts
    7: (200, 200, 210, 210),
}
REGION: Box = (10, 10, 150, 100)
MERGED: Box = (80, 20, 102, 30)
REDRAWN: Box = (18, 58, 34, 72)
NOTHING = {"version": 0, "removed": [], "added": [], "regions": [], "notes": []}


def corners(box: Box) -> list[list[float]]:
    left, top, right, bottom = map(float, box)
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def drawn(id_: str, box: Box, *replaces: int) -> dict[str, Any]:
    return {"id": id_, "polygon": corners(box), "replaces": list(replaces)}


def document(version: int = 0, **changes: Any) -> dict[str, Any]:
    """Nucleus 2 is removed, 3 and 4 are one, 5 is drawn again, one is drawn off the checked region."""
    made = {
        "version": version,
        "removed": [2, 3, 4],
        "added": [drawn("a1", MERGED, 3, 4), drawn("a2", REDRAWN, 5), drawn("a3", (300, 200, 310, 210))],
        "regions": [{"id": "r1", "polygon": corners(REGION)}],
    }
    return made | changes


def square(id_: int) -> Nucleus:
    left, top, right, bottom = NUCLEI[id_]
    return Nucleus(id_, top, left, np.ones((bottom - top, right - left), bool), 0.75)


def write(folder: Path, ids: Iterable[int] = NUCLEI, **options: Any) -> None:
    write_result(folder / "out", folder / "slide.png", list(map(square, ids)), **options)


def open_page(folder: Path) -> TestClient:
    library = Library()
    library.add(folder / "out")
    return page_of(library, folder)


def address(client: TestClient) -> str:
    return f"api/results/{client.get('api/library').json()['results'][0]['id']}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_slide(root / "slide.png")
    write(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A folder with slide.png and its result."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def features(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["features"]
    return found


def boxes(found: list[dict[str, Any]], kind: str) -> list[Box]:
    return [
        tuple(map(round, shapely.geometry.shape(feature["geometry"]).bounds))
        for feature in found
        if feature["properties"]["objectType"] == kind
    ]


def test_corrections_are_kept_with_a_version(root):
    with open_page(root) as client:
        result = address(client)
        assert client.get(f"{result}/corrections").json() == NOTHING
        assert client.put(f"{result}/corrections", json=document()).json() == {"version": 1}
        stale = client.put(f"{result}/corrections", json=document(removed=[1]))
        assert (
            stale.status_code == 409 and "as version 1, and yours were made from 0" in stale.json()["error"]
        )
        assert client.put(f"{result}/corrections", json=document(1, removed=[6, 6])).json() == {"version": 2}
    with open_page(root) as client:  # after a restart
        found = client.get(f"{address(client)}/corrections").json()
        assert found == document(2, removed=[6], notes=[])


def test_corrections_are_of_the_nuclei_that_they_name(root):
    with open_page(root) as client:
        client.put(f"{address(client)}/corrections", json=document())
    shutil.move(root / "out", root / "old")
    write(root, ids=[1, 2, 3, 4, 5, 7])
    with open_page(root) as client:  # found with another model
        found = client.get(f"{address(client)}/corrections").json()
        (note,) = found.pop("notes")
        assert found | {"notes": []} == NOTHING and "has been made anew" in note
    shutil.rmtree(root / "out")
    shutil.copytree(root / "old", root / "out")
    with open_page(root) as client:
        assert client.get(f"{address(client)}/corrections").json() == document(1, notes=[])


def test_what_is_trained_on_is_what_was_corrected(root, tmp_path):
    with open_page(root) as client:
        client.put(f"{address(client)}/corrections", json=document())
        answer = client.get(f"{address(client)}/corrected.geojson")
    assert answer.headers["content-type"] == "application/geo+json"
    assert answer.headers["content-disposition"] == 'attachment; filename="slide.geojson"'
    assert [path.suffix for path in (root / "state/corrections").iterdir()] == [".json"]
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(root / "slide.png", source)
    (source / "slide.geojson").write_bytes(answer.content)
    command = ["--source", source, "--out", tmp_path / "data", "--name", "mine", "--no-test"]
    folder.main(list(map(str, command)))
    config = {
        "dir": str(tmp_path / "data"),
        "dataset": "folder",
        "split": "mine",
        "stain": "none",
        "size": None,
    }
    (example,) = data.load(ConfigDict(config)).splits["train"]
    labels, unannotated = np.zeros(FRAME.size, np.int32), np.ones(FRAME.size, bool)
    for number, (left, top, right, bottom) in enumerate([MERGED, REDRAWN, NUCLEI[1], NUCLEI[6]], 1):
        labels[top:bottom, left:right] = number
    unannotated[10:100, 10:150] = False
    np.testing.assert_array_equal(example.original_label_map, labels)
    np.testing.assert_array_equal(example.original_unannotated, unannotated)


def test_the_file_is_as_those_of_the_result(root):
    with open_page(root) as client:
        result = address(client)
        client.put(f"{result}/corrections", json=document(added=[]))
        found = features(client.get(f"{result}/corrected.geojson"))
    (region,) = (feature for feature in found if feature["properties"]["objectType"] == "annotation")
    assert region["properties"] == {
        "objectType": "annotation",
        "name": "Checked 1",
        "classification": {"name": "Region*", "color": [0, 0, 180]},
        "isLocked": True,
    }
    written = {feature["id"]: feature for feature in _of_predict(root)}
    kept = [feature for feature in found if feature is not region]
    assert [feature["properties"]["measurements"]["Nucleus number"] for feature in kept] == [1, 5, 6]
    for feature in kept:
        expected = written[feature["id"]]
        assert feature["properties"] == expected["properties"]
        assert shapely.geometry.shape(feature["geometry"]).equals(
            shapely.geometry.shape(expected["geometry"])
        )


def _of_predict(root: Path) -> list[dict[str, Any]]:
    """The features of nuclei.geojson of the same result."""
    write(root, formats=["geojson"])
    found: list[dict[str, Any]] = json.loads((root / "out/nuclei.geojson").read_text())["features"]
    return found


def test_the_whole_slide_is_asked_for(root, monkeypatch):
    monkeypatch.setattr(correction_routes, "read_parts", _in_pieces(correction_routes.read_parts))
    with open_page(root) as client:
        result = address(client)
        refused = client.get(f"{result}/corrected.geojson")
        assert refused.status_code == 409 and "no region is marked as checked" in refused.json()["error"]
        everything = features(client.get(f"{result}/corrected.geojson?scope=all"))
        assert boxes(everything, "detection") == list(NUCLEI.values())
        client.put(f"{result}/corrections", json=document())
        found = features(client.get(f"{result}/corrected.geojson?scope=all"))
        assert client.get(f"{result}/corrected.geojson?scope=some").status_code == 400
    left = [NUCLEI[number] for number in (1, 6, 7)]
    assert boxes(found, "detection") == [MERGED, REDRAWN, (300, 200, 310, 210), *left]
    assert boxes(found, "annotation") == []
    assert len({feature["id"] for feature in found}) == len(found)


def _in_pieces(read: Any) -> Any:
    """Reads parts of one nucleus each."""

    def pieces(*files: Any) -> Any:
        for part in read(*files):
            for row in range(len(part)):
                one = slice(row, row + 1)
                columns = {name: values[one] for name, values in part.columns.items()}
                outlines = part.outlines[one]
                yield type(part)(part.ids[one], part.object_ids[one], part.centroids[one], columns, outlines)

    return pieces


def test_an_outline_that_crosses_itself_is_kept_and_made_valid(root):
    crossing = [[20, 20], [30, 30], [30, 20], [20, 30]]
    with open_page(root) as client:
        result = address(client)
        added = [{"id": "a1", "polygon": crossing, "replaces": [1]}]
        assert client.put(f"{result}/corrections", json=document(added=added)).status_code == 200
        assert client.get(f"{result}/corrections").json()["added"] == added
        found = features(client.get(f"{result}/corrected.geojson"))
    shape = shapely.geometry.shape(found[1]["geometry"])
    assert shape.geom_type == "MultiPolygon" and shape.is_valid and shape.area == pytest.approx(50)


WRONG: dict[str, Any] = {
    "no object": [1],
    "no version": document(None),
    "a version that is no number": document(True),
    "an unknown nucleus": document(removed=[2, 99]),
    "an unknown nucleus that is replaced": document(added=[drawn("a1", MERGED, 99)]),
    "no whole number": document(removed=[1.5]),
    "a huge number": document(removed=[2**70]),
    "two points": document(regions=[{"id": "r1", "polygon": [[1, 1], [5, 5]]}]),
    "three numbers a point": document(regions=[{"id": "r1", "polygon": [[1, 1, 1]] * 3}]),
    "no area": document(added=[{"id": "a1", "polygon": [[1, 1], [5, 5], [9, 9]]}]),
    "off the slide": document(added=[drawn("a1", (401, 20, 410, 30))]),
    "far off the slide": document(added=[drawn("a1", (20, 20, 10**8, 30))]),
    "one id twice": document(added=[drawn("a1", MERGED), drawn("a1", REDRAWN)]),
    "an odd id": document(added=[drawn("a 1", MERGED)]),
    "too many": document(removed=[1] * 20_001),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_corrections_are_refused(client, library, what):
    by_name = {result.name: result.id for result in library.results()}
    result = f"api/results/{by_name['out']}"
    answer = client.put(f"{result}/corrections", json=WRONG[what])
    assert answer.status_code == 422 and len(answer.json()["error"]) < 400
    assert client.get(f"{result}/corrections").json() == NOTHING


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
def test_numbers_that_are_not_finite_are_refused(client, library, number):
    text = json.dumps(document()).replace("[10.0", f"[{number}", 1)
    answer = client.put(f"api/results/{library.results()[0].id}/corrections", content=text)
    assert answer.status_code == 422 and "two finite numbers" in answer.json()["error"]


def test_bodies_have_a_limit(client, library, monkeypatch):
    at = f"api/results/{library.results()[0].id}/corrections"
    large = document(padding="x" * (2 << 20), removed=[10**6])
    assert client.put(at, json=large).status_code == 422, "more than other requests may have"
    monkeypatch.setattr(correction_routes, "MOST_BYTES", 1000)
    assert client.put(at, json=large).status_code == 413


def test_a_result_without_outlines_cannot_be_corrected(client, library):
    by_name = {result.name: result.id for result in library.results()}
    result = f"api/results/{by_name['lost']}"
    for answer in (
        client.put(f"{result}/corrections", json=document()),
        client.get(f"{result}/corrected.geojson?scope=all"),
    ):
        assert answer.status_code == 422 and "--formats parquet" in answer.json()["error"]


def test_damaged_files_are_named(root):
    with open_page(root) as client:
        result = address(client)
        client.put(f"{result}/corrections", json=document())
        (path,) = (root / "state/corrections").iterdir()
        for text in ("{", "[]", '{"version": 1}'):
            path.write_text(text)
            answer = client.get(f"{result}/corrections")
            assert answer.status_code == 422 and str(path) in answer.json()["error"]
