"""The server's application: all endpoints, behind the guard."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from nucseg_jax.errors import UserError, in_short, shown
from nucseg_jax.view.comparison.store import ComparisonStore
from nucseg_jax.view.corrections.store import CorrectionStore
from nucseg_jax.view.guard import Guard
from nucseg_jax.view.jobs.runner import JobRunner, predict_command
from nucseg_jax.view.jobs.store import Job, JobStore
from nucseg_jax.view.library import Library, ListedResult, NotListedError
from nucseg_jax.view.results.facts import model_of, text_of
from nucseg_jax.view.results.store import NotReadyError, ResultStore
from nucseg_jax.view.routes.comparison import CompareRoutes
from nucseg_jax.view.routes.corrections import CorrectionRoutes
from nucseg_jax.view.routes.jobs import JobRoutes
from nucseg_jax.view.routes.results import ResultRoutes
from nucseg_jax.view.routes.slides import SlideRoutes
from nucseg_jax.view.routes.summary import SummaryRoutes
from nucseg_jax.view.slides.open_slides import OpenSlides
from nucseg_jax.view.truths.reading import DrawOutlines

_PAGE = Path(__file__).with_name("page")
"""The files of the page itself."""


Command = Callable[[Job, Path, Path, Path | None], Sequence[str]]


class ServerOptions(NamedTuple):
    """How the server is started.

    Attributes:
      token, port, ticket: see `guard.Guard`.
      cache: folder for indexes of nuclei, which exists.
      state: folder for jobs, their results, uploads and corrections, which exists.
      workdir: the run that jobs take; None: an installed model.
      most_upload_bytes: of one.
      command: makes the command of a job, as `job_runner.predict_command`.
      draw_outlines: of truths; None where they cannot be drawn.
    """

    token: str
    port: int
    cache: Path
    state: Path
    ticket: str | None = None
    workdir: Path | None = None
    most_upload_bytes: int = 2000 * 10**6
    command: Command = predict_command
    draw_outlines: DrawOutlines | None = None


def create_app(library: Library, options: ServerOptions) -> ASGIApp:
    """Put it together.

    Args:
      library: what clients may read; what jobs and uploads have left from an earlier start is added.
      options: see there.
    """
    slides = OpenSlides()
    store = ResultStore(library, slides, options.cache, options.draw_outlines)
    comparisons = ComparisonStore(store)
    comparing = CompareRoutes(library, comparisons)
    corrections = CorrectionStore(options.state / "corrections")
    jobs = _Jobs(library, store, options)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        store.forget_old()
        jobs.runner.start()
        yield
        await run_in_threadpool(jobs.close)
        comparisons.close()
        store.close()
        slides.close()

    def listing(request: Request) -> Response:
        return JSONResponse({**_listing(library), "most_upload_bytes": options.most_upload_bytes})

    api: list[BaseRoute] = [
        Route("/library", listing),
        *SlideRoutes(library, slides).routes,
        *ResultRoutes(library, store, comparing).routes,
        *comparing.routes,
        *CorrectionRoutes(library, store, corrections).routes,
        *SummaryRoutes(library, store, slides, corrections).routes,
        *jobs.routes,
    ]
    app = Starlette(
        routes=[Mount("/api", routes=api), Mount("/", StaticFiles(directory=_PAGE, html=True))],
        exception_handlers={
            HTTPException: _of_http,
            NotListedError: _not_listed,
            NotReadyError: _not_ready,
            UserError: _of_user,
            OSError: _of_system,
            sqlite3.Error: _of_database,
            Exception: _of_program,
        },
        lifespan=lifespan,
    )
    return Guard(app, token=options.token, port=options.port, ticket=options.ticket)


class _Jobs:
    """The queue, with what an earlier start has left.

    Attributes:
      runner: not started.
      routes: its endpoints.
    """

    def __init__(self, library: Library, indexes: ResultStore, options: ServerOptions) -> None:
        uploads = options.state / "uploads"
        uploads.mkdir(exist_ok=True)
        self._store = JobStore(options.state / "jobs.sqlite")
        self._library, self._results = library, dict[str, str]()
        self._list_uploads(uploads)
        self.runner = JobRunner(
            self._store,
            options.state / "jobs",
            lambda job, folder: indexes.prepare(self._list_result(job, folder)),
            lambda job, out, progress: options.command(job, out, progress, options.workdir),
        )
        for job in self._store.jobs():
            for folder in self.runner.results(job) if job.state == "done" else ():
                self._list_result(job, folder)
        self.routes = JobRoutes(
            library,
            self._store,
            self.runner,
            results=self._results,
            uploads=uploads,
            workdir=options.workdir,
            most_bytes=options.most_upload_bytes,
        ).routes

    def close(self) -> None:
        """End the running job, which is queued again."""
        self.runner.stop()
        self._store.close()

    def _list_result(self, job: Job, folder: Path) -> ListedResult:
        result = self._library.add_result(folder, job.name)
        self._results[job.id] = result.id
        return result

    def _list_uploads(self, folder: Path) -> None:
        """List them, and delete what an end of the server has left half."""
        names = dict(self._store.uploads())
        for path in sorted(folder.iterdir()):
            if path.name in names:
                self._library.add_slide(path, names[path.name])
            else:
                path.unlink()


def _listing(library: Library) -> dict[str, Any]:
    return {
        "slides": [{"id": slide.id, "name": slide.name, "file": slide.file_id} for slide in library.slides()],
        "results": [
            {
                "id": result.id,
                "name": result.name,
                "slide": result.slide,
                "missing": result.missing,
                "model": model_of(result),
                "created": text_of(result, "created"),
                "truth": result.is_truth,
            }
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


def _of_database(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": f"the list of jobs cannot be used: {in_short(error)}"}, 422)


def _of_program(request: Request, error: Exception) -> Response:
    """An error of ours: the terminal has the traceback, which Starlette hands on."""
    return JSONResponse({"error": "nucseg view has failed at this. Its terminal says more"}, 500)
