"""Matrices of numbers in MATLAB's files of versions 4 to 7.

SciPy's reader is not used: some damaged files end its process. Here nothing is read that was not measured
before. Layout: MathWorks, "MAT-File Format" (R2019b), and "Level 4 MAT-Files" in it.
"""

import math
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MATRIX, _COMPRESSED = 14, 15  # kinds of elements
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Kind of element → what its numbers are stored as."""
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
"""Class of an array → its numbers."""
_OTHERS = {1: "a cell array", 2: "a structure", 3: "an object", 4: "text", 5: "a sparse matrix"}
_COMPLEX, _LOGICAL = 0x800, 0x200  # in the flags of an array
_HEADER_BYTES = 128
_START_BYTES = 4096  # that hold what precedes the numbers of an array
_OLD = ("f8", "f4", "i4", "i2", "u2", "u1")  # by the third digit of a version 4 header


class MatError(ValueError):
    """A file is damaged, or of another kind; the message does not name it."""


class NewerVersionError(MatError):
    """A file of version 7.3, which is HDF5."""


@dataclass(frozen=True)
class Variable:
    """A variable of a file.

    Attributes:
      name: of it.
      kind: "numbers", or what else it is, for messages.
      shape: of the array.
      dtype: of its numbers; None where it holds none.
      values: reads them, [*shape].
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype | None
    values: Callable[[], NDArray[np.generic]]


def variables(path: Path) -> list[Variable]:
    """All variables of a file; their numbers are read on demand.

    Raises:
      OSError: the file cannot be read.
      NewerVersionError: it is of version 7.3.
      MatError: it is damaged, or no MAT file.
    """
    content = path.read_bytes()
    try:
        if b"\0" in content[:4]:
            return list(_version_4(memoryview(content)))
        if content[124:128] in (b"\x00\x02IM", b"\x02\x00MI"):
            raise NewerVersionError("is of version 7.3")
        if content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
            raise MatError("it does not begin as MATLAB's files do")
        return list(_version_5(memoryview(content), "<" if content[126:128] == b"IM" else ">"))
    except struct.error as error:
        raise MatError(f"{error}") from error


