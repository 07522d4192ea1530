"""One slide, unless another process works on it: locked, segmented, and what came of it."""

import traceback
from collections.abc import Callable, Mapping
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from typing import Any, NamedTuple

from nucseg_jax.errors import DiskFullError, InUseError, UserError, in_short, shown
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.io import disk
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.io.locks import hold, lock_beside, without_locks
from nucseg_jax.predict import one_slide
from nucseg_jax.predict.jobs import SlideJob, differences, request_for
from nucseg_jax.predict.request import PredictionRequest
from nucseg_jax.predict.results import request_of, state_of
from nucseg_jax.predict.space import Space


class Attempt(NamedTuple):
    """How an attempt at a slide ended. It is done where both are None.

    Attributes:
      owner: the other process that works on it.
      failure: what was wrong with it, in one line.
    """

    owner: str | None = None
    failure: str | None = None


class Attempts:
    """Does slides, one at a call.

    Args:
      segmenter: finds nuclei.
      asked: what results depend on beside the slides, as summaries keep it.
      request: what the user asks.
      say: prints a line.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        asked: Mapping[str, Any],
        request: PredictionRequest,
        say: Callable[[str], None],
    ):
        self._segmenter, self._asked, self._request, self._say = segmenter, asked, request, say
        self._space = Space(request.scratch, request.out, say)
        self._without_locks = False

    def clean(self) -> None:
        """Delete what killed processes have left of temporary files."""
        self._space.clean()

    def at(
        self,
        job: SlideJob,
        before: tuple[int, int] | None,
        on_progress: Callable[[float], None],
        *,
        again: bool = False,
    ) -> Attempt:
        """Do a slide, unless another process works on it, or has done it since the command began.

        Args:
          job: the slide.
          before: the state of its folder when the command began, as `state_of` has it.
          on_progress: is told the part that is done: 0 when the work begins, 1 at its end.
          again: another process worked on it, and may have been killed.

        Raises:
          DiskFullError: there is no room for it.
        """
        try:
            with ExitStack() as stack:
                owner = self._lock(job, stack)
                if owner is not None:
                    return Attempt(owner=owner)
                if again:
                    remove_leftovers(job.folder)
                is_new = not self._request.overwrite or state_of(job.folder) != before
                if is_new and self._is_done(job):
                    self._say(f"{shown(job.source)}: another process has finished it")
                    return Attempt()
                return self._do(job, on_progress)
        except DiskFullError:
            raise
        except UserError as error:
            return self._failed(job, str(error).removeprefix(f"{shown(job.source)}: "))

    def _lock(self, job: SlideJob, stack: ExitStack) -> str | None:
        """Keep other processes from a slide until the stack ends; gives the one that is at it.

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
            return error.owner
        except OSError as error:
            if disk.is_full(error):
                raise DiskFullError(f"{job.source}: cannot be finished, because {disk.FULL}") from error
            raise UserError(
                f"{lock}: cannot be locked ({error.strerror or error}). Start the command again, or delete "
                "this file where no process works on the slide"
            ) from error
        if not locked and not self._without_locks:
            self._without_locks = True
            self._say(without_locks(self._request.out))
        return None

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

    def _do(self, job: SlideJob, on_progress: Callable[[float], None]) -> Attempt:
        """Segment a slide; keep why in a file where that fails otherwise than by a UserError."""
        request = self._request
        on_progress(0.0)
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
                say=self._say,
            )
            one_slide.error_file(job).unlink(missing_ok=True)
        except UserError:
            raise
        except Exception as error:
            if disk.is_full(error):
                raise DiskFullError(f"{job.source}: cannot be finished, because {disk.FULL}") from error
            # One bad slide of a thousand must not end the night's work.
            path = one_slide.remember_failure(job, traceback.format_exc())
            if isinstance(error, BrokenProcessPool):
                self._segmenter.close()  # new ones start with the next slide
            return self._failed(job, in_short(error), f" (see {path})" if path else "")
        self._say(f"{shown(job.source)}: {outcome}")
        return Attempt()

    def _failed(self, job: SlideJob, message: str, where: str = "") -> Attempt:
        line = message.replace("\n", " ")
        self._say(shown(f"{job.source}: failed: {line}"))
        return Attempt(failure=f"{line}{where}")
