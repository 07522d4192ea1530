"""The sizes that a TIFF names, read before a library of C takes memory for them and aborts.

Byte by byte, since tifffile raises errors of many types on damaged files, or reads them in another way.
Source: TIFF 6.0 (Adobe, 1992); BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from tifffile import TiffFileError

_MOST_TILE_PX = 2**26
_MOST_DIRECTORIES = 100_000
_ORDERS = {b"II": "<", b"MM": ">"}
_BYTES_OF_TYPE = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4, 16: 8, 17: 8, 18: 8}
_TILE_WIDTH, _TILE_LENGTH, _STRIP_BYTES, _TILE_BYTES = 322, 323, 279, 325
_OF_NDPI = 65420  # Hamamatsu's; its offsets are not those of other TIFFs


class _Layout(NamedTuple):
    """How a TIFF writes numbers: their order, and the bytes of an offset, a number of tags, and a tag."""

    order: str
    offset_bytes: int
    count_bytes: int
    tag_bytes: int


def check_memory(path: Path) -> None:
    """Raise TiffFileError for a tile, or its bytes, of a size that no intact TIFF has.

    What is no TIFF passes, and so does an NDPI.

    Args:
      path: of a file that is to be read by a library of C.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for tags in _directories(file, size):
            if _OF_NDPI in tags:
                return
            sides = [int(tags[side].max(initial=0)) for side in (_TILE_LENGTH, _TILE_WIDTH) if side in tags]
            if len(sides) == 2 and sides[0] * sides[1] > _MOST_TILE_PX:
                raise TiffFileError(f"its tiles have {sides[0]:,} × {sides[1]:,} pixels")
            for kind, name in ((_TILE_BYTES, "tile"), (_STRIP_BYTES, "strip")):
                if kind in tags and (largest := int(tags[kind].max(initial=0))) > size:
                    raise TiffFileError(f"a {name} has {largest:,} bytes, the file {size:,}")


def _directories(file: BinaryIO, size: int) -> Iterator[dict[int, np.ndarray]]:
    """By its number each tag of whole numbers, one directory (image) after the other."""
    start = file.read(16)
    layout = _layout_of(start)
    if layout is None:
        return
    place = _number(start[layout.offset_bytes : 2 * layout.offset_bytes], layout)
    seen: set[int] = set()
    while 0 < place < size and place not in seen and len(seen) < _MOST_DIRECTORIES:
        seen.add(place)
        file.seek(place)
        count = _number(file.read(layout.count_bytes), layout)
        entries = file.read(min(count * layout.tag_bytes, size))
        following = file.read(layout.offset_bytes)
        found = {}
        for i in range(0, len(entries) - layout.tag_bytes + 1, layout.tag_bytes):
            entry = entries[i : i + layout.tag_bytes]
            values = _values(file, entry, layout, size)
            if values is not None:
                found[_number(entry[:2], layout)] = values
        yield found
        place = _number(following, layout)


def _layout_of(start: bytes) -> _Layout | None:
    """By the first bytes of a file; None for what is no TIFF."""
    order = _ORDERS.get(start[:2])
    if order is None or len(start) < 16:
        return None
    version = int.from_bytes(start[2:4], "little" if order == "<" else "big")
    return {42: _Layout(order, 4, 2, 12), 43: _Layout(order, 8, 8, 20)}.get(version)


def _values(file: BinaryIO, entry: bytes, layout: _Layout, size: int) -> np.ndarray | None:
    """The values of a tag as far as the file has them; None where they are no whole numbers."""
    width = _BYTES_OF_TYPE.get(_number(entry[2:4], layout))
    if width is None:
        return None
    count = _number(entry[4 : 4 + layout.offset_bytes], layout)
    content = entry[4 + layout.offset_bytes :]
    length = min(count * width, size)
    if length > layout.offset_bytes:
        file.seek(min(_number(content, layout), size))
        content = file.read(length)
    whole = min(length, len(content)) // width * width
    return np.frombuffer(content[:whole], f"{layout.order}u{width}")


def _number(content: bytes, layout: _Layout) -> int:
    return int.from_bytes(content, "little" if layout.order == "<" else "big")
