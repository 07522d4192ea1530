"""Who works on a file or a folder: locks that all processes see, on all machines that share a file system.

A lock is a small hidden file that its holder has locked, with the holder's name in it. It goes with the
process, however that ends; the file is deleted by its holder, or, after a kill, by the next one. A holder may
write its task into the file, so that others know whether it makes what they want.
"""

import contextlib
import errno
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import lock_descriptor

from nucseg_jax.errors import InUseError, shown
from nucseg_jax.io.names import shortened

_NO_LOCKS = "this file system has no locks: nothing keeps another process from doing the same work"

_WITHOUT = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
"""What locking says on file systems that have no locks."""

_VANISHED = {errno.ENOENT, errno.ESTALE}
"""What is said of a file that another process has just deleted; ESTALE by network file systems."""

_ENDING = ".lock"
_TRIES = 100  # each means that another process has ended at that moment
_MOST_BYTES = 1 << 20  # of what a holder writes into its file


class _Held(NamedTuple):
    """A lock that this process holds.

    Attributes:
      times: how often.
      descriptor: its file is open by this; None where the file system has no locks.
    """

    times: int
    descriptor: int | None


_held: dict[str, _Held] = {}
_mutex = threading.Lock()


def lock_beside(path: Path) -> Path:
    """The lock of a file or folder that is replaced as a whole: beside it, wherever a link to it leads."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{shortened(path.name, len(_ENDING) + 1)}{_ENDING}")


def lock_inside(folder: Path) -> Path:
    """The lock of a folder in which files change."""
    return folder / _ENDING


@contextlib.contextmanager
def hold(lock: Path, what: Path, task: Mapping[str, Any] | None = None) -> Iterator[bool]:
    """Hold a lock. A process may hold one several times.

    Args:
      lock: its file, in a folder that exists.
      what: it is for, for the message.
      task: what is made there, for other processes (`InUseError.task`); what JSON can hold.

    Yields:
      Whether the file system has locks. Where it has none, nobody is kept out.

    Raises:
      InUseError: another process holds it.
      OSError: its file cannot be made, opened or locked.
    """
    key = os.path.realpath(lock)
    with _mutex:
        times, descriptor = _held.get(key) or _Held(0, _acquire(lock, what, task))
        _held[key] = _Held(times + 1, descriptor)
    try:
        yield descriptor is not None
    finally:
        with _mutex:
            times, _ = _held.pop(key)
            if times > 1:
                _held[key] = _Held(times - 1, descriptor)
            elif descriptor is not None:
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
        return os.path.realpath(lock) in _held


def without_locks(what: Path) -> str:
    """What is said once where the file system has no locks."""
    return shown(f"note: {what}: {_NO_LOCKS}")


class _Opened(NamedTuple):
    """A lock's file.

    Attributes:
      descriptor: it is open by this.
      writable: whether it may be written.
      made: whether this process has just made it.
    """

    descriptor: int
    writable: bool
    made: bool


def _acquire(lock: Path, what: Path, task: Mapping[str, Any] | None) -> int | None:
    """The descriptor of the locked file; None where there are no locks."""
    vanished: OSError | None = None
    for _ in range(_TRIES):
        try:
            opened = _open(lock)
        except OSError as error:
            # Without its folder, it cannot be made at all.
            if error.errno not in _VANISHED or not lock.parent.exists():
                raise
            vanished = error
            continue
        try:
            free = lock_descriptor(opened.descriptor, blocking=False)
            if not free:
                raise InUseError(what, *_holder(opened.descriptor))
            # Whoever held it before may have deleted the file between our opening and our locking of it.
            if _is_at(opened.descriptor, lock) and _is_ours(opened, lock):
                if opened.writable:
                    _write_owner(opened.descriptor, task)
                return opened.descriptor
        except OSError as error:
            _close(opened.descriptor)
            if error.errno in _VANISHED:
                vanished = error
                continue
            if error.errno not in _WITHOUT:
                raise
            if opened.made:  # another machine may have locks, and hold what was there before
                lock.unlink(missing_ok=True)
            return None
        except InUseError:
            _close(opened.descriptor)
            raise
        _close(opened.descriptor)
    if vanished is not None:
        raise vanished
    raise InUseError(what)


def _open(lock: Path) -> _Opened:
    """Open or make the file.

    Raises:
      FileNotFoundError: it was there, and has been deleted.
    """
    no_links = getattr(os, "O_NOFOLLOW", 0)
    try:
        made = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | no_links, 0o666)
        return _Opened(made, writable=True, made=True)
    except FileExistsError:
        pass
    except PermissionError:
        if not lock.exists():
            raise
    try:
        return _Opened(os.open(lock, os.O_RDWR | no_links), writable=True, made=False)
    except PermissionError:
        return _Opened(os.open(lock, os.O_RDONLY | no_links), writable=False, made=False)


def _is_at(descriptor: int, lock: Path) -> bool:
    """Whether a lock's file is still the one that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(lock))
    except OSError as error:
        if error.errno in _VANISHED:
            return False
        raise


def _is_ours(opened: _Opened, lock: Path) -> bool:
    """Whether a locked file stays; one of another user's killed process is deleted, if that is allowed."""
    if opened.writable:
        return True
    try:
        lock.unlink()  # the next try makes our own
    except OSError:
        return True
    return False


def _write_owner(descriptor: int, task: Mapping[str, Any] | None) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    owner = {"host": socket.gethostname(), "process": os.getpid(), "since": now, "task": task}
    # Windows lets nobody else read the first byte, which is what is locked there.
    with contextlib.suppress(OSError):  # a full disk: the holder is not named, but it holds
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, 0o666)  # for whoever comes after a kill; some file systems lock no other
        os.ftruncate(descriptor, 0)
        os.write(descriptor, b" " + json.dumps(owner).encode())
        os.fsync(descriptor)  # other machines see it now, and not after half a minute


def _holder(descriptor: int) -> tuple[str, Mapping[str, Any] | None]:
    """Who holds the lock of an open file, and its task."""
    try:
        os.lseek(descriptor, 1, os.SEEK_SET)
        owner = json.loads(os.read(descriptor, _MOST_BYTES))
        since = datetime.fromisoformat(owner["since"]).astimezone(UTC)
        name = f"process {owner['process']} on {owner['host']} (since {since:%Y-%m-%d %H:%M} UTC)"
        task = owner.get("task")
    except (OSError, ValueError, KeyError, TypeError):
        return "another process", None
    return name, task if isinstance(task, dict) else None


def _release(descriptor: int, lock: Path) -> None:
    """Delete the file and let go of it, in an order in which nobody can lock a file that has gone unseen."""
    windows = os.name == "nt"  # where an open file can't be deleted, and that alone makes it safe
    try:
        if not windows and _is_at(descriptor, lock):
            lock.unlink()
    except OSError:
        pass
    _close(descriptor)
    if windows:
        with contextlib.suppress(OSError):
            lock.unlink()


def _close(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # of a network file system that has lost the file
        os.close(descriptor)
