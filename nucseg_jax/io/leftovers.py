"""What killed processes have left: found by its name, and deleted or renamed back where nobody uses it."""

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from nucseg_jax.errors import InUseError
from nucseg_jax.io.locks import hold, is_held_here, lock_beside, lock_inside
from nucseg_jax.io.names import beside, host, host_of, is_marked

SCRATCH = "nucseg"
"""Scratch folders are called SCRATCH.HOST-PROCESS-RANDOM.scratch."""

_AGE_S = 24 * 3600.0
"""How long nothing must have changed in what another machine has left: its locks may not reach us."""

_TRIES = 100


def marked_in(folder: Path) -> list[Path]:
    """All that `names.beside` may have named in a folder, and lock files."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if is_marked(path.name) or path.name.endswith(".lock")]


def has_leftovers(path: Path, among: Iterable[Path]) -> bool:
    """Whether there are leftovers, or a lock, of `path` among what `marked_in` has found."""
    lock = lock_beside(path).name
    return any(found.name == lock or host_of(path, found.name) is not None for found in among)


def remove_leftovers(path: Path) -> None:
    """Delete what a killed process has left of the work on `path`; nothing while someone works on it.

    Where `path` itself is missing, because the kill came between two renames of `replacing_folder`, the older
    folder gets its name again.

    A leftover is deleted if no other process holds the lock of `path`, and if it was made on this machine or
    has not changed for a day. On a file system without locks all stays. Call it before `names.beside`: what
    this process has begun counts as left, too.
    """
    parents = {path.absolute().parent, Path(os.path.realpath(path)).parent}
    names = {path.absolute(), Path(os.path.realpath(path))}
    found = [entry for parent in parents for entry in marked_in(parent)]
    if not any(has_leftovers(name, found) for name in names):
        return
    with contextlib.suppress(InUseError, OSError), hold(lock_beside(path), path) as locked:
        free = [entry for entry in found if locked and _is_free(entry, names)]
        _rename_back(Path(os.path.realpath(path)), free)
        for entry in free:
            _delete(entry)


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder for temporary files, deleted at the end; after a kill, `remove_abandoned` deletes it.

    Args:
      parent: an existing folder, which other processes may use for the same.
    """
    for _ in range(_TRIES):
        folder = beside(parent / SCRATCH, "scratch")
        with contextlib.ExitStack() as stack:
            # Before there is a folder: a signal may come as soon as there is one. In reverse order it is
            # deleted, its lock let go, and deleted again, since Windows keeps a lock that is held.
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            held = stack.enter_context(contextlib.ExitStack())
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            try:
                held.enter_context(hold(lock_inside(folder), folder))
            except (InUseError, FileNotFoundError):  # `remove_abandoned` was faster
                continue
            yield folder
            return
    raise OSError(f"{parent}: scratch folders are deleted as soon as they are made")


def remove_abandoned(parent: Path) -> None:
    """Delete the scratch folders in `parent` of processes that no longer run, on the terms of leftovers."""
    for folder in parent.iterdir() if parent.is_dir() else ():
        machine = host_of(parent / SCRATCH, folder.name)
        if machine is None or not (machine == host() or _is_old(folder)) or is_held_here(lock_inside(folder)):
            continue
        with contextlib.suppress(OSError, InUseError):  # another user's; one at work
            with hold(lock_inside(folder), folder) as locked:
                if locked:
                    _delete(folder)
            if locked:
                folder.rmdir()  # Windows has kept the lock; where someone works in it, it is not empty


def _is_free(entry: Path, names: Iterable[Path]) -> bool:
    """Whether something was left of one of these names, by this machine, or more than a day ago."""
    machines = {host_of(name, entry.name) for name in names if name.parent == entry.parent} - {None}
    return any(machine == host() or _is_old(entry) for machine in machines)


def _rename_back(path: Path, free: Iterable[Path]) -> None:
    """Give a missing folder its name again, where the kill came after it was moved away.

    Args:
      path: of the folder, not a link.
      free: what was left, and nobody needs.
    """
    older = [entry for entry in free if entry.suffix == ".old" and entry.parent == path.parent]
    if older and not os.path.lexists(path):
        os.replace(max(older, key=lambda entry: entry.lstat().st_mtime), path)


def _is_old(path: Path) -> bool:
    """Whether nothing in a file or folder has changed for a day."""
    newest = 0.0
    with contextlib.suppress(FileNotFoundError):  # of a process that is just ending
        newest = path.lstat().st_mtime
        for folder, _, files in os.walk(path):
            for name in (".", *files):
                newest = max(newest, os.lstat(os.path.join(folder, name)).st_mtime)
        return time.time() - newest > _AGE_S
    return False


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
