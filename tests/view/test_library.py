"""What clients may read."""

import json
import shutil
from pathlib import Path

import pytest

from nucseg_jax.errors import UserError
from nucseg_jax.view.library import Library, NotListedError
from nucseg_jax.view.slides.displayed_slide import Opening
from tests.view.drawn_results import write_result, write_slide


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    for name in ("a.png", "b.tif"):
        write_slide(tmp_path / "slides" / name, (60, 80))
    return tmp_path / "slides"


@pytest.fixture
def results(tmp_path: Path, slides: Path) -> Path:
    write_result(tmp_path / "results" / "a", slides / "a.png", [])
    return tmp_path / "results"


def listed(*paths: Path) -> Library:
    library = Library()
    for path in paths:
        library.add(path)
    return library


def test_a_folder_stands_for_the_slides_in_it(slides):
    (slides / "notes.txt").write_text("secret")
    library = listed(slides)
    assert [slide.name for slide in library.slides()] == ["a.png", "b.tif"]
    for slide in library.slides():
        assert library.slide(slide.id) == slide and slide.opening.path == slides / slide.name
        assert slide.id.isalnum() and len(slide.id) == 20
    assert not library.results() and not library.notes


def test_ids_are_the_same_the_next_time(slides, results):
    first, second = listed(slides, results), listed(results, slides)
    assert {slide.id for slide in first.slides()} == {slide.id for slide in second.slides()}
    assert [result.id for result in first.results()] == [result.id for result in second.results()]


@pytest.mark.parametrize("inner", [True, False])
def test_a_result_brings_its_slide(slides, results, inner):
    library = listed(results / "a" if inner else results)
    (result,) = library.results()
    assert (result.name, result.missing) == ("a", "")
    slide = library.slide(result.slide)
    assert slide.opening == Opening(slides / "a.png", None, None, True)


def test_a_result_is_shown_on_its_slide_as_that_was_opened(tmp_path, slides):
    asked = {"mpp": 0.5, "white": 4095, "crop": False}
    write_result(tmp_path / "one", slides / "a.png", [], request=asked)
    library = listed(slides, tmp_path / "one")
    (result,) = library.results()
    assert library.slide(result.slide).opening == Opening(slides / "a.png", 0.5, 4095, False)
    assert len(library.slides()) == 3, "the slide as it was named is another one"


def test_a_slide_that_has_moved_is_found_where_it_is_named(tmp_path, slides, results):
    shutil.move(slides / "a.png", tmp_path / "a.png")
    (alone,) = listed(results).results()
    assert alone.slide is None and "is not there. Name the slide, too" in alone.missing
    library = listed(tmp_path / "a.png", results)
    assert library.slide(library.results()[0].slide).opening.path == tmp_path / "a.png"


def test_another_slide_of_the_name_is_not_taken(slides, results):
    (slides / "a.png").write_bytes(b"other")
    (result,) = listed(results).results()
    assert result.slide is None and "has changed since" in result.missing


def test_links_out_of_a_folder_are_left_out_and_named(tmp_path, slides, results):
    (slides / "c.png").symlink_to(tmp_path / "elsewhere.png")
    write_slide(tmp_path / "elsewhere.png", (60, 80))
    (slides / "inside.png").symlink_to(slides / "a.png")
    (results / "linked").symlink_to(tmp_path / "other")
    write_result(tmp_path / "other", tmp_path / "elsewhere.png", [])
    library = listed(slides, results)
    assert {slide.opening.path.name for slide in library.slides()} == {"a.png", "b.tif"}
    assert [result.name for result in library.results()] == ["a"]
    assert len(library.notes) == 2
    assert "c.png: is left out, since it is a link out of the named folder" in library.notes[0]


def test_a_link_that_is_named_itself_is_followed(tmp_path, slides):
    (tmp_path / "link").symlink_to(slides)
    (tmp_path / "one.png").symlink_to(slides / "a.png")
    library = listed(tmp_path / "link", tmp_path / "one.png")
    assert [slide.opening.path for slide in library.slides()] == [slides / "a.png", slides / "b.tif"]


def test_files_of_a_result_are_its_own(tmp_path, results):
    (tmp_path / "secret").write_text("secret")
    (results / "a" / "nuclei.csv").symlink_to(tmp_path / "secret")
    (result,) = listed(results).results()
    assert result.file("density.png") == results / "a" / "density.png"
    assert result.file("nuclei.csv") is None and result.file("../../secret") is None
    assert result.file("labels.tif") is None


@pytest.mark.parametrize("name", ["", "../a", "0" * 20])
def test_unknown_ids(slides, name):
    library = listed(slides)
    for look in (library.slide, library.result):
        with pytest.raises(NotListedError):
            look(name)


def test_what_cannot_be_listed_is_named(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="no such file or folder"):
        listed(tmp_path / "nothing.png")
    with pytest.raises(UserError, match="has no slide, no image and no result"):
        listed(empty)
    with pytest.raises(UserError, match="is no result"):
        Library().add_result(empty, "empty")


def test_a_summary_that_names_nothing_is_no_error(results):
    path = results / "a" / "summary.json"
    summary = json.loads(path.read_text())
    path.write_text(json.dumps(summary | {"source": None}))
    (result,) = listed(results).results()
    assert result.slide is None and result.missing == "its summary names no slide"
