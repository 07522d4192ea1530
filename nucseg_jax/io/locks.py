"""Who works on a file or a folder: locks that all processes see, on all machines that share a file system.

A lock is a small hidden file that its holder has locked, with the holder's name in it. It goes with the
process, however that ends; the file is deleted by its holder, or, after a kill, by the next one.
"""

import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from filelock import lock_descriptor

from nucseg_jax.errors import InUseError, shown
from nucseg_jax.io.names import shortened

_NO_LOCKS = "this file system has no locks: nothing keeps another process from doing the same work"

_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What locking says on file systems that have no locks."""

_ENDING = ".lock"
_TRIES = 100  # each means that another process has ended at that moment

_held: dict[str, int] = {}
_mutex = threading.Lock()


def lock_beside(path: Path) -> Path:
    """The lock of a file or folder that is replaced as a whole: beside it, wherever a link to it leads."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{shortened(path.name, len(_ENDING) + 1)}{_ENDING}")


def lock_inside(folder: Path) -> Path:
    """The lock of a folder in which files change."""
    return folder / _ENDING


@contextlib.contextmanager
def hold(lock: Path, what: Path) -> Iterator[bool]:
    """Hold a lock. A process may hold one several times.

    Args:
      lock: its file, in a folder that exists.
      what: it is for, for the message.

    Yields:
      Whether the file system has locks. Where it has none, nobody is kept out.

    Raises:
      InUseError: another process holds it.
    """
    key = os.path.realpath(lock)
    with _mutex:
        first = not _held.get(key)
        descriptor = _acquire(lock, what) if first else None
        _held[key] = _held.get(key, 0) + 1
    try:
        yield not first or descriptor is not None
    finally:
        with _mutex:
            _held[key] -= 1
            if descriptor is not None:
                _release(descriptor, lock)


@contextlib.contextmanager
def alone(lock: Path, what: Path, say: Callable[[str], None]) -> Iterator[None]:
    """`hold`, for a command that should be the only one at a file or folder.

    Args:
      lock, what: as of `hold`.
      say: prints a line, where the file system has no locks.

    Raises:
      InUseError: another process is at it.
    """
    with hold(lock, what) as locked:
        if not locked:
            say(without_locks(what))
        yield


def is_held_here(lock: Path) -> bool:
    """Whether this process holds a lock."""
    with _mutex:
        return _held.get(os.path.realpath(lock), 0) > 0


def without_locks(what: Path) -> str:
    """What is said once where the file system has no locks."""
    return shown(f"note: {what}: {_NO_LOCKS}")


def _acquire(lock: Path, what: Path) -> int | None:
    """The descriptor of the locked file; None where there are no locks."""
    for _ in range(_TRIES):
        descriptor, writable = _open(lock)
        try:
            free = lock_descriptor(descriptor, blocking=False)
            owner = "" if free else _owner(descriptor)
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _WITHOUT:
                raise
            lock.unlink(missing_ok=True)
            return None
        if not free:
            os.close(descriptor)
            raise InUseError(what, owner)
        # Whoever held it before may have deleted the file between our opening and our locking of it.
        if _is_at(descriptor, lock):
            if writable:
                _write_owner(descriptor)
                return descriptor
            try:
                lock.unlink()  # another user's, of a process that was killed: the next try makes our own
            except OSError:
                return descriptor
        os.close(descriptor)
    raise InUseError(what, "one process after the other")


def _open(lock: Path) -> tuple[int, bool]:
    """Open or make the file; the descriptor, and whether it may be written."""
    no_links = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT | no_links, 0o666), True
    except PermissionError:
        if not lock.exists():
            raise
        return os.open(lock, os.O_RDONLY | no_links), False


def _is_at(descriptor: int, lock: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(lock))
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    owner = {"host": socket.gethostname(), "process": os.getpid(), "since": now}
    # Windows lets nobody else read the first byte, which is what is locked there.
    with contextlib.suppress(OSError):  # a full disk: the holder is not named, but it holds
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o666)  # for whoever comes after a kill; some file systems lock no other
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b" " + json.dumps(owner).encode())


def _owner(descriptor: int) -> str:
    """Who holds the lock of an open file."""
    try:
        os.lseek(descriptor, 1, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, 4096))
        since = datetime.fromisoformat(owner["since"]).astimezone(UTC)
        return f"process {owner['process']} on {owner['host']}, since {since:%Y-%m-%d %H:%M} UTC,"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _release(descriptor: int, lock: Path) -> None:
    """Delete the file and let go of it, in an order in which nobody can lock a file that has gone unseen."""
    windows = os.name == "nt"  # where an open file can't be deleted, and that alone makes it safe
    try:
        if not windows and _is_at(descriptor, lock):
            lock.unlink()
    except OSError:
        pass
    os.close(descriptor)
    if windows:
        with contextlib.suppress(OSError):
            lock.unlink()
