"""A server's application over drawn slides and results, and a page that knows its address."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nucseg_jax.view.app import ServerOptions, create_app
from nucseg_jax.view.library import Library
from tests.view.drawn_results import write_result, write_slide

TOKEN, PORT = "token-of-this-test", 8765


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with slide.png, its result out/, another of a slide that has gone, lost/, and secret.txt."""
    root = tmp_path_factory.mktemp("named")
    write_slide(root / "slides" / "slide.png")
    write_slide(root / "gone.png")
    write_result(root / "results" / "out", root / "slides" / "slide.png", formats=None)
    write_result(root / "results" / "lost", root / "gone.png", formats=["csv"])
    (root / "gone.png").unlink()
    (root / "secret.txt").write_text("secret of the test")
    return root


@pytest.fixture(scope="module")
def library(named: Path) -> Library:
    library = Library()
    for name in ("slides", "results"):
        library.add(named / name)
    return library


@pytest.fixture(scope="module")
def client(named: Path, library: Library) -> Iterator[TestClient]:
    with page_of(library, named) as client:
        yield client


def page_of(library: Library, folder: Path, **options: Any) -> TestClient:
    """A page whose server keeps its files in a folder; its addresses are relative to the page's."""
    for name in ("state", "cache"):
        (folder / name).mkdir(exist_ok=True)
    app = create_app(library, ServerOptions(TOKEN, PORT, folder / "cache", folder / "state", **options))
    return TestClient(app, base_url=f"http://127.0.0.1:{PORT}/{TOKEN}/", follow_redirects=False)
