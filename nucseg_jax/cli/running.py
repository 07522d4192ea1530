"""How a command ends: its exit code, its one line on what went wrong, and what an interrupt does."""

import contextlib
import io
import itertools
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

import typer

from nucseg_jax.errors import FailedError, UserError, shown, shown_lines
from nucseg_jax.io import disk

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130

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


def run(app: typer.Typer, argv: Sequence[str] | None, name: str) -> int:
    """Run a command, and print what went wrong as one line.

    Args:
      app: of the command.
      argv: its arguments; None: those of the process.
      name: how it is called, for its help.

    Returns:
      The exit code.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        with _stoppable():
            code = app(arguments, prog_name=name, standalone_mode=False)
            sys.stdout.flush()
    except Stopped as stop:
        print("\nstopped", file=sys.stderr)
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    except FailedError as error:
        return _say(error, FAILED)
    except UserError as error:
        return _say(error, WRONG_USAGE)
    except BrokenPipeError:  # what reads our output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:  # a file or folder cannot be read or written
        return _say(_of_system(error), FAILED)
    except Exception as error:
        if disk.is_full(error):  # libraries have errors of their own for that
            return _say(_FULL, FAILED)
        # Typer's own errors, of which some versions have the classes in private modules.
        if not hasattr(error, "format_message"):
            raise
        message = error.format_message()
        if not message:  # no arguments: the help has been shown
            return WRONG_USAGE
        return _say(shown_lines(message + _given(error, arguments)), WRONG_USAGE)
    return code if isinstance(code, int) else DONE


def _say(error: object, code: int) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


_FULL = "the disk (or your quota on it) is full. Make room, and start the command again"


def _of_system(error: OSError) -> str:
    """A system's error as one line: the files that it is about, and what is wrong."""
    names = ": ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    reason = _FULL if disk.is_full(error) else (error.strerror or str(error))
    return shown(f"{names}: {reason}" if names else reason)


def _given(error: Exception, arguments: Sequence[str]) -> str:
    """The value that an error is about, as the end of its message; empty where the message has it."""
    options = getattr(getattr(error, "param", None), "opts", ())
    if getattr(getattr(error, "param", None), "nargs", 1) != 1:
        return ""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name in options and (given := value if equals else following) and given not in str(error):
            return f", got {given!r}"
    return ""


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Stopped`, so that temporary files and processes go.

    A second Ctrl-C ends the process at once. A signal that is ignored stays so, as SIGINT is in
    the background jobs of scripts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours there
        return
    seen = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if not seen.is_set():
            seen.set()
            raise Stopped(number)
        if number == signal.SIGINT:
            os._exit(128 + number)

    reader, writer = socket.socketpair()  # no pipe, which Windows cannot wait for
    writer.setblocking(False)
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    for number in before:
        signal.signal(number, stop)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, set(before), seen), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()


def _watch(reader: socket.socket, ours: set[int], seen: threading.Event) -> None:
    """End the process where Python, deep in a call of a library, does not see a signal.

    Args:
      reader: of a pair of sockets that gets the number of each signal as it comes.
      ours: the signals that end it.
      seen: Python has seen one.
    """

    def next_signal(timeout: float | None) -> int | None:
        """The number of the next one; 0 at the end, None where none comes in time."""
        if not select.select([reader], [], [], timeout)[0]:
            return None
        received = reader.recv(1)
        return received[0] if received else 0

    with reader:
        while (number := next_signal(None)) not in (0, None):
            assert number is not None
            if number not in ours or seen.wait(_SILENCE_S):
                continue
            print("\nstopping; Ctrl-C again stops at once", file=sys.stderr, flush=True)
            deadline = time.monotonic() + _PATIENCE_S
            while not seen.is_set() and (left := deadline - time.monotonic()) > 0:
                if next_signal(min(left, 0.1)) in (0, signal.SIGINT):
                    break
            if not seen.is_set():
                os._exit(128 + number)
