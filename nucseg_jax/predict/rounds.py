"""Slides one after the other, those that nobody else works on first; a bad one does not stop the rest."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from nucseg_jax.errors import shown
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.predict.attempts import Attempts
from nucseg_jax.predict.jobs import SlideJob
from nucseg_jax.predict.progress import BAR, Progress, ProgressFile, Stage
from nucseg_jax.predict.request import PredictionRequest
from nucseg_jax.predict.results import state_of

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
        self._attempts = Attempts(segmenter, asked, request, tqdm.write)
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
        self._attempts.clean()
        if not jobs:
            return
        before = {job: state_of(job.folder) for job in jobs}
        left = list(jobs)
        self._count = len(jobs)
        with tqdm(total=len(jobs), unit="slide", disable=None, bar_format=BAR) as bar:
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
        tqdm.write("waiting for other processes, which work on these slides:")
        for job, owner in self._elsewhere:
            tqdm.write(shown(f"  {job.source}: {owner}"))

    def _take(self, job: SlideJob, before: tuple[int, int] | None, bar: Any) -> bool:
        """Attempt a slide; False where another process is at it."""
        finished = int(bar.n)

        def on_progress(part: float) -> None:
            if part == 0:
                bar.set_description(shown(job.source.name))
            bar.n = finished + min(part, 0.99)
            bar.refresh()
            stage: Stage = "segmenting" if part < 1 else "writing"
            self._progress.tell(Progress(stage, shown(job.source), part, finished, self._count))

        attempt = self._attempts.at(job, before, on_progress, again=job in self._tried)
        if attempt.owner is not None:
            self._tried.add(job)
            self._elsewhere.append((job, attempt.owner))
        elif attempt.failure is not None:
            self.failed.append((job, attempt.failure))
        return attempt.owner is None
