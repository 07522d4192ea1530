"""Worker processes import this (Dask's `preload`): what they do with a slide depends on its name.

NUCSEG_OTHER_VERSION says what version they have. The folder that NUCSEG_MISBEHAVING names gets a file
SLIDE.begun or SLIDE.done of each, a line a time.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

from nucseg_jax.errors import DiskFullError
from nucseg_jax.nuclei import Nucleus
from nucseg_jax.predict import one_slide
from nucseg_jax.predict.jobs import SlideJob

FOLDER, VERSION = "NUCSEG_MISBEHAVING", "NUCSEG_OTHER_VERSION"
MODULE = __name__

SLOW_S = 6.0

_segment, _Exports = one_slide.segment, one_slide.Exports


def lines(folder: Path, name: str) -> int:
    """How often a slide was begun ("a.begun") or done ("a.done")."""
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def _tell(name: str) -> int:
    folder = Path(os.environ[FOLDER])
    with (folder / name).open("a") as file:
        file.write(f"{os.getpid()} {time.time()}\n")
    return lines(folder, name)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Dying(_Exports):
    """Is killed when half of it is written."""

    def add(self, nucleus: Nucleus) -> None:
        _kill()


def segment(job: SlideJob, *arguments: Any, **options: Any) -> one_slide.SlideOutcome:
    name = job.source.stem
    tries = _tell(f"{name}.begun")
    if name == "poison":
        _kill()
    if name == "full":
        raise DiskFullError(f"{job.source}: cannot be finished, because the disk is full")
    if name == "hungry":
        eaten = []
        while True:
            eaten.append(b"x" * 50_000_000)
            time.sleep(0.02)
    if name.startswith("slow"):
        time.sleep(SLOW_S)
    one_slide.Exports = _Dying if name == "once" and tries == 1 else _Exports
    outcome = _segment(job, *arguments, **options)
    _tell(f"{name}.done")
    return outcome


if VERSION in os.environ:
    from nucseg_jax.predict.cluster import worker

    worker.__version__ = os.environ[VERSION]
if FOLDER in os.environ:  # a worker, and not the test
    one_slide.segment = segment
