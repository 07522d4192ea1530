"""What the command and the workers tell each other."""

from typing import NamedTuple

from nucseg_jax.predict.attempts import Attempt
from nucseg_jax.predict.jobs import SlideJob


class SlideTask(NamedTuple):
    """A slide for a worker.

    Attributes:
      number: of the slide.
      job: the slide; its paths are absolute.
      before: the state of its folder when the command began (`results.state_of`).
      is_there: whether the command sees the slide.
      again: a worker has tried it before.
    """

    number: int
    job: SlideJob
    before: tuple[int, int] | None
    is_there: bool
    again: bool


class SlideResult(NamedTuple):
    """What a worker says of a slide. One of `attempt`, `full`, `unfit` is given, or none: it was stopped.

    Attributes:
      worker: its address.
      host: its machine.
      lines: for the user.
      attempt: how it ended.
      full: there is no room for the slide: the message of DiskFullError.
      unfit: why the worker can do no slide.
    """

    worker: str
    host: str
    lines: tuple[str, ...] = ()
    attempt: Attempt | None = None
    full: str | None = None
    unfit: str | None = None


def topic(session: str) -> str:
    """The topic of Dask's events that tell how far the slides of a session are."""
    return f"nucseg-{session}"


class Event(NamedTuple):
    """How far a slide is.

    Attributes:
      number: of the slide.
      worker: the address of who works on it.
      part: of it that is done, 0 … 1; None: the worker begins with it.
    """

    number: int
    worker: str
    part: float | None
