"""Indexes that are made when they are asked for."""

import os
import threading
import time
from pathlib import Path

import pytest

from nucseg_jax.errors import DataError
from nucseg_jax.view.library import Library, ListedResult
from nucseg_jax.view.results import store as result_store
from nucseg_jax.view.results.store import NotReadyError, ResultStore, frame_of
from nucseg_jax.view.slides.open_slides import OpenSlides
from tests.view.drawn_results import FRAME, write_result, write_slide


@pytest.fixture
def library(tmp_path: Path) -> Library:
    (tmp_path / "any.svs").touch()
    write_result(tmp_path / "out", tmp_path / "any.svs")
    library = Library()
    library.add(tmp_path / "out")
    return library


def test_an_index_is_made_in_the_background_and_once(tmp_path, library, monkeypatch):
    monkeypatch.setattr(result_store, "PATIENCE_S", 0.05)
    go, read = threading.Event(), result_store.read_parts

    def slowly(*files):
        for part in read(*files):
            yield part
            go.wait(60)

    monkeypatch.setattr(result_store, "read_parts", slowly)
    (result,) = library.results()
    store = ResultStore(library, OpenSlides(), tmp_path / "cache")
    counts = []
    while not counts or not counts[-1]:
        with pytest.raises(NotReadyError) as caught:
            store.index(result)
        counts.append(caught.value.done)
        assert caught.value.of == 60
    assert counts[-1] == 60 and not list((tmp_path / "cache").glob("*/index.json"))
    go.set()
    monkeypatch.setattr(result_store, "PATIENCE_S", 60.0)
    assert store.index(result).about.nuclei == 60
    store.close()
    monkeypatch.setattr(result_store, "read_parts", None)  # the next server finds it
    assert ResultStore(library, OpenSlides(), tmp_path / "cache").index(result).about.nuclei == 60


def test_a_result_that_is_replaced_has_a_new_index(tmp_path, library):
    store = ResultStore(library, OpenSlides(), tmp_path / "cache")
    (result,) = library.results()
    assert store.index(result).about.nuclei == 60
    write_result(tmp_path / "out", tmp_path / "any.svs", [])
    assert store.index(result).about.nuclei == 0
    for listed in (library.result(result.id), *library.results()):
        assert listed.summary["nuclei"]["count"] == 0 and listed.name == result.name


def test_old_indexes_are_deleted(tmp_path, library):
    store = ResultStore(library, OpenSlides(), tmp_path / "cache")
    store.index(library.results()[0])
    (about,) = (tmp_path / "cache").glob("*/index.json")
    store.forget_old()
    assert about.exists()
    month = time.time() - 31 * 24 * 3600
    os.utime(about, (month, month))
    store.forget_old()
    assert not about.parent.exists()


@pytest.mark.parametrize(
    "slide", [None, {}, {"size_px": [0, 5]}, {"size_px": ["a", 5]}, {"size_px": [10**400, 1]}, {"mpp": -1}]
)
def test_a_damaged_summary_is_named(library, slide):
    (result,) = library.results()
    assert frame_of(result) == FRAME
    whole = result.summary["slide"]
    damaged: ListedResult = result._replace(
        summary=result.summary | {"slide": whole | slide if slide else slide}
    )
    with pytest.raises(DataError, match="summary.json is damaged"):
        frame_of(damaged)


def test_tissue_falls_back_to_the_density_map_where_the_slide_cannot_be_opened(tmp_path, library):
    store = ResultStore(library, OpenSlides(), tmp_path / "cache")
    (result,) = library.results()
    assert result.slide is not None
    assert store.tissue(result).kind == "squares"
    assert store.tissue(result) is store.tissue(result)


def test_no_tissue_is_where_the_run_has_masked(tmp_path, monkeypatch):
    write_slide(tmp_path / "slide.png")
    write_result(tmp_path / "out", tmp_path / "slide.png", request={"masked": ["pen", "fold"]})
    library, asked = Library(), []
    library.add(tmp_path / "out")

    def found(frame, slide, masked, density):
        asked.append((slide is not None, masked))

    monkeypatch.setattr(result_store, "analysed_tissue", found)
    ResultStore(library, OpenSlides(), tmp_path / "cache").tissue(*library.results())
    assert asked == [(True, ["pen", "fold"])]
