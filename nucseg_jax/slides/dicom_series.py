"""What annotations of a DICOM slide refer to: the file of its base level."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.io.names import is_address

if TYPE_CHECKING:
    from pydicom import Dataset


def check_dicom(path: Path) -> None:
    """Look whether a file is one of a DICOM slide; nothing is said of one that is not there.

    Raises:
        DataError: it is no DICOM slide.
    """
    import openslide

    if is_address(path) or (path.exists() and openslide.OpenSlide.detect_format(path) != "dicom"):
        raise DataError(
            f"{path}: is no DICOM slide, and no other can have DICOM annotations. Leave out the format "
            "dicom, or the slide"
        )


def base_level(path: Path) -> Dataset:
    """The metadata of a slide's base level, without its pixels.

    Args:
        path: of any file of the slide's series; the others are beside it.

    Raises:
        MissingExtraError: pydicom is not installed.
        DataError: it is no DICOM slide, or is damaged.
    """
    try:
        import openslide
        import pydicom
    except ImportError as error:
        raise MissingExtraError("dicom", error) from error
    check_dicom(path)
    try:
        with openslide.OpenSlide(path) as slide:
            (width, height), uid = slide.dimensions, slide.properties.get("dicom.SOPInstanceUID")
    except openslide.OpenSlideError as error:
        raise DataError(f"{path}: cannot be read ({error}). Copy the slide again") from error
    for file in _beside(path):
        try:
            found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPInstanceUID"])
        except pydicom.errors.InvalidDicomError:
            continue  # another file in the folder
        if found.get("SOPInstanceUID") == uid:
            level = pydicom.dcmread(file, stop_before_pixels=True)
            if (level.TotalPixelMatrixColumns, level.TotalPixelMatrixRows) == (width, height):
                return level
    raise DataError(
        f"{path}: the file of its base level is not among those beside it, so that annotations have nothing "
        "to refer to. Copy all files of the slide into one folder"
    )


def _beside(path: Path) -> Iterator[Path]:
    """A file, and then the others in its folder."""
    yield path
    yield from (other for other in sorted(path.parent.iterdir()) if other.is_file() and other != path)
