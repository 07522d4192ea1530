"""What is said of a checkpoint that is damaged, and which one to take in its place."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from nucseg_jax.errors import UserError, in_short


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, or does not fit what is asked of it."""


class Folder(Protocol):
    """The checkpoints of a run: where they are, and their steps."""

    @property
    def directory(self) -> Path: ...

    def all_steps(self) -> Sequence[int]: ...


def damaged(folder: Folder, step: int, why: str) -> CheckpointError:
    """The error for the checkpoint of a step.

    Args:
      folder: that it lies in.
      step: of the checkpoint.
      why: what is wrong with it.
    """
    others = [other for other in sorted(folder.all_steps()) if other != step]
    instead = (
        f"Take the one of step {others[-1]}: eval.step={others[-1]}, or, to go on with training, delete the "
        "damaged folder"
        if others
        else "The run has no other: train again, or take a copy of it"
    )
    return CheckpointError(f"{folder.directory / str(step)}: is damaged ({why}). {instead}")


@contextlib.contextmanager
def whole(folder: Folder, step: int) -> Iterator[None]:
    """Turns whatever goes wrong in the block into the error for a damaged checkpoint."""
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise errors of many types on damaged files
        raise damaged(folder, step, in_short(error)) from error


@contextlib.contextmanager
def readable(directory: Path) -> Iterator[None]:
    """The same for what belongs to no checkpoint, or to several."""
    try:
        yield
    except Exception as error:
        raise CheckpointError(
            f"{directory}: cannot be read ({in_short(error)}). Take the folder of the damaged checkpoint "
            "away, or copy the run again"
        ) from error
