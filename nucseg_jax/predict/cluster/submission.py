"""The slides that a cluster does: handed out, largest first, and followed to their end."""

import contextlib
import queue
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.client import FutureCancelledError
from tqdm import tqdm

from nucseg_jax.errors import DiskFullError, FailedError, in_short, shown
from nucseg_jax.predict.cluster.lost_workers import MOST_LOSSES, LostWorkers
from nucseg_jax.predict.cluster.messages import Event, SlideResult, SlideTask, topic
from nucseg_jax.predict.cluster.overview import Overview
from nucseg_jax.predict.cluster.sizes import bytes_of
from nucseg_jax.predict.cluster.worker import SlidePlugin, segment_slide
from nucseg_jax.predict.jobs import SlideJob
from nucseg_jax.predict.results import state_of

_TICK_S = 0.5
_LOOK_S = 5.0  # between looks at how many workers there are
_WAIT_S = 5.0  # before a slide is tried again that another process works on
_SEEN_S = 120.0  # until results of a worker must show here; network file systems take up to 60
_FETCH_S = 30.0  # for a worker to hand over how a slide ended
_STOP_S = 10.0  # for slides that are worked on to stop
_MOST_UNFIT = 3  # workers one after the other that can do no slide

_SCHEDULER_LOST = "the scheduler of the cluster was lost. The same command goes on with what is not finished"


