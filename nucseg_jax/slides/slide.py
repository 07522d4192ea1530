"""Slides and images: opened, and read as rectangles at any resolution."""

import math
import os
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.slides import colours, resolution, white
from nucseg_jax.slides.image_file import MOST_PIXELS, ArrayReader, read_image_file, reader_of_image
from nucseg_jax.slides.reader import Reader, Resolution

SUFFIXES = (
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".svslide", ".vms", ".vmu", ".dcm", ".czi"),
    *(".tif", ".tiff", ".btf", ".png", ".jpg", ".jpeg", ".bmp"),
)
"""Endings of files that are looked for in folders; a file that is named may have any."""

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, in both orders of bytes
_SAME_RESOLUTION = 1.01  # a level that is coarser by less is taken as it is

THUMBNAIL_BLOCK_PX = 2048
"""Side of what is read at once for a thumbnail, in pixels of the level that is read."""


class Slide:
    """An open slide or image; made by `open_slide` and `slide_of_array`. All reads are safe for threads.

    Attributes:
      path: of the file.
      size: (height, width) at the base level.
      mpp: µm a base pixel; None for an image that does not say.
      mpp_source: where the resolution came from, or why there is none.
      is_slide: made by a scanner, or with a pyramid.
      notes: what was done about its pixels, or left undone, that a user should be told.
    """

    def __init__(self, path: Path, reader: Reader, found: Resolution):
        self.path = path
        self.mpp, self.mpp_source = found
        self.is_slide, self.notes = reader.is_slide, reader.notes
        self._reader = reader
        base = reader.levels[0]
        self.size = base.height, base.width

    def region(self, top: int, left: int, height: int, width: int, mpp: float) -> NDArray[np.uint8]:
        """A rectangle at a resolution.

        Read from the coarsest level that is fine enough, and scaled by Pillow's bilinear filter, as training
        images are. A pixel is a function of its place, whatever rectangle it is read with; but for a grey
        level or two, where rounding, once along each axis, is a near thing.

        Args:
          top, left, height, width: in pixels of `mpp`; any part may lie outside of the slide.
          mpp: µm a pixel.

        Returns:
          uint8 [height, width, 3] RGB; white outside of the slide.

        Raises:
          UserError: the image has no resolution.
          DataError: the file is damaged there.
        """
        if self.mpp is None:
            raise UserError(f"{self.path}: has no resolution ({self.mpp_source}). Give it with --mpp")
        return self._scaled(top, left, height, width, mpp / self.mpp)

    def thumbnail(self, max_px: int, *, block_px: int = THUMBNAIL_BLOCK_PX) -> NDArray[np.uint8]:
        """uint8 [h, w, 3] of the whole slide, its longer side at most `max_px`; never enlarged.

        Args:
          max_px: pixels of the longer side.
          block_px: side of what is read at once; it changes memory, not the picture.
        """
        scale = max(1.0, max(self.size) / max_px)
        height, width = (max(1, min(max_px, round(side / scale))) for side in self.size)
        level = self._reader.levels[self._level(scale)]
        block = max(1, int(block_px * level.scale / scale))
        picture = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, block):
            for left in range(0, width, block):
                sides = min(block, height - top), min(block, width - left)
                picture[top : top + block, left : left + block] = self._scaled(top, left, *sides, scale)
        return picture

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _level(self, scale: float) -> int:
        """The coarsest level that has the detail asked for."""
        fine = [i for i, level in enumerate(self._reader.levels) if level.scale <= scale * _SAME_RESOLUTION]
        return max(fine, key=lambda i: self._reader.levels[i].scale, default=0)

    def _scaled(self, top: int, left: int, height: int, width: int, scale: float) -> NDArray[np.uint8]:
        """`region` with base pixels a pixel in place of µm."""
        region = np.full((height, width, 3), colours.WHITE, np.uint8)
        whole = [max(1, round(side / scale)) for side in self.size]
        first_y, first_x = max(0, top), max(0, left)
        rows, columns = min(whole[0], top + height) - first_y, min(whole[1], left + width) - first_x
        if rows > 0 and columns > 0:
            inside = self._inside(first_y, first_x, rows, columns, scale)
            region[first_y - top : first_y - top + rows, first_x - left : first_x - left + columns] = inside
        return region

    def _inside(self, top: int, left: int, height: int, width: int, scale: float) -> NDArray[np.uint8]:
        """The part of a region that is in the slide."""
        index = self._level(scale)
        level = self._reader.levels[index]
        relative = scale / level.scale
        if abs(relative - 1.0) < 1e-9:
            relative = 1.0
        # What the filter looks at: half a pixel of the result on each side, and one of the level at least.
        margin = 0 if relative == 1.0 else math.ceil(max(1.0, relative)) + 1
        starts = [math.floor(x * relative) - margin for x in (top, left)]
        ends = [math.ceil((x + n) * relative) + margin for x, n in ((top, height), (left, width))]
        limits = level.height, level.width
        first = [min(max(0, start), limit - 1) for start, limit in zip(starts, limits, strict=True)]
        last = [max(min(end, limit), f + 1) for end, limit, f in zip(ends, limits, first, strict=True)]
        pixels = self._reader.read(index, first[0], first[1], last[0] - first[0], last[1] - first[1])
        # Past the border the last pixels go on: a size that is no whole number rounds a little outside.
        before = [max(0, f - start) for f, start in zip(first, starts, strict=True)]
        after = [max(0, end - la) for la, end in zip(last, ends, strict=True)]
        if any(before + after):
            pixels = np.pad(pixels, ((before[0], after[0]), (before[1], after[1]), (0, 0)), mode="edge")
        if relative == 1.0:
            return pixels[:height, :width]
        corner = [x * relative - start for x, start in zip((top, left), starts, strict=True)]
        box = (corner[1], corner[0], corner[1] + width * relative, corner[0] + height * relative)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))


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
) -> Slide:
    """Open a slide or an image.

    Args:
      path: of the file; for MRXS and VMS the one beside their folder, for DICOM any of a series.
      mpp: µm a base pixel, whatever the file says.
      assumed_mpp: the same for an image that does not say; never for a scanner's slide.
      white: the value that is white in 16 bits a channel; None: see `white.find`.

    Raises:
      UserError: `mpp` is out of `resolution`'s range, `white` out of that of 16 bits.
      DataError: there is no such file; it cannot be read; its pixels are of a kind that is refused, or have
        16 bits whose white is not known; its resolution is out of range; it is a slide, or a TIFF with a
        pyramid, without a resolution.
    """
    path = Path(path)
    if mpp is not None:
        resolution.check_given(mpp)
    reader = _reader(path, white)
    try:
        return Slide(path, reader, _resolution(path, reader, mpp, assumed_mpp))
    except UserError:
        reader.close()
        raise


