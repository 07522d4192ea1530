"""Writing a file or a folder whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nucseg_jax.errors import UserError
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.locks import hold, lock_beside
from nucseg_jax.io.names import beside


def printable(path: Path) -> str:
    r"""A path as text that any file can hold: bytes that are no UTF-8 as \xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_file_or_dangling(path: Path) -> bool:
    """Whether a path that a folder lists is a file, or a link to nothing, which must fail, not be skipped."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def check_folder(folder: Path, option: str) -> None:
    """Make a folder, and raise UserError now, and not after an hour's work, where nothing can be written.

    Args:
      folder: to write to.
      option: that names it, for the message.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{option} {folder}: is a file, or lies in one. Name a folder") from error
    except OSError as error:
        raise UserError(f"{option} {folder}: cannot be written to ({error.strerror or error})") from error


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
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(lock_beside(path), path):
        temporary, old = beside(path, "tmp"), beside(path, "old")
        temporary.mkdir()
        try:
            yield temporary
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            if old.exists():
                os.replace(old, temporary)  # so that no .old is ever half deleted
        except BaseException:
            if old.exists() and not path.exists():
                os.replace(old, path)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
