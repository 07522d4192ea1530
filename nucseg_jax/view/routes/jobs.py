"""Endpoints of jobs and uploads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nucseg_jax import pretrained
from nucseg_jax.errors import UserError, in_short, listed, shown
from nucseg_jax.slides.resolution import check_given
from nucseg_jax.view.jobs.runner import JobRunner
from nucseg_jax.view.jobs.store import Job, JobStore
from nucseg_jax.view.jobs.uploads import receive
from nucseg_jax.view.library import Library
from nucseg_jax.view.routes.parameters import body_parts, json_body


class JobRoutes:
    """Endpoints of jobs and uploads.

    Args:
      library: knows slides and results.
      store: has the jobs.
      runner: does them.
      results: job → its result, by ids.
      uploads: folder that they go to.
      workdir: the run that jobs take; None: an installed model.
      most_bytes: of an upload.
    """

    def __init__(
        self,
        library: Library,
        store: JobStore,
        runner: JobRunner,
        *,
        results: Mapping[str, str],
        uploads: Path,
        workdir: Path | None,
        most_bytes: int,
    ) -> None:
        self._library, self._store, self._runner = library, store, runner
        self._results = results
        self._uploads, self._workdir, self._most_bytes = uploads, workdir, most_bytes
        self.routes = [
            Route("/models", self.models),
            Route("/jobs", self.jobs),
            Route("/jobs", self.add, methods=["POST"]),
            Route("/jobs/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/uploads", self.upload, methods=["POST"]),
        ]

    def models(self, request: Request) -> Response:
        """The models that a job may use."""
        run = None if self._workdir is None else shown(self._workdir.name)
        default = pretrained.DEFAULT if self._workdir is None else None
        return JSONResponse({"models": list(pretrained.names()), "default": default, "run": run})

    def jobs(self, request: Request) -> Response:
        """All jobs and how far they are."""
        return JSONResponse({"jobs": self._all()})

    async def add(self, request: Request) -> Response:
        """Queue a slide."""
        document = await json_body(request)
        job = await run_in_threadpool(self._queue, document)
        return JSONResponse({"id": job.id}, 201)

    def cancel(self, request: Request) -> Response:
        """Cancel a job that is queued or running."""
        job = self._job(request)
        if not self._runner.cancel(job.id):
            raise HTTPException(409, f"the job is {job.state}, and cannot be cancelled")
        return JSONResponse({"id": job.id})

    async def upload(self, request: Request) -> Response:
        """Take an image."""
        name = request.query_params.get("name", "")
        remedy = ". Name the file when you start nucseg view, or give --max-upload-mb"
        parts = body_parts(request, self._most_bytes, remedy)
        path = await receive(parts, name, self._uploads)
        display = in_short(shown(Path(name.replace("\\", "/")).name), 120)
        await run_in_threadpool(self._store.add_upload, path.name, display)
        slide = self._library.add_slide(path, display)
        return JSONResponse({"id": slide.id, "name": slide.name}, 201)

    def _queue(self, document: Any) -> Job:
        if not isinstance(document, dict):
            raise UserError('a job is {"slide": ID, "model": NAME or null, "mpp": µm a pixel or null}')
        id_, model, mpp = (document.get(name) for name in ("slide", "model", "mpp"))
        slide = self._library.slide(id_ if isinstance(id_, str) else "")
        if model is not None and model not in pretrained.names():
            there = listed(list(pretrained.names()), most=20)
            raise UserError(f"{in_short(model, 40)}: no such model. There are: {there}")
        opening = slide.opening
        if mpp is not None:
            if isinstance(mpp, bool) or not isinstance(mpp, int | float) or abs(mpp) > 1e9:
                raise UserError("mpp must be a number of µm a pixel, such as 0.25")
            opening = opening._replace(mpp=check_given(float(mpp), "mpp"))
        job = self._store.add(slide.name, opening, model)
        self._runner.wake()
        return job

    def _job(self, request: Request) -> Job:
        job = self._store.job(request.path_params["id"])
        if job is None:
            raise HTTPException(404, "no job has this id: load the page again")
        return job

    def _all(self) -> list[dict[str, Any]]:
        running, ahead, found = self._runner.running(), 0, []
        for job in self._store.jobs():
            about: dict[str, Any] = {"id": job.id, "name": job.name, "state": job.state, "model": job.model}
            about |= {"message": job.message, "stage": None, "part": None, "seconds_left": None}
            if running is not None and running.job == job.id:
                about |= {"stage": running.stage, "part": running.part}
                about["seconds_left"] = running.seconds_left()
            about["ahead"] = ahead if job.state == "queued" else None
            ahead += job.state in ("queued", "running")
            about["result"] = self._results.get(job.id)
            found.append(about)
        return found
