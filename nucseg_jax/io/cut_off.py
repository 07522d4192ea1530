"""PNG and JPEG whose data end before their last pixel, which decoders fill up without a word."""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by PNG's type of colour
_WHOLE = ((0, 0, 1, 1),)
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Of an interlaced PNG's passes: first column and row, and steps between them."""

_AT_ONCE = 2**20  # bytes

_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)  # of coefficients; not those without loss
_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_COEFFICIENTS = 64  # of a block
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
    """Whether the last pixels of a JPEG, or their details, are not in its data.

    Where its last pixel is as libjpeg makes it up, and where several scans make up the image, it is decoded
    once more, with data behind its own: of a whole image these change nothing. An image of several scans
    (a progressive one) that lacks the last of them is blurred, or lacks colours.

    Args:
      data: of the file.
      pixels: [H, W, 3] that were decoded.
      decode: does that.
    """
    scans = _scans(data)
    if not scans.complete:
        return True
    if scans.number < 2 and np.any(pixels[-1, -1] != _MADE_UP):
        return False
    again = decode(data[: scans.end] + _MORE + data[scans.end :])
    return again is None or not np.array_equal(pixels, again)


class _Scans(NamedTuple):
    """What the headers of a JPEG say of its scans.

    Attributes:
      number: of them.
      complete: together they have all bits of all coefficients of all colours.
      end: where the marker for the image's end is; the data's size where there is none.
    """

    number: int
    complete: bool
    end: int


def _scans(data: bytes) -> _Scans:
    missing: dict[int, set[int]] = {}  # coefficients, by the number of a colour
    number, place = 0, 2
    while found := _NEXT_MARKER.search(data, place):
        marker = data[found.start() + 1]
        if marker == _END_OF_IMAGE:
            break
        place = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
        header = data[found.end() + 2 : place]  # behind it lies another marker, or the data of a scan
        if marker in _FRAMES:
            missing = {colour: set(range(_COEFFICIENTS)) for colour in header[6::3]}
        elif marker == _SCAN and header:
            number += 1
            colours, rest = header[1 : 1 + 2 * header[0] : 2], header[1 + 2 * header[0] :]
            if len(rest) == 3 and rest[2] % 16 == 0:  # down to the last bit
                for colour in colours:
                    missing.get(colour, set()).difference_update(range(rest[0], rest[1] + 1))
    return _Scans(number, not any(missing.values()), found.start() if found else len(data))
