"""What all formats share: nuclei go in one by one, the file appears when it is complete."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from nucseg_jax.export.batches import Batch, Gathering, Maker
from nucseg_jax.export.limits import USUAL_LIMITS, Limits
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.nuclei import Frame, Nucleus


class Sink(ABC):
    """A format. Use it in a `with` block, add nuclei, and at the block's end the file has its name.

    A block that raises, or a process that is killed, leaves what was there before. Memory does not grow with
    the number of nuclei, but for the centroids that `Summary` and `NeighbourTable` keep.

    What has no room on the disk is named: a DiskFullError with `_path`, the file or folder that it makes.

    Args:
        frame: the slide that the nuclei are of.
        limits: how much it holds in memory.
    """

    makers: tuple[Maker, ...] = ()
    """What `_write` asks a batch for (`Batch.made`), so that other processes can make it before."""

    _path: Path

    def __init__(self, frame: Frame, limits: Limits = USUAL_LIMITS) -> None:
        self._frame, self._limits = frame, limits
        self._gathering: Gathering | None = None  # once a nucleus is added by itself
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with named_when_full(self._path), ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            with named_when_full(self._path):  # what files still hold in memory is written now
                self._stack.__exit__(kind, error, traceback)
            return
        with named_when_full(self._path), self._stack:
            if self._gathering is not None:
                self._write_if_any(self._gathering.rest())
            self._finish()

    def add(self, nucleus: Nucleus) -> None:
        """Take one nucleus; it may be written later, with others.

        Raises:
            ValueError: it is no 4-connected nucleus within the slide. It may be raised by a later call, or at
                the end of the block; the message names the nucleus.
        """
        if self._gathering is None:
            self._gathering = Gathering(self._frame, self._limits)
        self._write_if_any(self._gathering.add(nucleus))

    def add_batch(self, batch: Batch) -> None:
        """Take many nuclei at once, which other sinks may share; not together with `add`."""
        with named_when_full(self._path):
            self._write(batch)

    def _write_if_any(self, batch: Batch | None) -> None:
        if batch is not None:
            self.add_batch(batch)

    @abstractmethod
    def _open(self, stack: ExitStack) -> None:
        """Open temporary files, and have the stack rename and close them."""

    @abstractmethod
    def _write(self, batch: Batch) -> None:
        """Write nuclei."""

    def _finish(self) -> None:  # noqa: B027 (most formats have nothing to do here)
        """Write what comes after the last nucleus."""
