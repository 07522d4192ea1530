"""The server's application: all endpoints, behind the guard."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from nucseg_jax.errors import UserError, shown
from nucseg_jax.view.guard import Guard
from nucseg_jax.view.library import Library, NotListedError
from nucseg_jax.view.open_slides import OpenSlides
from nucseg_jax.view.result_routes import ResultRoutes
from nucseg_jax.view.result_store import NotReadyError, ResultStore
from nucseg_jax.view.slide_routes import SlideRoutes

_PAGE = Path(__file__).with_name("page")
"""The files of the page itself."""


def create_app(library: Library, *, token: str, port: int, cache: Path, ticket: str | None = None) -> ASGIApp:
    """Put it together.

    Args:
      library: what clients may read.
      token, ticket: see `guard.Guard`.
      port: that the server listens on.
      cache: folder for indexes of nuclei.
    """
    slides = OpenSlides()
    store = ResultStore(library, slides, cache)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        store.forget_old()
        yield
        store.close()
        slides.close()

    def listing(request: Request) -> Response:
        return JSONResponse(_listing(library))

    api: list[BaseRoute] = [
        Route("/library", listing),
        *SlideRoutes(library, slides).routes,
        *ResultRoutes(library, store).routes,
    ]
    app = Starlette(
        routes=[Mount("/api", routes=api), Mount("/", StaticFiles(directory=_PAGE, html=True))],
        exception_handlers={
            HTTPException: _of_http,
            NotListedError: _not_listed,
            NotReadyError: _not_ready,
            UserError: _of_user,
            OSError: _of_system,
            Exception: _of_program,
        },
        lifespan=lifespan,
    )
    return Guard(app, token=token, port=port, ticket=ticket)


def _listing(library: Library) -> dict[str, Any]:
    return {
        "slides": [{"id": slide.id, "name": slide.name} for slide in library.slides()],
        "results": [
            {"id": result.id, "name": result.name, "slide": result.slide, "missing": result.missing}
            for result in library.results()
        ],
        "notes": library.notes,
    }


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _not_listed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 404)


def _not_ready(request: Request, error: Exception) -> Response:
    assert isinstance(error, NotReadyError)
    content = {"error": str(error), "done": error.done, "of": error.of}
    return JSONResponse(content, 503, headers={"Retry-After": "1"})


def _of_user(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 422)


def _of_system(request: Request, error: Exception) -> Response:
    """A file that was there has gone, or cannot be read any more."""
    assert isinstance(error, OSError)
    return JSONResponse({"error": shown(f"a file cannot be read: {error.strerror or error}")}, 422)


def _of_program(request: Request, error: Exception) -> Response:
    """An error of ours: the terminal has the traceback, which Starlette hands on."""
    return JSONResponse({"error": "nucseg view has failed at this. Its terminal says more"}, 500)
