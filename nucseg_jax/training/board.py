"""TensorBoard's events of a training, written by the thread that trains.

`tensorboardX.SummaryWriter` writes in a thread of its own. An error of the disk ends that thread without a
word, and the tenth event after it waits for ever.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nucseg_jax.errors import in_short, shown
from nucseg_jax.io.names import host

FLUSH_S = 120.0
"""Seconds between two moments at which events are pushed to the disk."""


class Board:
    """Writes scalars to a folder until that fails; the training does not need them.

    Args:
      folder: of the events.
      first: the step that the run starts or resumes at; TensorBoard hides later ones of an earlier process.
      say: prints a line, once, where the folder cannot be written.
    """

    def __init__(self, folder: Path, first: int, say: Callable[[str], None]):
        from tensorboardX.proto.event_pb2 import Event, SessionLog  # imports PyTorch where it finds it
        from tensorboardX.record_writer import RecordWriter

        self._folder, self._say = folder, say
        self._writer: Any = None  # a RecordWriter, until it fails
        self._flushed = time.monotonic()
        name = f"events.out.tfevents.{int(time.time())}.{host()}.{os.getpid()}"
        with self._given_up_on_error():
            folder.mkdir(parents=True, exist_ok=True)
            self._writer = RecordWriter(str(folder / name))
            self._write(Event(file_version="brain.Event:2"))
            self._write(Event(step=first + 1, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step by their names."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        if self._writer is None:
            return
        with self._given_up_on_error():
            for name, value in values.items():
                self._write(Event(step=step, summary=scalar(name, value)))
            if time.monotonic() - self._flushed > FLUSH_S:
                self._writer.flush()
                self._flushed = time.monotonic()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            with self._given_up_on_error():
                self._writer.close()
            self._writer = None

    def _write(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write(event.SerializeToString())

    @contextlib.contextmanager
    def _given_up_on_error(self) -> Iterator[None]:
        """Leave TensorBoard out for the rest of the training where the block cannot write."""
        try:
            yield
        except OSError as error:
            broken, self._writer = self._writer, None
            if broken is not None:
                with contextlib.suppress(OSError):  # which writes what is left, if it can
                    broken.close()
            self._say(
                f"note: {shown(self._folder)}: cannot be written ({in_short(error.strerror or error)}). "
                "Training goes on without TensorBoard; metrics.jsonl has every record"
            )
