"""What Ctrl-C and SIGTERM do to a command: it stops at once, or where it can be gone on from."""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

_SILENCE_S, _PATIENCE_S = 1.0, 20.0
"""How long Python may take to see a signal before that is said, and before the process is ended.

It sees none while a library computes: a step on a device takes seconds, a program that XLA compiles minutes.
"""


class Stopped(BaseException):
    """An interrupt or SIGTERM has come. No KeyboardInterrupt, of which Typer makes an error of its own.

    Args:
      number: of the signal.
    """

    def __init__(self, number: int):
        self.number = number

    @property
    def exit_code(self) -> int:
        return 128 + self.number


class Signals:
    """The signals that end this process: the first raises `Stopped`, or is kept while that is postponed."""

    def __init__(self) -> None:
        self.seen = threading.Event()
        self.is_postponed = False
        self.number: int = signal.SIGTERM  # of processes that stop because another one was asked to

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """The handler. A second Ctrl-C ends the process at once."""
        if not self.seen.is_set():
            self.number = number
            self.seen.set()
            if not self.is_postponed:
                raise Stopped(number)
        elif number == signal.SIGINT:
            os._exit(128 + self.number)

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self.seen.is_set()

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """A block in which the first signal raises nothing: `asked` tells of it."""
        self.is_postponed = True
        try:
            yield
        finally:
            self.is_postponed = False

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.asked:
            raise Stopped(self.number)


signals = Signals()
"""Of this process."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Stopped`, so that temporary files and processes go.

    A signal that is ignored stays so, as SIGINT is in the background jobs of scripts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours there
        return
    signals.seen.clear()
    reader, writer = socket.socketpair()  # Windows takes no pipe for this
    writer.setblocking(False)
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, signals)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, set(before)), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()


def _watch(reader: socket.socket, ours: set[int]) -> None:
    """End the process where Python, deep in a call of a library, does not see a signal.

    Args:
      reader: gets the number of each signal as it comes.
      ours: the signals that end it.
    """

    def next_signal(timeout: float | None) -> int | None:
        """The number of the next one; 0 at the end, None where none comes in time."""
        if not select.select([reader], [], [], timeout)[0]:
            return None
        received = reader.recv(1)
        return received[0] if received else 0

    with reader:
        first = 0
        while (number := next_signal(None)) not in (0, None):
            assert number is not None
            if number not in ours:
                continue
            if first:
                if number == signal.SIGINT:
                    os._exit(128 + first)
                continue
            first = number
            if signals.seen.wait(_SILENCE_S) and not signals.is_postponed:
                continue
            what = "stopping after this step" if signals.is_postponed else "stopping"
            print(f"\n{what}; Ctrl-C again stops at once", file=sys.stderr, flush=True)
            deadline = time.monotonic() + _PATIENCE_S
            while not signals.seen.is_set() and (signals.is_postponed or time.monotonic() < deadline):
                if (following := next_signal(0.1)) == signal.SIGINT:
                    os._exit(128 + first)
                if following == 0:
                    return
            if not signals.seen.is_set():
                os._exit(128 + first)
