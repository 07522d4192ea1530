"""Writing a file or a folder whole or not at all."""

import contextlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

_OWNED = re.compile(r"\.(?P<host>[^/]+)-(?P<process>\d+)-[0-9a-f]{8}\.(tmp|old|scratch)")


def printable(path: Path) -> str:
    r"""A path as text that any file can hold: bytes that are no UTF-8 as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def beside(path: Path, kind: str) -> Path:
    """A new name beside `path`, NAME.HOST-PROCESS-RANDOM.KIND.

    Several machines may write to one folder, and in containers all processes have the same number.

    Args:
      path: what the file or folder is for.
      kind: tmp, old or scratch.
    """
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.{kind}")


def remove_leftovers(path: Path) -> None:
    """Delete what `beside` named, for processes of this machine that no longer run.

    This process's number counts as one of these, as in a restarted container: call it before `beside`.
    """
    for place in {path.absolute(), Path(os.path.realpath(path))}:
        for found in place.parent.iterdir() if place.parent.is_dir() else ():
            owner = found.name.startswith(place.name) and _OWNED.fullmatch(found.name[len(place.name) :])
            if owner and owner["host"] == socket.gethostname() and not _is_running(int(owner["process"])):
                shutil.rmtree(found, ignore_errors=True) if found.is_dir() else found.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end; deleted if the block raises.

    Nobody ever reads half a file, and a failure leaves an older file as it was.
    """
    temporary = beside(path, "tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it at the end; deleted if the block raises.

    An older folder is deleted last: killed between the two renames, this leaves it as NAME.….old.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    temporary, old = beside(path, "tmp"), beside(path, "old")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
