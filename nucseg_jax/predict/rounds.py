"""Slides one after the other, those that nobody else works on first; a bad one does not stop the rest."""

import time
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Any

from tqdm import tqdm

from nucseg_jax.errors import DiskFullError, InUseError, UserError, in_short, shown
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.io import disk
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.io.locks import hold, lock_beside, without_locks
from nucseg_jax.predict import one_slide
from nucseg_jax.predict.jobs import SlideJob, differences, request_for
from nucseg_jax.predict.progress import Progress, ProgressFile, Stage
from nucseg_jax.predict.request import PredictionRequest
from nucseg_jax.predict.results import request_of, state_of
from nucseg_jax.predict.space import Space

_BAR = "{desc} {percentage:3.0f} % |{bar}| {n:.1f}/{total} slides [{elapsed} < {remaining}]"

_WAIT_S = 5.0  # between looks at slides that other processes work on


class Rounds:
    """Goes through slides until each is done, by this process or by another, or has failed.

    Args:
      segmenter: finds nuclei.
      asked: what results depend on beside the slides, as summaries keep it.
      request: what the user asks.

    Attributes:
      failed: slides, and what was wrong.
    """

    def __init__(self, segmenter: Segmenter, asked: Mapping[str, Any], request: PredictionRequest):
        self.failed: list[tuple[SlideJob, str]] = []
        self._elsewhere: list[tuple[SlideJob, str]] = []
        self._tried: set[SlideJob] = set()
        self._segmenter, self._asked, self._request = segmenter, asked, request
        self._space = Space(request.scratch, request.out, _say)
        self._without_locks = False
        self._progress, self._count = ProgressFile(request.progress), 0

    def run(self, jobs: Sequence[SlideJob]) -> None:
        """Do slides that no other process works on, round by round, until none is left.

        Where others work on all that are left, it waits: what they finish is done, and what they give up, or
        are killed at, this process takes over.

        Args:
          jobs: those without a result, or that are to be done again.

        Raises:
          DiskFullError: there is no room for the next one.
        """
        self._space.clean()
        if not jobs:
            return
        before = {job: state_of(job.folder) for job in jobs}
        left = list(jobs)
        self._count = len(jobs)
        with tqdm(total=len(jobs), unit="slide", disable=None, bar_format=_BAR) as bar:
            waiting: set[SlideJob] = set()
            while left:
                self._elsewhere = []
                for job in left:
                    bar.n = int(bar.n) + self._take(job, before[job], bar)
                    bar.refresh()
                idle = len(self._elsewhere) == len(left)
                left = [job for job, _ in self._elsewhere]
                if idle:
                    if not waiting.issuperset(left):
                        waiting.update(left)
                        self._say_waiting()
                    bar.set_description("waiting")
                    self._progress.tell(Progress("waiting", done=int(bar.n), of=self._count))
                    time.sleep(_WAIT_S)

    def _say_waiting(self) -> None:
        _say("waiting for other processes, which work on these slides:")
        for job, owner in self._elsewhere:
            _say(shown(f"  {job.source}: {owner}"))

    def _take(self, job: SlideJob, before: tuple[int, int] | None, bar: Any) -> bool:
        """Do a slide, unless another process has done it since this one started; False where one is at it."""
        try:
            with ExitStack() as stack:
                if not self._lock(job, stack):
                    self._tried.add(job)
                    return False
                if job in self._tried:  # another process worked on it, and may have been killed
                    remove_leftovers(job.folder)
                is_new = not self._request.overwrite or state_of(job.folder) != before
                if is_new and self._is_done(job):
                    _say(f"{shown(job.source)}: another process has finished it")
                else:
                    self._do(job, bar)
        except DiskFullError:
            raise
        except UserError as error:
            self._fail(job, str(error).removeprefix(f"{shown(job.source)}: "))
        return True

    def _lock(self, job: SlideJob, stack: ExitStack) -> bool:
        """Keep other processes from a slide until the stack ends; False where one is at it.

        Raises:
          UserError: that one writes results of another slide, run or setting there; or the slide cannot be
            locked.
        """
        lock, wanted = lock_beside(job.folder), request_for(job, self._asked)
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)  # a process that wrote nothing may have deleted it
            locked = stack.enter_context(hold(lock, job.folder, wanted))
        except InUseError as error:
            if error.task is not None and (different := differences(error.task, wanted)):
                raise UserError(
                    f"{job.folder}: {error.owner} writes results of another slide, run or setting there "
                    f"({', '.join(different)}). Give another --out"
                ) from error
            self._elsewhere.append((job, error.owner))
            return False
        except OSError as error:
            if disk.is_full(error):
                raise DiskFullError(f"{job.source}: cannot be finished, because {disk.FULL}") from error
            raise UserError(
                f"{lock}: cannot be locked ({error.strerror or error}). Start the command again, or delete "
                "this file where no process works on the slide"
            ) from error
        if not locked and not self._without_locks:
            self._without_locks = True
            _say(without_locks(self._request.out))
        return True

    def _is_done(self, job: SlideJob) -> bool:
        """Whether what another process has just finished is what is asked for.

        Raises:
          UserError: it is of another request, and may not be replaced.
        """
        done = request_of(job.folder)
        if done is None:
            return False
        different = differences(done, request_for(job, self._asked))
        if different and not self._request.overwrite:
            raise UserError(
                f"{job.folder}: another process has just written results of another slide, run or setting "
                f"there ({', '.join(different)}). Give another --out"
            )
        return not different

    def _do(self, job: SlideJob, bar: Any) -> None:
        """Segment a slide; remember it, and why, where that fails otherwise than by a UserError."""
        request, finished = self._request, int(bar.n)

        def on_progress(part: float) -> None:
            bar.n = finished + min(part, 0.99)
            bar.refresh()
            stage: Stage = "segmenting" if part < 1 else "writing"
            self._progress.tell(Progress(stage, shown(job.source), part, finished, self._count))

        bar.set_description(shown(job.source.name))
        self._progress.tell(Progress("segmenting", shown(job.source), 0.0, finished, self._count))
        try:
            outcome = one_slide.segment(
                job,
                self._segmenter,
                self._asked,
                mpp=request.mpp,
                white=request.white,
                crop=request.crop,
                formats=None if request.formats is None else list(request.formats),
                simplify_um=request.simplify_um,
                gzip=request.gzip,
                space=self._space,
                on_progress=on_progress,
                say=_say,
            )
            one_slide.error_file(job).unlink(missing_ok=True)
        except UserError:
            raise
        except Exception as error:
            if disk.is_full(error):
                raise DiskFullError(f"{job.source}: cannot be finished, because {disk.FULL}") from error
            # One bad slide of a thousand must not end the night's work.
            path = one_slide.remember_failure(job, traceback.format_exc())
            self._fail(job, in_short(error), f" (see {path})" if path else "")
            if isinstance(error, BrokenProcessPool):
                self._segmenter.close()  # new ones start with the next slide
        else:
            _say(f"{shown(job.source)}: {outcome}")

    def _fail(self, job: SlideJob, message: str, where: str = "") -> None:
        line = message.replace("\n", " ")
        self.failed.append((job, f"{line}{where}"))
        _say(shown(f"{job.source}: failed: {line}"))


def _say(line: str) -> None:
    tqdm.write(line)
