"""Which files a command means that takes slides, images and folders of them; no pixel is read."""

import os
from collections.abc import Iterable
from pathlib import Path

from nucseg_jax.errors import UserError
from nucseg_jax.io.files import is_file_or_dangling
from nucseg_jax.slides.opening import SUFFIXES, series
from nucseg_jax.slides.zarr_metadata import is_zarr


def files_of(arguments: Iterable[Path]) -> list[Path]:
    """The slides and images that arguments stand for, in order.

    Args:
      arguments: files, addresses, and folders, which stand for the slides and images directly in them, by
        name. A folder of OME-Zarr is one slide. What is named twice counts once (`tiles tiles/a.png`), and so
        do the files of a DICOM series, under the name of its first. A file is taken as it is named, even
        where there is none.

    Raises:
      UserError: a folder without slides or images.
    """
    paths: dict[str, Path] = {}
    for argument in arguments:
        is_folder = os.path.isdir(argument) and not is_zarr(argument)
        for path in _in_folder(argument) if is_folder else [argument]:
            paths.setdefault(series(path) or os.path.abspath(path), path)
    return list(paths.values())


def has_suffix(path: Path) -> bool:
    """Whether a file is a slide or an image by its name. Hidden files are none: macOS leaves ._a.png."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _is_meant(path: Path) -> bool:
    """Whether something in a folder is a slide or an image."""
    if path.is_dir():
        return is_zarr(path) and not path.name.startswith(".")
    return has_suffix(path) and is_file_or_dangling(path)


def _in_folder(folder: Path) -> list[Path]:
    found = [path for path in sorted(folder.iterdir()) if _is_meant(path)]
    if not found:
        raise UserError(
            f"{folder}: no slide or image ({', '.join(SUFFIXES)}) directly in this folder. Name the folder "
            "or the files that are meant"
        )
    return found