def _version_5(content: memoryview, order: str) -> Iterator[Variable]:
    """Variables of versions 5 to 7; `order` of the bytes, < or >."""
    at = _HEADER_BYTES
    while at < len(content):
        kind, size, start = _tag(content, at, order)
        body = content[start : start + size]
        if len(body) < size:
            raise MatError("the file ends within a variable")
        if kind == _COMPRESSED:
            yield _inflated(body, order)
            at = start + size
        elif kind == _MATRIX:
            yield _array(body[:_START_BYTES], order, partial(_first, body))
            at = start + -(-size // 8) * 8
        else:
            raise MatError(f"an element of kind {kind} stands where a variable belongs")


def _inflated(packed: memoryview, order: str) -> Variable:
    start, _ = _inflate(packed, 8 + _START_BYTES)
    kind, _, place = _tag(memoryview(start), 0, order)
    if kind != _MATRIX:
        raise MatError("a compressed variable holds none")

    def beginning(count: int) -> bytes:
        # With what fills the element up to a multiple of 8, the end is reached, where the check sum is.
        content, ended = _inflate(packed, place + count + 64)
        if not ended:
            raise MatError("a variable is damaged")
        return content[place:]

    return _array(memoryview(start)[place:], order, beginning)


def _inflate(packed: memoryview, most: int) -> tuple[bytes, bool]:
    """At most so many bytes, and whether they are all; the check sum is compared then."""
    inflater = zlib.decompressobj()
    try:
        return inflater.decompress(packed, most), inflater.eof
    except zlib.error as error:
        raise MatError(f"{error}") from error


def _array(start: memoryview, order: str, beginning: Callable[[int], bytes | memoryview]) -> Variable:
    """A variable from the first bytes of its element; `beginning` gives as many as are asked for, or more."""
    _, size, at = _tag(start, 0, order)
    flags = struct.unpack_from(f"{order}I", start, at)[0]
    _, length, place = _tag(start, at + size, order)
    shape = struct.unpack_from(f"{order}{min(length, 128) // 4}i", start, place)
    _, size, at = _tag(start, place + -(-length // 8) * 8, order)
    if length > 128 or size > 1024 or min(shape, default=-1) < 0:
        raise MatError("the size or the name of a variable is damaged")
    name = bytes(start[at : at + size]).decode("latin-1")
    number = flags & 0xFF
    if number not in _CLASSES or flags & _COMPLEX:
        kind = "complex numbers" if number in _CLASSES else _OTHERS.get(number, "something else")
        return Variable(name, kind, shape, None, _no_values)
    stored_kind, stored_bytes, data = _tag(start, -(-(at + size) // 8) * 8, order)
    stored, dtype = _STORED.get(stored_kind), np.dtype(_CLASSES[number])

    def values() -> NDArray[np.generic]:
        numbers = beginning(data + stored_bytes)[data : data + stored_bytes]
        found = _numbers(numbers, np.dtype(f"{order}{stored}"), dtype, shape)
        return found.astype(bool) if flags & _LOGICAL else found

    count = math.prod(shape)
    if stored is None or stored_bytes != count * np.dtype(stored).itemsize:
        raise MatError(f"variable {name!r} has not the numbers that its size needs")
    return Variable(name, "numbers", shape, dtype, values)


def _numbers(
    stored: bytes | memoryview, kind: np.dtype, dtype: np.dtype, shape: tuple[int, ...]
) -> NDArray[np.generic]:
    """Numbers as they are stored, column by column → the array; MATLAB stores small ones in fewer bytes."""
    if len(stored) != math.prod(shape) * kind.itemsize:
        raise MatError("the file ends within a variable")
    values = np.frombuffer(stored, kind).reshape(shape, order="F")
    if kind.kind == "f" and dtype.kind != "f":
        raise MatError("fractions stand where whole numbers belong")
    changed = values.astype(dtype)
    if kind.kind != "f" and not np.array_equal(changed, values):
        raise MatError("numbers are beyond the range of their kind")
    return changed


def _version_4(content: memoryview) -> Iterator[Variable]:
    at = 0
    while at < len(content):
        order = "<" if 0 <= struct.unpack_from("<i", content, at)[0] < 5000 else ">"
        code, rows, columns, imaginary, length = struct.unpack_from(f"{order}5i", content, at)
        thousands, precision, kind = code // 1000, code // 10 % 10, code % 10
        if thousands != (order == ">") or code // 100 % 10 or precision >= len(_OLD) or kind > 2:
            raise MatError("it does not begin as MATLAB's files do")
        if min(rows, columns) < 0 or not 0 < length <= 1024:
            raise MatError("the size or the name of a variable is damaged")
        name = bytes(content[at + 20 : at + 20 + length]).split(b"\0")[0].decode("latin-1")
        stored = np.dtype(f"{order}{_OLD[precision]}")
        start = at + 20 + length
        size = rows * columns * stored.itemsize
        at = start + size * (2 if imaginary else 1)
        if at > len(content):
            raise MatError("the file ends within a variable")
        numbers = content[start : start + size]
        what = "complex numbers" if imaginary else ("numbers", _OTHERS[4], _OTHERS[5])[kind]
        if what != "numbers":
            yield Variable(name, what, (rows, columns), None, _no_values)
            continue
        shape, dtype = (rows, columns), stored.newbyteorder("=")
        yield Variable(name, what, shape, dtype, partial(_numbers, numbers, stored, dtype, shape))


def _tag(content: memoryview, at: int, order: str) -> tuple[int, int, int]:
    """(kind, bytes, where they begin) of the element at `at`; up to four bytes may lie in the tag itself."""
    first = struct.unpack_from(f"{order}I", content, at)[0]
    if first >> 16:
        return first & 0xFFFF, first >> 16, at + 4
    return first, struct.unpack_from(f"{order}I", content, at + 4)[0], at + 8


def _first(content: memoryview, count: int) -> memoryview:
    return content[:count]


def _no_values() -> NDArray[np.generic]:
    raise MatError("it holds no numbers")