class Submission:
    """Hands slides out to the workers of a cluster, and follows them.

    Args:
      client: of the cluster's scheduler.
      jobs: the slides; their paths are absolute.
      overview: shows how far they are.

    Attributes:
      session: names the command.
      failed: slides, and what was wrong.
    """

    def __init__(self, client: Client, jobs: Sequence[SlideJob], overview: Overview):
        self.failed: list[tuple[SlideJob, str]] = []
        self._client, self._jobs, self._overview = client, jobs, overview
        self.session = secrets.token_hex(4)
        self._before = [state_of(job.folder) for job in jobs]
        self._sizes = [bytes_of(job.source) for job in jobs]
        self._futures: dict[int, Future[Any]] = {}
        self._tries = 0
        self._later: dict[int, float] = {}  # slides that other processes work on → when they are tried again
        self._unseen: dict[int, tuple[float, str]] = {}  # slides that are done → until when they must show
        self._told: set[tuple[int, str]] = set()
        self._lost_workers, self._unfit = LostWorkers(), 0
        self._messages: queue.SimpleQueue[Event | int] = queue.SimpleQueue()

    @contextlib.contextmanager
    def prepared(self, plugin: SlidePlugin) -> Iterator[None]:
        """Put the plugin into all workers, those that come later, too; at the end all of it goes.

        Raises:
          FailedError: a worker does not take it.
        """
        self._client.subscribe_topic(topic(self.session), self._on_event)
        self._client.subscribe_topic("worker-restart-memory", self._on_memory)  # Dask's
        try:
            self._client.register_plugin(plugin, name=self.session)
        except Exception as error:
            raise FailedError(
                f"a worker of the cluster cannot begin ({in_short(error)}). Install the same nucseg_jax there"
            ) from error
        try:
            yield
        finally:
            self._stop()

    def run(self) -> None:
        """Hand out all slides, and return when each is done or has failed.

        Raises:
          FailedError: the workers can do no slide, or the scheduler was lost.
          DiskFullError: there is no room for a slide.
        """
        for number in sorted(range(len(self._jobs)), key=lambda number: -self._sizes[number]):
            self._submit(number)
        look_s, workers = -_LOOK_S, 0
        while self._futures or self._later or self._unseen:
            self._receive(_TICK_S)
            now = time.monotonic()
            for number in [number for number, due in self._later.items() if due <= now]:
                del self._later[number]
                self._submit(number, again=True)
            for number in list(self._unseen):
                self._look_for(number)
            if now - look_s >= _LOOK_S:
                look_s, workers = now, self._count_workers()
            self._overview.show(workers)

    def _count_workers(self) -> int:
        try:
            return len(self._client.nthreads())
        except (OSError, TimeoutError, RuntimeError) as error:
            raise FailedError(_SCHEDULER_LOST) from error

    def _submit(self, number: int, *, again: bool = False) -> None:
        job = self._jobs[number]
        self._tries += 1
        task = SlideTask(number, job, self._before[number], job.source.exists(), again)
        future = self._client.submit(
            segment_slide,
            task,
            self.session,
            key=f"slide-{self.session}-{number}-{self._tries}",
            priority=self._sizes[number],
        )
        self._futures[number] = future
        future.add_done_callback(lambda _: self._messages.put(number))

    def _on_event(self, event: tuple[float, Mapping[str, Any]]) -> None:
        self._messages.put(Event(**event[1]))

    def _on_memory(self, event: tuple[float, Mapping[str, Any]]) -> None:
        self._lost_workers.over_memory(event[1]["worker"])

    def _receive(self, timeout_s: float) -> None:
        """Deal with all that workers tell, and wait for the first of it."""
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._messages.get(timeout=timeout_s)
                if isinstance(message, Event):
                    self._follow(message)
                elif message in self._futures:
                    self._end(message, self._futures.pop(message))
                timeout_s = 0.0

    def _follow(self, event: Event) -> None:
        if event.number not in self._futures:
            return  # it comes late
        if event.part is None:
            self._lost_workers.begun(event)
        self._overview.at(event.number, event.part or 0.0)

    def _end(self, number: int, future: Future[Any]) -> None:
        """Deal with a task that has ended."""
        try:
            result = future.result(timeout=_FETCH_S)
        except TimeoutError:  # its worker was lost with the result, and another repeats the task
            self._futures[number] = future
            future.add_done_callback(lambda _: self._messages.put(number))
        except KilledWorker as error:
            self._overview.back(number)
            self._end_lost(number, error.last_worker.address)
        except (CancelledError, FutureCancelledError) as error:
            raise FailedError(_SCHEDULER_LOST) from error
        except Exception as error:  # of Dask
            self._fail(number, in_short(error), say=True)
        else:
            self._overview.back(number)
            self._lost_workers.ended(number, result.worker)
            self._end_told(number, result)

    def _end_lost(self, number: int, worker: str) -> None:
        source, lost = shown(self._jobs[number].source), self._lost_workers.blame(number, worker)
        why = self._lost_workers.why(worker)
        if lost >= MOST_LOSSES:
            self._fail(number, f"{lost} workers were lost at it (the last was {why})", say=True)
            return
        if lost:
            again = f"it is begun again, {lost} of {MOST_LOSSES - 1}"
            tqdm.write(f"{source}: its worker was lost ({why}); {again}")
        self._submit(number, again=True)

    def _end_told(self, number: int, result: SlideResult) -> None:
        for line in result.lines:
            tqdm.write(line)
        attempt = result.attempt
        if result.full is not None:
            raise DiskFullError(*result.full.split("\n"))
        if result.unfit is not None:
            self._retire(result, result.unfit)
            self._submit(number)
        elif attempt is None:  # it was stopped, though this command was not
            self._submit(number, again=True)
        elif attempt.owner is not None:
            if (number, attempt.owner) not in self._told:
                self._told.add((number, attempt.owner))
                tqdm.write(shown(f"waiting for {attempt.owner}, which works on {self._jobs[number].source}"))
            self._later[number] = time.monotonic() + _WAIT_S
        elif attempt.failure is not None:
            self._unfit = 0
            self._fail(number, attempt.failure)
        else:
            self._unfit = 0
            self._unseen[number] = time.monotonic() + _SEEN_S, result.host
            self._look_for(number)

    def _look_for(self, number: int) -> None:
        """A slide is done when its result shows here."""
        job, (until, host) = self._jobs[number], self._unseen[number]
        if state_of(job.folder) is not None:
            del self._unseen[number]
            self._overview.done(number)
        elif time.monotonic() > until:
            del self._unseen[number]
            self._fail(
                number, f"{host} has written {job.folder}, which does not show here: share --out", say=True
            )

    def _retire(self, result: SlideResult, why: str) -> None:
        """End a worker that can do no slide.

        Raises:
          FailedError: it is the last of several such, and none can.
        """
        line = f"the worker {result.worker} on {result.host} cannot be used: {why}"
        self._unfit += 1
        if self._unfit >= _MOST_UNFIT or self._count_workers() <= 1:
            raise FailedError(line)
        tqdm.write(shown(f"{line}. It is ended"))
        with contextlib.suppress(Exception):  # it has ended already
            self._client.retire_workers([result.worker])

    def _fail(self, number: int, message: str, *, say: bool = False) -> None:
        job = self._jobs[number]
        self._overview.done(number)
        self.failed.append((job, message))
        if say:
            tqdm.write(shown(f"{job.source}: failed: {message}"))

    def _stop(self) -> None:
        """Take the plugin out of the workers; slides that are worked on stop, and what they wrote goes."""
        numbers = self._lost_workers.at_work() & self._futures.keys()
        at_work = [self._futures.pop(number) for number in numbers]
        with contextlib.suppress(Exception):  # of a scheduler that is gone
            self._client.cancel(list(self._futures.values()))
            self._client.unregister_worker_plugin(self.session)
            end_s = time.monotonic() + _STOP_S
            while time.monotonic() < end_s and not all(future.done() for future in at_work):
                time.sleep(0.1)
