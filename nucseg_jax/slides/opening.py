"""From a file, or an image in memory, to a slide: which reader reads it, and what its resolution is."""

import os
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.io.files import check_file
from nucseg_jax.io.names import is_address
from nucseg_jax.slides import image_file, remote, resolution, white, zarr_metadata
from nucseg_jax.slides.image_file import MOST_PIXELS, ArrayReader, read_image_file, reader_of_image
from nucseg_jax.slides.reader import Reader, Resolution
from nucseg_jax.slides.slide import Slide

SUFFIXES = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm", ".czi"),
    *(".tif", ".tiff", ".btf", ".png", ".jpg", ".jpeg", ".bmp", ".zarr"),
)
"""Endings of what is looked for in folders; what is named may have any. Of .zarr it is a folder."""

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, in both orders of bytes


class WholeImage(NamedTuple):
    """All pixels of a file.

    Attributes:
      pixels: uint8 [H, W, 3] RGB.
      resolution: what the file says; not held against what a microscope can have.
      notes: as of `Slide`.
    """

    pixels: NDArray[np.uint8]
    resolution: Resolution
    notes: tuple[str, ...]


def open_slide(
    path: str | os.PathLike[str],
    mpp: float | None = None,
    *,
    assumed_mpp: float | None = None,
    white: int | None = None,
    crop: bool = True,
) -> Slide:
    """Open a slide or an image.

    Args:
      path: of the file; for MRXS and VMS the one beside their folder, for DICOM any of a series, for OME-Zarr
        the folder. Of OME-Zarr and TIFF also an address, https://… or s3://….
      mpp: µm a base pixel, whatever the file says.
      assumed_mpp: the same for an image that does not say; never for a scanner's slide.
      white: the value that is white in 16 bits a channel; None: see `white.find`.
      crop: to what was scanned, as QuPath does, where the file says what that is (`bounds`); False: the full
        canvas.

    Raises:
      UserError: `mpp` is out of `resolution`'s range, `white` out of that of 16 bits.
      DataError: there is no such file; it cannot be read; its pixels are of a kind that is refused, or have
        16 bits whose white is not known; its resolution is out of range; it is a slide, or a TIFF with a
        pyramid, without a resolution.
    """
    path = Path(path)
    if mpp is not None:
        resolution.check_given(mpp)
    reader = _reader(path, white, crop)
    try:
        return Slide(path, reader, _resolution(path, reader, mpp, assumed_mpp), _contradiction(reader, mpp))
    except UserError:
        reader.close()
        raise


def read_image(
    path: str | os.PathLike[str],
    *,
    white: int | None = None,
    most_pixels: int = MOST_PIXELS,
    crop: bool = True,
) -> WholeImage:
    """Read a file whole, at its base level, with the pixels that `open_slide` gives.

    Args:
      path: of an image, or of a slide that fits into memory.
      white, crop: as of `open_slide`.
      most_pixels: that are read.

    Raises:
      UserError: `white` is out of range.
      DataError: as `open_slide`, whatever the resolution; or the image has more than `most_pixels`.
    """
    path = Path(path)
    with closing(_reader(path, white, crop)) as reader:
        height, width = reader.levels[0].height, reader.levels[0].width
        if height * width > most_pixels:
            raise DataError(
                f"{path}: {height}×{width} pixels are more than can be read whole ({most_pixels:,}). Cut the "
                "regions that are meant into files of their own; nucseg prepare cut does it for annotations"
            )
        return WholeImage(reader.read(0, 0, 0, height, width), reader.resolution, reader.notes)


def slide_of_image(
    image: Image.Image, mpp: float, *, source: str = "given", white: int | None = None
) -> Slide:
    """An image of Pillow as a slide: the pixels that `np.asarray` gives, of TIFFs as Pillow turns them.

    Its dots an inch do not count: Pillow keeps those of the file when it changes the size. Of an image that
    has been loaded already it is not known whether its file had 16 bits.

    Args:
      image: of a kind that `open_slide` takes.
      mpp: µm a pixel.
      source: how that is known.
      white: as of `open_slide`.

    Raises:
      DataError: it is no colour image, or too large.
    """
    path, found = Path(getattr(image, "filename", "") or "image"), Resolution(mpp, source)
    return Slide(path, reader_of_image(image, path, found, given_white=white), found)


