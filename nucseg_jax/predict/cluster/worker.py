"""What runs in a worker process: a segmenter, and one slide after the other."""

import contextlib
import json
import multiprocessing
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from absl import logging
from distributed import Worker, WorkerPlugin, get_worker
from distributed.utils import sync

from nucseg_jax import __version__
from nucseg_jax.errors import DiskFullError, UserError, in_short, shown
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.predict.asking import asked_of, segmenter_for
from nucseg_jax.predict.attempts import Attempts
from nucseg_jax.predict.cluster.messages import Event, SlideResult, SlideTask, topic
from nucseg_jax.predict.request import PredictionRequest

_EVERY_S = 1.0  # between events of one slide


class _Stopped(BaseException):
    """The command has ended, or was stopped."""


class SlidePlugin(WorkerPlugin):
    """Does the slides of one command in a worker process. The network is loaded for the first of them.

    Args:
      session: names the command.
      request: what the user asks; its paths are absolute.
      asked: what results depend on beside the slides, as the command has found it (`asking.asked_of`).
      ignores_interrupts: Ctrl-C reaches the worker, too, and the command alone is to act on it.
    """

    def __init__(
        self,
        session: str,
        request: PredictionRequest,
        asked: Mapping[str, Any],
        *,
        ignores_interrupts: bool,
    ):
        self._session, self._request = session, request
        self._asked = json.loads(json.dumps(asked))
        self._ignores_interrupts, self._version = ignores_interrupts, __version__

    def setup(self, worker: Worker) -> None:
        """Begin in a worker; Dask calls this in the thread of its event loop."""
        self._worker = worker
        self._stop, self._one_at_a_time = threading.Event(), threading.Lock()
        self._attempts: Attempts | None = None
        self._segmenter: Segmenter | None = None
        self._lines: list[str] = []
        if self._ignores_interrupts:
            with contextlib.suppress(ValueError):  # not the main thread
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    def teardown(self, worker: Worker) -> None:
        """Make the slide that is worked on stop, without a trace."""
        self._stop.set()
        if self._one_at_a_time.acquire(blocking=False):  # no slide is worked on
            if self._segmenter is not None:
                self._segmenter.close()
            self._one_at_a_time.release()

    def take(self, task: SlideTask) -> SlideResult:
        """Do a slide."""
        result = SlideResult(self._worker.address, socket.gethostname())
        with self._one_at_a_time:
            self._lines.clear()
            try:
                if (why := self._unfit(task)) is not None:
                    return result._replace(unfit=shown(why))
                self._tell_begun(task.number)
                attempts = self._prepared()
                attempt = attempts.at(task.job, task.before, self._on_progress(task.number), again=task.again)
                return result._replace(lines=tuple(self._lines), attempt=attempt)
            except DiskFullError as error:
                return result._replace(lines=tuple(self._lines), full=str(error))
            except _Unfit as error:
                return result._replace(unfit=str(error))
            except _Stopped:
                return result
            finally:
                if self._stop.is_set() and self._segmenter is not None:
                    self._segmenter.close()

    def _unfit(self, task: SlideTask) -> str | None:
        """Why this worker can do no slide; None where nothing shows."""
        threads = self._worker.state.nthreads
        if threads != 1:
            return f"it has {threads} threads, and does a slide at a time: start workers with --nthreads 1"
        if multiprocessing.current_process().daemon and self._request.workers != 0:
            return (
                "it may start no processes: start it with DASK_DISTRIBUTED__WORKER__DAEMON=False in its "
                "environment, or give --workers 0"
            )
        if not self._request.out.is_dir():
            return f"it does not see --out {self._request.out}, which all machines must share"
        if task.is_there and not task.job.source.exists():
            return f"it does not see {task.job.source}, which all machines must share"
        return None

    def _prepared(self) -> Attempts:
        """What does slides, made for the first one.

        Raises:
          _Unfit: the network cannot be loaded here, or is another one.
        """
        if self._attempts is None:
            try:
                if __version__ != self._version:
                    versions = f"it has nucseg_jax {__version__}, and this command {self._version}"
                    raise UserError(f"{versions}. Install the same there")
                self._segmenter, self._attempts = _load(self._request, self._asked, self._lines.append)
            except UserError as error:
                raise _Unfit(shown(error)) from error
            except Exception as error:
                raise _Unfit(f"the network cannot be loaded: {in_short(error)}") from error
        return self._attempts

    def _on_progress(self, number: int) -> Callable[[float], None]:
        told_s = time.monotonic()

        def on_progress(part: float) -> None:
            nonlocal told_s
            if self._stop.is_set():
                raise _Stopped
            if time.monotonic() - told_s >= _EVERY_S:
                told_s = time.monotonic()
                self._worker.log_event(topic(self._session), self._event(number, part))

        return on_progress

    def _tell_begun(self, number: int) -> None:
        """Tell that a slide begins, and wait until the scheduler knows: this process may die of it."""
        told = partial(
            self._worker.scheduler.log_event, topic=topic(self._session), msg=self._event(number, None)
        )
        sync(self._worker.loop, told)

    def _event(self, number: int, part: float | None) -> dict[str, Any]:
        return Event(number, self._worker.address, part)._asdict()


class _Unfit(Exception):
    """Why this worker can do no slide."""


def _load(
    request: PredictionRequest, asked: Mapping[str, Any], say: Callable[[str], None]
) -> tuple[Segmenter, Attempts]:
    """The segmenter, and what does slides with it.

    Raises:
      UserError: the run cannot be used, or is another one than `asked` was found with.
    """
    logging.set_verbosity(logging.ERROR)
    if request.scratch is not None:
        request.scratch.mkdir(parents=True, exist_ok=True)
    segmenter = segmenter_for(request)
    here = json.loads(json.dumps(asked_of(segmenter, request)))
    if different := sorted(key for key in asked.keys() | here.keys() if asked.get(key) != here.get(key)):
        raise UserError(
            f"it has another run or model: {', '.join(different)} differ. Let all machines have the same"
        )
    attempts = Attempts(segmenter, asked_of(segmenter, request), request, say)
    attempts.clean()
    return segmenter, attempts


def segment_slide(task: SlideTask, session: str) -> SlideResult:
    """Do a slide of a session in this worker; Dask calls this in a thread of its own."""
    worker = get_worker()
    plugin = worker.plugins.get(session)
    if plugin is None:  # the command has ended
        return SlideResult(worker.address, socket.gethostname())
    assert isinstance(plugin, SlidePlugin)
    return plugin.take(task)
