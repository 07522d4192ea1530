"""Writing a file or a folder whole or not at all.

What is renamed is on the disk before: after a power failure no name stands for half of a file.
"""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.locks import hold, lock_beside
from nucseg_jax.io.names import address, beside, is_address, is_marked

_CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
"""Of file systems that cannot be told to write now, some of the network's among them."""


def check_file(path: Path, of_folder: str) -> None:
    """Look whether a path is a file that may be read.

    Args:
      path: as a user gave it.
      of_folder: what is said of a folder.

    Raises:
      DataError: it is an address, a dangling link, a folder, or no file; it is not there, or may not be read.
    """
    try:
        if is_address(path):
            raise DataError(
                f"{path}: is an address, and nothing is fetched. Download the file, and give its path"
            )
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path}: is a link to {os.readlink(path)}, which is not there")
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if path.is_dir():
            raise DataError(f"{path}: {of_folder}")
        if not path.is_file():
            raise DataError(f"{path}: is no file")
        path.open("rb").close()
    except OSError as error:
        remedy = "Ask for permission to read it" if error.errno == errno.EACCES else "Check its name and disk"
        raise DataError(f"{path}: cannot be read ({error.strerror}). {remedy}") from error


def printable(path: Path) -> str:
    r"""A path as text that any file can hold: bytes that are no UTF-8 as \xNN. Addresses get both slashes."""
    if is_address(path):
        return address(path)
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_file_or_dangling(path: Path) -> bool:
    """Whether a path that a folder lists is a file, or a link to nothing, which must fail, not be skipped."""
    return path.is_file() or (path.is_symlink() and not path.exists())


@contextlib.contextmanager
def filled_folder(folder: Path) -> Iterator[None]:
    """Make a folder, if need be. At the end it is deleted again where nothing is in it, as are its parents.

    What was there before stays.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        for path in made:
            with contextlib.suppress(OSError):  # something is in it
                path.rmdir()


@contextlib.contextmanager
def output_folder(folder: Path, option: str) -> Iterator[None]:
    """`filled_folder`, for a command: where nothing can be written, it fails now, not after an hour's work.

    Args:
      folder: to write to.
      option: that names it, for the message.

    Raises:
      UserError: it cannot be made, or written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(filled_folder(folder))
            with tempfile.TemporaryFile(dir=folder):
                pass
        except (FileExistsError, NotADirectoryError) as error:
            raise UserError(f"{option} {folder}: is a file, or lies in one. Name a folder") from error
        except OSError as error:
            raise UserError(f"{option} {folder}: cannot be written to ({error.strerror or error})") from error
        yield


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end; deleted if the block raises.

    Nobody ever reads half a file, and a failure leaves an older file as it was. The block does nothing but
    write the file: see `appearing` for other blocks.

    Raises:
      UserError: `path` is a folder.
      DiskFullError: the disk is full; it names the file.
    """
    with named_when_full(path), appearing(path) as temporary:
        yield temporary


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """`replacing`, for a block that does more than write the file: it names no full disk."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Give the name of a file")
    temporary = beside(path, "tmp")
    try:
        yield temporary
        if _in_appearing_folder(path):  # which is synced as a whole, once
            os.replace(temporary, path)
        else:
            _sync(temporary)
            os.replace(temporary, path)
            _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it at the end; deleted if the block raises.

    The block does nothing but write the folder: see `appearing_folder` for other blocks, and for what a kill
    leaves.

    Raises:
      InUseError: another process is writing it.
      DiskFullError: the disk is full; it names the folder.
    """
    with named_when_full(path), appearing_folder(path) as temporary:
        yield temporary


@contextlib.contextmanager
def appearing_folder(path: Path) -> Iterator[Path]:
    """`replacing_folder`, for a block that does more than write the folder: it names no full disk.

    Killed between the two renames, it leaves the older folder, whole, as NAME.….old. What writes such a
    folder calls `leftovers.remove_leftovers` first, which renames that back.

    Raises:
      InUseError: another process is writing it.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    with filled_folder(path.parent), hold(lock_beside(path), path):
        temporary, old = beside(path, "tmp"), beside(path, "old")
        try:
            temporary.mkdir()  # here, since a signal may come as soon as it is there
            yield temporary
            _sync_tree(temporary)
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            _sync_folder(path.parent)  # before what was there is deleted
            if old.exists():
                os.replace(old, temporary)  # so that no .old is ever half deleted
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _in_appearing_folder(path: Path) -> bool:
    """Whether a path lies in the temporary folder of `appearing_folder`."""
    return any(is_marked(folder.name) and folder.suffix == ".tmp" for folder in path.absolute().parents)


def _sync_tree(folder: Path) -> None:
    """`_sync` all files in a folder, and then the names in it."""
    for inside, _, names in os.walk(folder, topdown=False):
        for path in (Path(inside, name) for name in names):
            if path.is_file() and not path.is_symlink():
                _sync(path)
        _sync_folder(Path(inside))


def _sync(path: Path) -> None:
    """Have the system write a file to the disk now.

    Raises:
      OSError: the disk is full, or broken, which some file systems say no earlier.
    """
    flags = os.O_RDWR if os.name == "nt" else os.O_RDONLY  # Windows syncs no file that is open to read
    file = os.open(path, flags)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise
    finally:
        os.close(file)


def _sync_folder(path: Path) -> None:
    """`_sync` of the names in a folder, which Windows does by itself."""
    if os.name != "nt":
        with contextlib.suppress(PermissionError):  # it may be written to, and not be listed
            _sync(path)