def read_image(
    path: str | os.PathLike[str], *, white: int | None = None, most_pixels: int = MOST_PIXELS
) -> WholeImage:
    """Read a file whole, at its base level, with the pixels that `open_slide` gives.

    Args:
      path: of an image, or of a slide that fits into memory.
      white: as of `open_slide`.
      most_pixels: that are read.

    Raises:
      UserError: `white` is out of range.
      DataError: as `open_slide`, whatever the resolution; or the image has more than `most_pixels`.
    """
    path = Path(path)
    with closing(_reader(path, white)) as reader:
        height, width = reader.levels[0].height, reader.levels[0].width
        if height * width > most_pixels:
            raise DataError(
                f"{path}: {height}×{width} pixels are more than can be read whole ({most_pixels:,}). Cut the "
                "regions that are meant into files of their own"
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


def _reader(path: Path, given_white: int | None) -> Reader:
    reader = _reader_of_format(path, given_white)
    try:
        _check_levels(reader, path)
    except DataError:
        reader.close()
        raise
    return reader


def _reader_of_format(path: Path, given_white: int | None) -> Reader:
    from nucseg_jax.slides import openslide_file, tiff_file

    if given_white is not None:
        white.check_given(given_white)
    _check_file(path)
    if openslide_file.is_slide(path):
        return openslide_file.OpenSlideReader(path, given_white)
    with open(path, "rb") as file:
        start = file.read(4)
    if start in _TIFF_STARTS:
        return tiff_file.TiffReader(path, given_white=given_white)
    return read_image_file(path, given_white=given_white)


def _check_file(path: Path) -> None:
    """Raise DataError for what is no file, or may not be read."""
    try:
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path}: is a link to {os.readlink(path)}, which is not there")
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if path.is_dir():
            raise DataError(f"{path}: is a folder. Name the slides, such as {path}/*.svs")
        if not path.is_file():
            raise DataError(f"{path}: is no file")
        path.open("rb").close()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Ask for the right to read it") from error


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


def _resolution(path: Path, reader: Reader, mpp: float | None, assumed_mpp: float | None) -> Resolution:
    if mpp is not None:
        return Resolution(mpp, "given")
    found = reader.resolution
    if found.mpp is not None:
        return Resolution(resolution.check(found.mpp, found.source, str(path)), found.source)
    if reader.is_slide:
        raise DataError(
            f"{path}: no resolution ({found.source}). Give it with --mpp: 40× is about 0.25 µm a pixel, 20× "
            "about 0.5"
        )
    if assumed_mpp is None:
        return found
    return Resolution(assumed_mpp, f"assumed: {found.source}")
