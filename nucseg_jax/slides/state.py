"""What shows that a slide is no longer the one that results were made of."""

from pathlib import Path
from typing import NamedTuple

from nucseg_jax.io.names import is_address
from nucseg_jax.slides.zarr_metadata import MARKERS


class FileState(NamedTuple):
    """Size and time of a slide's file.

    Attributes:
      bytes: None of OME-Zarr, whose files are many, and at an address.
      modified: seconds since 1970; of OME-Zarr when its metadata were; None at an address.
    """

    bytes: int | None
    modified: float | None


def file_state(path: Path) -> FileState:
    """The state of a slide.

    Raises:
      OSError: there is no such file.
    """
    if is_address(path):
        return FileState(None, None)
    state = path.stat()
    if not path.is_dir():
        return FileState(state.st_size, state.st_mtime)
    known = [file.stat().st_mtime for file in (path / name for name in MARKERS) if file.is_file()]
    return FileState(None, max(known, default=state.st_mtime))
