"""Room on disks: how much there is, and one error where there is none."""

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from nucseg_jax.errors import DiskFullError
from nucseg_jax.io.names import final, is_marked

FULL = "the disk (or your quota on it) is full. Make room, and start the command again"
"""The end of a message."""

_FULL_NUMBERS = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FULL_TEXTS = ("no space left on device", "disk quota exceeded")  # of libraries that hide the number
_CUT_SHORT = re.compile(r"\d+ requested and \d+ written")  # NumPy's, of `tofile`, which hides it, too
_IN_MEMORY = ("tmpfs", "ramfs")


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that a disk or a quota is full."""
    return any(map(_says_full, _causes(error)))


@contextlib.contextmanager
def named_when_full(path: Path) -> Iterator[None]:
    """Raise DiskFullError where the block finds the disk full.

    Put it round what writes `path`, and round nothing else.

    Args:
      path: is named, unless the system's error names a file.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        name = final(_named_by(error) or path)
        raise DiskFullError(f"{name}: cannot be written, because {FULL}") from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL_NUMBERS
    if isinstance(error, OSError) and _CUT_SHORT.fullmatch(str(error)):
        return True
    return any(text in str(error).lower() for text in _FULL_TEXTS)


def _named_by(error: BaseException) -> Path | None:
    """The file that the system's error is about; None where it names none, or a temporary one."""
    for cause in filter(_says_full, _causes(error)):
        if isinstance(cause, OSError) and isinstance(cause.filename, str | bytes) and cause.filename:
            path = Path(os.fsdecode(cause.filename))
            return None if any(is_marked(part) and part.endswith(".tmp") for part in path.parts) else path
    return None


def check_room(folder: Path, needed: int) -> None:
    """Raise DiskFullError unless the disk of a folder has room for `needed` bytes."""
    if (free := free_bytes(folder)) < needed:
        raise DiskFullError(
            f"{folder}: {size(needed)} are to be written, and its disk has {size(free)} free. Make room, and "
            "start the command again"
        )


def size(count: int) -> str:
    """Bytes as people say them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def free_bytes(folder: Path) -> int:
    """Free on the disk of a folder. Quotas are not known."""
    return shutil.disk_usage(folder).free


def same_disk(one: Path, other: Path) -> bool:
    """Whether two folders share their free space."""
    return one.stat().st_dev == other.stat().st_dev


def in_memory(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Whether a folder's files take memory and no disk; False where the system does not tell (not Linux).

    Args:
      folder: it exists.
      mounts: the list of file systems.
    """
    try:
        lines = [line.split(" ") for line in os.fsdecode(mounts.read_bytes()).splitlines()]
    except OSError:
        return False
    resolved = Path(os.path.realpath(folder))
    points = {_unescaped(line[1]): line[2] for line in lines if len(line) > 2}  # the last one is on top
    inside = [point for point in points if resolved.is_relative_to(point)]
    return bool(inside) and points[max(inside, key=len)] in _IN_MEMORY


def _unescaped(text: str) -> str:
    for code, character in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, character)
    return text