def slide_of_array(
    image: NDArray[np.uint8], mpp: float, path: Path = Path("image"), *, source: str = "given"
) -> Slide:
    """An image in memory as a slide: uint8 [H, W, 3] RGB at `mpp` µm a pixel, known by `source`."""
    found = Resolution(mpp, source)
    return Slide(path, ArrayReader(image, found), found)


def series(path: Path) -> str | None:
    """What all files of a DICOM slide have in common; None for other formats, and files that cannot be read.

    A scanner's series is one slide, in a file for each of its levels and pictures; any opens it as a whole.
    """
    if path.suffix.lower() != ".dcm":
        return None
    from nucseg_jax.slides import openslide_file

    return openslide_file.series(path)


def find_white(path: Path) -> int | None:
    """The value that is white in a file of 16 bits, by its own pixels; None for one of 8 bits.

    Raises:
      DataError: as `open_slide`; images of 8 bits that Pillow reads are not decoded.
    """
    from nucseg_jax.slides import openslide_file, tiff_file, zarr_file

    kind = _kind(path)
    if kind == "zarr":
        with closing(zarr_file.ZarrReader(path)) as zarr_reader:
            return zarr_reader.white
    if kind == "file" and openslide_file.is_slide(path):
        return None
    if kind == "file" and not _is_tiff(path):
        return image_file.find_white(path)
    with closing(tiff_file.TiffReader(path)) as reader:
        return reader.white


def _reader(path: Path, given_white: int | None, crop: bool) -> Reader:
    reader = _reader_of_format(path, given_white, crop)
    try:
        _check_levels(reader, path)
    except DataError:
        reader.close()
        raise
    return reader


def _reader_of_format(path: Path, given_white: int | None, crop: bool) -> Reader:
    from nucseg_jax.slides import openslide_file, tiff_file, zarr_file

    if given_white is not None:
        white.check_given(given_white)
    kind = _kind(path)
    if kind == "zarr":
        return zarr_file.ZarrReader(path, given_white=given_white)
    if kind == "file" and openslide_file.is_slide(path):
        return openslide_file.OpenSlideReader(path, given_white, crop=crop)
    if kind == "tiff" or _is_tiff(path):
        return tiff_file.TiffReader(path, given_white=given_white)
    return read_image_file(path, given_white=given_white)


def _kind(path: Path) -> Literal["zarr", "tiff", "file"]:
    """What a path is, by its name or what is in a folder; "file" is one on the disk, "tiff" an address."""
    if is_address(path):
        return remote.kind(path)
    if zarr_metadata.is_zarr(path):
        return "zarr"
    check_file(path, f"is a folder. Name the slides, such as {path}/*.svs")
    return "file"


def _is_tiff(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in _TIFF_STARTS


def _check_levels(reader: Reader, path: Path) -> None:
    """Refuse levels that are no pictures of one slide: one with a damaged size would be read for hours."""
    base = reader.levels[0]
    for level in reader.levels[1:]:
        across, down = base.width / level.width, base.height / level.height
        # Some writers fill their small levels up to whole tiles.
        if min(level.width, level.height) >= 16 and max(across, down) > 2 * min(across, down):
            raise DataError(
                f"{path}: is damaged: its levels have {base.height}×{base.width} and {level.height}×"
                f"{level.width} pixels, which cannot show the same. Copy or export it again"
            )


def _contradiction(reader: Reader, mpp: float | None) -> tuple[str, ...]:
    """A note where the file says another resolution than the one that is given."""
    of_file = reader.resolution.mpp
    if mpp is None or of_file is None or resolution.are_same(mpp, of_file):
        return ()
    return (
        f"taken to have {mpp:g} µm a pixel, as given, though the file says {of_file:g} "
        f"({reader.resolution.source})",
    )


def _resolution(path: Path, reader: Reader, mpp: float | None, assumed_mpp: float | None) -> Resolution:
    if mpp is not None:
        return Resolution(mpp, "given")
    found = resolution.checked(reader.resolution, str(path))
    if found.mpp is not None:
        return found
    if reader.is_slide:
        raise DataError(
            f"{path}: no resolution ({found.source}). Give it with --mpp: 40× is about 0.25 µm a pixel, 20× "
            "about 0.5"
        )
    if assumed_mpp is None:
        return found
    return Resolution(assumed_mpp, f"{resolution.ASSUMED}{found.source}")
