"""A server over drawn slides and results: its application, and the page that a browser shows of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from nucseg_jax.nuclei import Frame
from nucseg_jax.view.app import ServerOptions, create_app
from nucseg_jax.view.library import Library
from tests.export.drawn_nuclei import many
from tests.view.drawn_results import MPP, write_result, write_slide
from tests.view.started_server import StartedServer

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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartedServer]:
    """A slide with two results, all nuclei and all but the last ten; a thin one; one without a resolution."""
    root = tmp_path_factory.mktemp("page")
    write_slide(root / "slide.png")
    formats = ["parquet", "csv", "geojson", "neighbours", "density"]
    nuclei = write_result(root / "results" / "first", root / "slide.png", formats=formats)
    write_result(root / "results" / "second", root / "slide.png", nuclei[:-10], formats=formats)
    write_slide(root / "other.png", mpp=None)
    thin = Frame(size=(6000, 40), mpp=MPP, network_mpp=MPP)
    write_slide(root / "thin.png", thin.size)
    write_result(root / "results" / "thin", root / "thin.png", many(60, thin), frame=thin)
    with StartedServer([root / "slide.png", root / "other.png", root / "results"], root / "state") as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's chromium."""
    from playwright.sync_api import sync_playwright

    from tests.view.driven_page import CHROMIUM

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, server: StartedServer) -> Iterator[Any]:
    """A page of its own, open on the first result; its end fails if a script has failed or was refused."""
    from tests.view.driven_page import shown

    context = browser.new_context(viewport={"width": 1280, "height": 720})
    opened, errors = context.new_page(), []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda line: line.type == "error" and errors.append(line.text))
    opened.goto(server.address)
    shown(opened)
    assert opened.locator("#title").inner_text() == "first"
    yield opened
    context.close()
    refused = ("404", "409", "422")  # a click beside all nuclei; what another tab has saved; no image
    assert [error for error in errors if not any(status in error for status in refused)] == []
