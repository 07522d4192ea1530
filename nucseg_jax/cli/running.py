"""How a command ends: its exit code, and its one line on what went wrong."""

import errno
import io
import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from nucseg_jax.cli.interruption import Stopped, stoppable
from nucseg_jax.errors import FailedError, UserError, shown, shown_lines
from nucseg_jax.io import disk
from nucseg_jax.io.names import final

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


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
        with stoppable():
            code = app(arguments, prog_name=name, standalone_mode=False)
            sys.stdout.flush()
    except Stopped as stop:
        print("\nstopped", file=sys.stderr)
        return stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        print("\nstopped", file=sys.stderr)
        return INTERRUPTED
    except FailedError as error:
        return _failed(_say(error, FAILED))
    except UserError as error:
        return _failed(_say(error, WRONG_USAGE))
    except BrokenPipeError:  # what reads our output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except OSError as error:  # a file or folder cannot be read or written
        return _failed(_say(_of_system(error), FAILED))
    except Exception as error:
        if disk.is_full(error):  # libraries have errors of their own for that
            return _failed(_say(disk.FULL, FAILED))
        if lost := _loss_of_others(error):
            return _failed(_say(lost, FAILED), lost=True)
        # Typer's own errors, of which some versions have the classes in private modules.
        if not hasattr(error, "format_message"):
            if _is_one_of_several():
                traceback.print_exc()
                return _failed(FAILED)
            raise
        message = error.format_message()
        if not message:  # no arguments: the help has been shown
            return WRONG_USAGE
        return _say(shown_lines(message + _given(error, arguments)), WRONG_USAGE)
    return code if isinstance(code, int) else DONE


def _say(error: object, code: int) -> int:
    _end_progress_bars()
    print(f"error: {error}", file=sys.stderr)
    return code


def _is_one_of_several() -> bool:
    """Whether this process trains together with others; only JAX knows, where it has been imported."""
    return "jax" in sys.modules and bool(sys.modules["jax"].distributed.is_initialized())


def _loss_of_others(error: Exception) -> str | None:
    """What to tell of an error that comes from another process having gone."""
    if not _is_one_of_several():
        return None
    from nucseg_jax import devices

    return devices.loss_of_others(error)


def _failed(code: int, *, lost: bool = False) -> int:
    """The exit code of a command that has failed; does not return where others wait for this process."""
    if _is_one_of_several():
        from nucseg_jax import devices

        devices.leave(code, lost=lost)
    return code


_REMEDIES = {
    errno.ENOENT: ". Check the path: its folder must exist",
    errno.EEXIST: ". A file is where a folder is needed: give another name",
    errno.ENOTDIR: ". A file is where a folder is needed: give another name",
    errno.EACCES: ". Ask for permission",
    errno.EROFS: ". Give a folder that can be written",
    errno.ELOOP: ". Mend the link",
    errno.ENAMETOOLONG: ". Give a shorter name",
}


def _end_progress_bars() -> None:
    """A bar that an error has left open would share a line with it."""
    if "tqdm" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", ())):
            bar.close()


def _of_system(error: OSError) -> str:
    """A system's error as one line: the files that it is about, and what is wrong."""
    given = (name for name in (error.filename, error.filename2) if name is not None)
    names = ": ".join(
        str(final(Path(os.fsdecode(name)))) if isinstance(name, str | bytes) else str(name) for name in given
    )
    reason = disk.FULL
    if not disk.is_full(error):
        reason = (error.strerror or str(error)) + _REMEDIES.get(error.errno or 0, "")
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
