"""Does the jobs one after the other, each by the command `nucseg predict` in a process of its own."""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError, in_short, shown
from nucseg_jax.predict.results_folder import look_into
from nucseg_jax.view.jobs.store import Job, JobStore

_LOOK_S = 0.2  # between looks at the process
_RETRY_S = 10.0  # until the database is tried again
_PATIENCE_S = 25.0  # that a process has to end when it is asked to; `cli.interruption` gives it 20
_LOG_END = 4000  # bytes of a log that an error is looked for in

_FORMATS = ("geojson", "csv", "parquet", "neighbours", "density", "overlay")


class Running(NamedTuple):
    """How far the job is that is being done.

    Attributes:
      job: its id.
      stage: of `predict.progress.Stage`, or "starting".
      part: of the slide, 0 … 1.
      since_s: when this stage began, on the clock of `time.monotonic`.
    """

    job: str
    stage: str
    part: float
    since_s: float

    def seconds_left(self) -> float | None:
        """Until nuclei have been looked for everywhere; None while nobody can say."""
        if self.stage != "segmenting" or self.part <= 0:
            return None
        return (time.monotonic() - self.since_s) * (1 - self.part) / self.part


def predict_command(job: Job, out: Path, progress: Path, workdir: Path | None) -> list[str]:
    """The command of a job.

    Args:
      job: what is to be done.
      out: folder of its results.
      progress: see `predict.progress`.
      workdir: the run that the server was started with; None: an installed model.
    """
    command = [sys.executable, "-P", "-m", "nucseg_jax.predict", str(job.opening.path), "--out", str(out)]
    command += ["--progress", str(progress), "--formats", *_FORMATS]
    if job.model is not None:
        command += ["--model", job.model]
    elif workdir is not None:
        command += ["--workdir", str(workdir)]
    if job.opening.mpp is not None:
        command += ["--mpp", repr(job.opening.mpp)]
    if job.opening.white is not None:
        command += ["--white", str(job.opening.white)]
    return command if job.opening.crop else [*command, "--no-crop"]


class JobRunner:
    """A thread that does queued jobs until it is stopped.

    A job that is running when it stops is queued again; the command then goes on where it can.

    Args:
      store: has the jobs.
      folder: each job gets a folder in it, with its results and what the command has printed.
      on_result: is told the job and the folder of its result.
      command: makes the command of a job, given its folder of results and its file of progress.
    """

    def __init__(
        self,
        store: JobStore,
        folder: Path,
        on_result: Callable[[Job, Path], object],
        command: Callable[[Job, Path, Path], Sequence[str]],
    ) -> None:
        self._store, self._folder, self._on_result, self._command = store, folder, on_result, command
        self._running: Running | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._cancelled: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="jobs")

    def start(self) -> None:
        """Begin, with what was queued or running before."""
        self._store.queue_again()
        self._thread.start()

    def wake(self) -> None:
        """Look for jobs: one has been queued."""
        self._wake.set()

    def stop(self) -> None:
        """End the running job's process, and then the thread."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def running(self) -> Running | None:
        """How far the job is that is being done; None where none is."""
        return self._running

    def cancel(self, id_: str) -> bool:
        """Cancel a job; False where it is neither queued nor running."""
        if self._store.change(id_, of="queued", to="cancelled"):
            return True
        job = self._store.job(id_)
        if job is None or job.state != "running":
            return False
        self._cancelled.add(id_)
        return True

    def results(self, job: Job) -> list[Path]:
        """The folders of results that a job has made."""
        out = self._folder / job.id / "results"
        return [finished.folder for finished in look_into(out).finished] if out.is_dir() else []

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                job = self._store.take()
                if job is None:
                    self._wake.wait()
                    self._wake.clear()
                else:
                    self._do(job)
            except sqlite3.Error as error:  # as when the disk is full
                print(f"note: the list of jobs: {in_short(error)}; trying again", file=sys.stderr, flush=True)
                self._stop.wait(_RETRY_S)

    def _do(self, job: Job) -> None:
        folder = self._folder / job.id
        progress, log = folder / "progress.json", folder / "log.txt"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            progress.unlink(missing_ok=True)
            self._running = Running(job.id, "starting", 0.0, time.monotonic())
            with log.open("wb") as output:
                process = subprocess.Popen(
                    list(self._command(job, folder / "results", progress)),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                code = self._watch(job, process, progress)
        except OSError as error:
            self._end(job, f"the job cannot be started: {error.strerror or error}")
            return
        finally:
            self._running = None
        if code == 0:
            self._end(job, self._take_result(job))
        else:
            self._end(job, _error_of(log) or f"the command has ended with code {code}")

    def _watch(self, job: Job, process: subprocess.Popen[bytes], progress: Path) -> int:
        """Wait for the process, ending it where that is asked for; its exit code."""
        while process.poll() is None:
            if self._stop.is_set() or job.id in self._cancelled:
                process.terminate()
                try:
                    process.wait(_PATIENCE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                break
            self._look(job, progress)
            time.sleep(_LOOK_S)
        return int(process.wait())

    def _look(self, job: Job, progress: Path) -> None:
        try:
            told: dict[str, Any] = json.loads(progress.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # not yet there
            return
        before, stage, part = self._running, str(told.get("stage")), float(told.get("part") or 0.0)
        same = before is not None and before.stage == stage
        since = before.since_s if same and before is not None else time.monotonic()
        self._running = Running(job.id, stage, part, since)

    def _take_result(self, job: Job) -> str:
        """Hand the result on; a message where there is none."""
        try:
            for folder in self.results(job):
                self._on_result(job, folder)
                return ""
        except UserError as error:
            return str(error)
        return "the command has made no result"

    def _end(self, job: Job, message: str) -> None:
        if job.id in self._cancelled and message:
            self._cancelled.discard(job.id)
            self._store.change(job.id, of="running", to="cancelled")
        elif message and self._stop.is_set():
            self._store.queue_again()
        elif message:
            self._store.change(job.id, of="running", to="failed", message=message)
        else:
            self._store.change(job.id, of="running", to="done")


def _error_of(log: Path) -> str:
    """What a command has said was wrong, from its `error:` on; "" where it said nothing."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_END))
        text = file.read().decode("utf-8", "replace")
    _, found, message = text.rpartition("\nerror: ") if "\nerror: " in text else text.rpartition("error: ")
    return shown(message.strip().replace("\n", " ")) if found else ""
