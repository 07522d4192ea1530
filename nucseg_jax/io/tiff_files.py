"""TIFF files, opened where their list of images has an end."""

import logging
import operator
from pathlib import Path
from typing import Any, BinaryIO, Literal

import tifffile

_MOST_IMAGES = 100_000

# It tells of each tag that it does not understand; what matters is raised, and said once.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


def open_tiff(path: Path | BinaryIO) -> tifffile.TiffFile:
    """Open a TIFF by its path; or one that is open already, which stays so when the TIFF is closed.

    Raises:
      OSError, tifffile.TiffFileError: it is no TIFF, or its list of images goes in a circle, which tifffile
        would follow for hours.
      Exception: tifffile raises errors of many types on damaged files.
    """
    file = tifffile.TiffFile(path)
    try:
        _check_directories(file)
    except Exception:
        file.close()
        raise
    return file


def piece_size(page: Any) -> tuple[int, int]:
    """(rows, columns) of a page's tiles or strips."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def check_pieces(page: Any, file_size: int, plane: Any = None) -> None:
    """Raise TiffFileError unless a file has all pieces of a page; what is missing would be read as empty.

    Args:
      page: of at least one pixel.
      file_size: in bytes.
      plane: a page whose pieces lie like those of `page`, and are looked for; None: `page` itself.
    """
    rows, columns = piece_size(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    needed = -(-page.imagelength // rows) * -(-page.imagewidth // columns) * planes
    listing = page if plane is None else plane
    starts, lengths = listing.dataoffsets, listing.databytecounts
    if min(len(starts), len(lengths)) < needed:
        raise tifffile.TiffFileError(f"{needed:,} pieces make an image of its size, and it lists fewer")
    end = max(map(operator.add, starts, lengths), default=0)
    if end > file_size:
        raise tifffile.TiffFileError(f"it ends at byte {file_size:,}, but its pixels at byte {end:,}")


def _check_directories(file: tifffile.TiffFile) -> None:
    layout, handle = file.tiff, file.filehandle
    order: Literal["little", "big"] = "little" if file.byteorder == "<" else "big"

    def number(place: int, size: int) -> int:
        handle.seek(place)
        return int.from_bytes(handle.read(size), order)

    seen: set[int] = set()
    place = number(layout.offsetsize, layout.offsetsize)
    while 0 < place < handle.size:
        if place in seen or len(seen) == _MOST_IMAGES:
            raise tifffile.TiffFileError("its list of images goes in a circle, or is endless")
        seen.add(place)
        tags = number(place, layout.tagnosize)
        place = number(place + layout.tagnosize + tags * layout.tagsize, layout.offsetsize)
