"""PNG and JPEG whose data end before their last pixel, which decoders fill up without a word."""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's type of colour
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced PNG's passes: first column and row, and steps between them."""

_AT_ONCE = 2**20  # bytes

_END_OF_IMAGE = 0xD9
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # but for those that lie within a scan
_MADE_UP = 128  # what libjpeg gives for all colours of pixels that are missing
_NOISE = bytes.fromhex("5aa533cc69960ff0") * 16  # that decodes as something else
_MORE = _NOISE + b"".join(bytes((0xFF, 0xD0 + i)) + _NOISE for i in range(8))
"""Data of a scan, some behind each of the markers that it may be waiting for."""


def png_is_cut_off(file: BinaryIO) -> bool:
    """Whether a PNG has fewer rows than its header says.

    Args:
      file: open at any place; its pixels can be decoded.
    """
    file.seek(16)
    header = file.read(13)
    width, height = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4))
    bits, channels = header[8], _CHANNELS[header[9]]
    needed = 0
    for left, top, across, down in _ADAM7 if header[12] else _WHOLE:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + -(-columns * bits * channels // 8))
    return _unpacked_size(file, needed) < needed


def _unpacked_size(file: BinaryIO, enough: int) -> int:
    """Bytes that a PNG's data unpack to; not counted much further than to `enough`."""
    inflate, size = zlib.decompressobj(), 0
    for packed in _packed(file):
        while packed and not inflate.eof:
            size += len(inflate.decompress(packed, _AT_ONCE))
            packed = inflate.unconsumed_tail
            if size >= enough:
                return size
    return size + len(inflate.flush())


def _packed(file: BinaryIO) -> Iterator[bytes]:
    """The data of a PNG, in pieces."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        left = int.from_bytes(head[:4], "big")
        if head[4:] == b"IDAT":
            while left and (piece := file.read(min(left, _AT_ONCE))):
                left -= len(piece)
                yield piece
        file.seek(left + 4, 1)  # a check sum comes after it


def jpeg_is_cut_off(
    data: bytes, pixels: NDArray[np.uint8], decode: Callable[[bytes], NDArray[np.uint8] | None]
) -> bool:
    """Whether the last pixels of a JPEG are not in its data.

    Where its last pixel is as libjpeg makes it up, it is decoded once more, with data behind its own: of a
    whole image these change nothing.

    Args:
      data: of the file.
      pixels: [H, W, 3] that were decoded.
      decode: does that.
    """
    if (pixels[-1, -1] != _MADE_UP).any():
        return False
    end = _end_of_image(data)
    again = decode(data[:end] + _MORE + data[end:])
    return again is None or not np.array_equal(pixels, again)


def _end_of_image(data: bytes) -> int:
    """Where a JPEG's marker for its end is; its size where there is none."""
    place = 2
    while found := _NEXT_MARKER.search(data, place):
        if data[found.start() + 1] == _END_OF_IMAGE:
            return found.start()
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        place = found.end() + max(2, length)  # what it says; then another marker, or the data of a scan
    return len(data)
