"""Endpoints of comparisons, as the page uses them."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from nucseg_jax import metrics
from nucseg_jax.metrics.outcomes import Outcome
from nucseg_jax.nuclei import Frame
from nucseg_jax.view.comparison import store as comparison_store
from nucseg_jax.view.comparison.comparing import Comparison
from nucseg_jax.view.library import Library
from nucseg_jax.view.results import store as result_store
from tests.export.drawn_nuclei import label_map_of
from tests.view.comparison.test_comparing import PREDICTION, TRUTH
from tests.view.conftest import page_of
from tests.view.drawn_results import FRAME, write_result, write_slide
from tests.view.routes.test_routes import unpacked


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide with two results, one of them without outlines too; and results of other slides."""
    root = tmp_path_factory.mktemp("compared")
    slide = root / "slide.png"
    write_slide(slide)
    write_result(root / "first", slide, TRUTH)
    write_result(root / "second", slide, PREDICTION)
    write_result(root / "table", slide, PREDICTION, formats=["csv"])
    write_result(root / "other mpp", slide, frame=Frame(FRAME.size, 0.5, 0.5))
    write_result(root / "other size", slide, frame=Frame((200, 400), 0.25, 0.25))
    write_slide(root / "elsewhere.png")
    write_result(root / "elsewhere", root / "elsewhere.png")
    return root


@pytest.fixture(scope="module")
def library(root: Path) -> Library:
    library = Library()
    library.add(root)
    return library


@pytest.fixture(scope="module")
def client(root: Path, library: Library) -> Iterator[TestClient]:
    with page_of(library, root) as client:
        yield client


@pytest.fixture(scope="module")
def ids(library: Library) -> dict[str, str]:
    return {result.name: result.id for result in library.results()}


def test_two_results_are_compared(client, ids):
    answer = client.get(f"api/compare?reference={ids['first']}&other={ids['second']}")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    wanted = metrics.score(label_map_of(TRUTH, FRAME), label_map_of(PREDICTION, FRAME))
    names = ("aji", "aji_plus", "pq", "dq", "sq", "dice")
    assert {name: found[name] for name in names} == pytest.approx(
        {name: wanted[name] for name in names}, abs=1e-12
    )
    assert (found["reference"], found["other"], found["notes"]) == (ids["first"], ids["second"], [])
    outcomes = {"right": 1, "missed": 1, "false": 1, "merged": 2, "split": 1}
    assert found["counts"] == {"reference": 5, "other": 5, **outcomes}


@pytest.mark.parametrize(
    ("of", "against", "role", "wanted"),
    [
        ("first", "second", "reference", {1: "RIGHT", 2: "MISSED", 3: "MERGED", 4: "MERGED", 5: "SPLIT"}),
        ("second", "first", "other", {1: "RIGHT", 2: "MERGED", 3: "SPLIT", 4: "SPLIT", 5: "FALSE"}),
        ("second", "first", "reference", {1: "RIGHT", 2: "SPLIT", 3: "MERGED", 4: "MERGED", 5: "MISSED"}),
    ],
)
def test_nuclei_are_coloured_by_what_became_of_them(client, ids, of, against, role, wanted):
    query = f"x=0&y=0&w=400&h=300&against={ids[against]}&role={role}"
    found = unpacked(client.get(f"api/results/{ids[of]}/nuclei?{query}").content)
    named = {
        int(id_): Outcome(int(value)).name for id_, value in zip(found["ids"], found["value"], strict=True)
    }
    assert named == wanted


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("table", "table: has no outlines, only centroids"),
        ("other mpp", "first and other mpp take the slide for 0.25 and 0.5 µm a pixel"),
        ("other size", "first and other size are not of one slide: 400 × 300 pixels from 0, 0 and 400 × 200"),
        ("elsewhere", "first and elsewhere are of different slides (slide.png of"),
    ],
)
def test_what_cannot_be_compared_is_explained(client, ids, other, message):
    for address in (
        f"api/compare?reference={ids['first']}&other={ids[other]}",
        f"api/results/{ids['first']}/nuclei?x=0&y=0&w=9&h=9&against={ids[other]}&role=reference",
    ):
        answer = client.get(address)
        assert answer.status_code == 422 and message in answer.json()["error"], answer.text
        assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("compare", 400, "needs reference="),
        ("compare?reference=FIRST", 400, "needs other="),
        ("compare?reference=FIRST&other=x", 404, "no result has this id"),
        ("results/FIRST/nuclei?x=0&y=0&w=9&h=9&against=FIRST", 400, "needs role="),
        ("results/FIRST/nuclei?x=0&y=0&w=9&h=9&against=FIRST&role=x", 400, "role must be reference or other"),
        ("results/FIRST/nuclei?x=0&y=0&w=9&h=9&against=x&role=other", 404, "no result has this id"),
        ("results/FIRST/nuclei?x=0&y=0&w=9&h=9&against=FIRST&role=other&value=solidity", 400, "not both"),
    ],
)
def test_bad_queries_are_explained(client, ids, query, status, message):
    answer = client.get(f"api/{query.replace('FIRST', ids['first'])}")
    assert answer.status_code == status and message in answer.json()["error"], answer.text


def test_while_a_comparison_is_made_the_page_is_told_how_far_it_is(root, tmp_path, ids, library, monkeypatch):
    go, compare = threading.Event(), comparison_store.compare

    def slowly(reference, other, on_count) -> Comparison:
        on_count(3)
        go.wait(60)
        return compare(reference, other, on_count)

    monkeypatch.setattr(comparison_store, "compare", slowly)
    with page_of(library, tmp_path) as client:
        pair = ids["first"], ids["second"]
        for id_ in pair:
            assert client.get(f"api/results/{id_}").status_code == 200
        monkeypatch.setattr(result_store, "PATIENCE_S", 0.05)
        address = f"api/compare?reference={pair[0]}&other={pair[1]}"
        answer = client.get(address)
        while answer.json()["done"] != 3:
            answer = client.get(address)
        assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
        assert answer.json() == {
            "error": "the results are being compared, nuclei: 3 of 5",
            "done": 3,
            "of": 5,
        }
        go.set()
        monkeypatch.setattr(result_store, "PATIENCE_S", 60.0)
        assert client.get(address).json()["counts"]["right"] == 1


def test_a_replaced_result_is_compared_again(tmp_path):
    slide = tmp_path / "slide.png"
    write_slide(slide)
    for name in ("first", "second"):
        write_result(tmp_path / name, slide, TRUTH)
    library = Library()
    library.add(tmp_path)
    first, second = (result.id for result in library.results())
    with page_of(library, tmp_path) as client:
        address = f"api/compare?reference={first}&other={second}"
        assert client.get(address).json()["aji"] == 1.0
        write_result(tmp_path / "second", slide, [])
        assert client.get(address).json()["aji"] == 0.0
