"""Damage that keeps a file's outer form, so that it reaches the code behind the first check."""

import gzip
import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutations import ANY, NUMBERS, TEXT, TEXTS, Mutation, mutate


def mutations_of(path: Path) -> tuple[Mutation, ...]:
    """Those that know the kind of file, by its ending."""
    return _KINDS.get(path.suffix.lower(), ())


def json_value(content: bytes, random: Random) -> bytes:
    """One value of a JSON text → another, or gone, or deeper; or a new key."""
    try:
        tree = json.loads(content)
    except (ValueError, RecursionError):  # nested by an earlier change
        return content
    places = list(_places(tree))
    if not places:
        return json.dumps(random.choice(_VALUES)).encode()
    holder, key = random.choice(places)
    action = random.choice(("set", "set", "set", "delete", "wrap", "copy", "add"))
    if action == "set":
        holder[key] = random.choice(_VALUES)
    elif action == "delete":
        del holder[key]
    elif action == "wrap":
        holder[key] = random.choice(([holder[key]], {"a": holder[key]}, [holder[key]] * 3))
    elif action == "copy":
        other, name = random.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))
    elif isinstance(holder, dict):
        holder[random.choice(TEXTS)] = random.choice(_VALUES)
    else:
        holder.append(random.choice(_VALUES))
    return json.dumps(tree).encode()


def gzipped_json(content: bytes, random: Random) -> bytes:
    """A value of the JSON text that is gzipped, or any damage to this text."""
    try:
        text = gzip.decompress(content)
    except (OSError, EOFError, zlib.error):  # by an earlier change
        return content
    return gzip.compress(random.choice((json_value, json_value, *TEXT))(text, random), mtime=0)


def png_header(content: bytes, random: Random) -> bytes:
    """A field of the header, with the check sum that belongs to it."""
    if len(content) < 33:
        return content
    start, size, values = random.choice(
        (
            (16, 4, (0, 1, 95, 97, 65535, 2**20, 2**31 - 1)),
            (20, 4, (0, 1, 95, 97, 65535, 2**20, 2**31 - 1)),
            (24, 1, (0, 1, 2, 4, 8, 16, 32)),
            (25, 1, (0, 2, 3, 4, 6, 7)),
            (28, 1, (0, 1, 2)),
        )
    )
    header = bytearray(content[12:29])
    header[start - 12 : start - 12 + size] = random.choice(values).to_bytes(size, "big")
    return content[:12] + bytes(header) + struct.pack(">I", zlib.crc32(header)) + content[33:]


def png_chunk(content: bytes, random: Random) -> bytes:
    """A chunk gone, twice, or with other bytes under a right check sum."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append(content[at : at + 12 + length])
        at += 12 + length
    if not chunks:
        return content
    which = random.randrange(len(chunks))
    body = chunks[which][4:-4]
    changed = body[:4] + random.choice(ANY)(body[4:], random)
    new = struct.pack(">I", len(changed) - 4) + changed + struct.pack(">I", zlib.crc32(changed))
    chunks[which : which + 1] = random.choice(([], [chunks[which]] * 2, [new], [new]))
    return content[:8] + b"".join(chunks)


def jpeg_segment(content: bytes, random: Random) -> bytes:
    """Sides, precision or components in the frame's header; or the length of any segment."""
    marks = [m.start() for m in re.finditer(rb"\xff[\xc0-\xc2\xc4\xda-\xe1]", content)]
    if not marks:
        return content
    start = random.choice(marks) + random.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
    value = random.choice((b"\0\0", b"\0\1", b"\xff\xff", b"\x7f\xff", random.randbytes(2)))
    return content[:start] + value + content[start + 2 :]


def encapsulated(content: bytes, random: Random) -> bytes:
    """EPS under the name of an image, which Pillow would have Ghostscript run."""
    program = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 96\n%%EndComments\n(a) (w) file closefile showpage\n"
    )
    return program + content[: random.choice((0, len(content)))]


def tiff_tag(content: bytes, random: Random) -> bytes:
    """The code, type, count or value of a tag, or the place of the next directory; classic little-endian."""
    entries, ends = _directories(content)
    if not entries:
        return content
    if random.random() < 0.1:
        end = random.choice(ends)
        target = random.choice((8, end, 1, len(content), 2**32 - 1))
        return content[:end] + struct.pack("<I", target) + content[end + 4 :]
    start = random.choice(entries)
    field, letter, values = random.choice(_TAG_FIELDS)
    packed = struct.pack("<" + letter, random.choice(values))
    return content[: start + field] + packed + content[start + field + len(packed) :]


_TAG_FIELDS = (
    (0, "H", (254, 256, 257, 258, 259, 262, 273, 277, 279, 284, 320, 322, 330, 338, 339, 347, 65000)),
    (2, "H", (0, 1, 2, 3, 4, 5, 7, 12, 13, 16, 99)),
    (4, "I", (0, 1, 2, 3, 100, 65535, 2**31, 2**32 - 1)),
    *[(8, "I", (*range(9), 16, 32, 64, 97, 255, 5000, 34712, 65535, 2**20, 2**31, 2**32 - 1))] * 2,
)
"""(place, type, values) of the fields of a tag: its code, type, count and value."""


def xml_element(content: bytes, random: Random) -> bytes:
    """An element gone, twice or renamed; the value of an attribute; entities."""
    text = content.decode("utf-8", "replace")
    if random.random() < 0.1:
        doctype = (
            '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
        )
        return (doctype + re.sub(r'="[^"]*"', '="&c;&f;"', text, count=1)).encode("utf-8", "replace")
    attributes = list(re.finditer(r'="([^"]*)"', text))
    if attributes and random.random() < 0.6:
        found = random.choice(attributes)
        value = random.choice((*TEXTS, *map(str, NUMBERS), "-1e9", "1e308", "-0.0", "1.5", f"-{found[1]}"))
        return (text[: found.start(1)] + value + text[found.end(1) :]).encode("utf-8", "replace")
    elements = list(re.finditer(r"<[^<>]+>", text))
    if not elements:
        return content
    found = random.choice(elements)
    new = random.choice(
        ("", found[0] * 2, "<a/>", "<a>", "</a>", re.sub(r"^(</?)\w+", r"\1Vertex", found[0]))
    )
    return (text[: found.start()] + new + text[found.end() :]).encode("utf-8", "replace")


def zip_member(content: bytes, random: Random) -> bytes:
    """A member of an archive damaged under a right check sum, gone, renamed, empty or twice."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # damaged already
        return content
    which = random.randrange(len(members)) if members else 0
    rewritten = io.BytesIO()
    with zipfile.ZipFile(rewritten, "w") as archive:
        for i, (name, body) in enumerate(members):
            if i == which:
                action = random.randrange(6)
                if action == 0:
                    continue
                name = random.choice(("../escape", name + "x", "x/data.pkl")) if action == 1 else name
                body = (
                    b""
                    if action == 2
                    else body
                    if action == 1
                    else mutate(body, mutations_of(Path(name)), random)
                )
            archive.writestr(name, body)
    return rewritten.getvalue()


def safetensors_header(content: bytes, random: Random) -> bytes:
    """The JSON in front, with its length."""
    length = int.from_bytes(content[:8], "little")
    if length > len(content):
        return content
    header = random.choice((json_value, *TEXT))(content[8 : 8 + length], random)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def npy_header(content: bytes, random: Random) -> bytes:
    """Shape, kind of numbers or order, with the length that belongs to it."""
    if len(content) < 10:
        return content
    length = int.from_bytes(content[8:10], "little")
    header = content[10 : 10 + length].decode("latin-1")
    shape = random.choice(
        (
            "(0,)",
            "()",
            "(-1, 5)",
            "(2**70,)",
            f"({10**9}, {10**9})",
            "(10**40, 2)",
            "(96, 96, 3)",
            "('a',)",
            "(96,)",
            "(96, 96)",
        )
    )
    kind = random.choice(
        (
            "'|O'",
            "'<f8'",
            "'<M8[s]'",
            "'<U9'",
            "[('a', '<i4')]",
            "'|V8'",
            "'?'",
            "'<c16'",
            "'>i4'",
            "'<u8'",
            "None",
        )
    )
    changed = random.choice(
        (
            re.sub(r"\([^)]*\)", lambda _: shape, header, count=1),
            re.sub(r"(?<='descr': )[^,]+", lambda _: kind, header, count=1),
            header.replace("False", "True"),
            replace_text(header, random),
        )
    ).encode("utf-8", "replace")[:65535]
    return content[:8] + len(changed).to_bytes(2, "little") + changed + content[10 + length :]


def replace_text(text: str, random: Random) -> str:
    return random.choice(TEXT)(text.encode(), random).decode("utf-8", "replace")


def mat_field(content: bytes, random: Random) -> bytes:
    """A field of 4 bytes behind MATLAB's header of 128; of a compressed variable inside of it."""
    kind, length = (int.from_bytes(content[at : at + 4], "little") for at in (128, 132))
    if kind == 15 and random.random() < 0.8:
        try:
            inside = zlib.decompress(content[136 : 136 + length])
        except zlib.error:
            return content
        packed = zlib.compress(_set_field(inside, 0, random))
        return content[:132] + struct.pack("<I", len(packed)) + packed + content[136 + length :]
    return _set_field(content, 124, random)


def _set_field(content: bytes, first: int, random: Random) -> bytes:
    count = min(len(content) - first, random.choice((80, 200, len(content)))) // 4
    if count < 1:
        return content
    start = first + 4 * random.randrange(count)
    value = random.choice((*range(20), *NUMBERS, 0x40001, 0x10006, 0x800, 0x306)) % 2**32
    return content[:start] + struct.pack("<I", value) + content[start + 4 :]


def pickled(content: bytes, random: Random) -> bytes:
    """Names and instructions of a pickle."""
    names = (b"cposix\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nload\n", b"c__builtin__\ngetattr\n")
    instructions = (
        b"R",
        b".",
        b"(",
        b"t",
        b"0",
        b"h\0",
        b"j\xff\xff\xff\xff",
        b"\x8e" + b"\xff" * 8,
        b"Q",
        b"b",
        b"}",
        b"]",
    )
    where = random.randrange(len(content) + 1)
    return content[:where] + random.choice((*names, *instructions)) + content[where + random.randint(0, 2) :]


def odd_tensor(content: bytes, random: Random) -> bytes:
    """Another file of PyTorch: one with a tensor whose values lie in no plain array."""
    import torch

    plain, saved = torch.ones(2, 3), io.BytesIO()
    kinds: tuple[Callable[[], Any], ...] = (
        plain.to_sparse,
        plain.to_sparse_csr,
        lambda: torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8),
        lambda: torch.nested.nested_tensor([plain, plain[:1]]),
        lambda: plain.to("meta"),
        lambda: torch.ones(1).expand(10**12),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are called experimental
        torch.save({"a": plain, "b": random.choice(kinds)()}, saved)
    return saved.getvalue()


def json_line(content: bytes, random: Random) -> bytes:
    """One value in a line of JSON."""
    lines = content.split(b"\n")
    which = random.randrange(len(lines))
    lines[which] = json_value(lines[which], random)
    return b"\n".join(lines)


_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 0.5, -0.5, 1e30, 1e308, 2**40, 10**400, float("nan"), float("inf"),
    *TEXTS, [], {}, [[]], {"": []}, [1, 2, 3], [1, [2], "3"], "\ud800",
)  # fmt: skip


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(holder, key) of every value in nested dicts and lists."""
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in list(keys):
        yield tree, key
        yield from _places(tree[key])


def _directories(content: bytes) -> tuple[list[int], list[int]]:
    """Where the tags of a TIFF are, and the places that say where the next directory is."""
    entries: list[int] = []
    ends: list[int] = []
    at = int.from_bytes(content[4:8], "little") if content[:4] == b"II*\0" else 0
    while 8 <= at < len(content) - 2 and at not in {end for end in ends} and len(ends) < 8:
        count = int.from_bytes(content[at : at + 2], "little")
        end = at + 2 + 12 * count
        if end + 4 > len(content):
            break
        entries += range(at + 2, end, 12)
        ends.append(end)
        at = int.from_bytes(content[end : end + 4], "little")
    return entries, ends


_KINDS: dict[str, tuple[Callable[[bytes, Random], bytes], ...]] = {
    ".png": (png_header, png_chunk),
    ".jpg": (jpeg_segment,),
    **dict.fromkeys((".bmp", ".webp", ".ppm", ".jp2"), (encapsulated,)),
    **dict.fromkeys((".tif", ".svs"), (tiff_tag,)),
    ".npy": (npy_header,),
    ".mat": (mat_field,),
    ".xml": (xml_element, *TEXT),
    **dict.fromkeys((".json", ".geojson", ""), (json_value, json_value, json_value, *TEXT)),
    **dict.fromkeys((".py", ".txt"), TEXT),
    ".gz": (gzipped_json,),
    ".jsonl": (json_line, *TEXT),
    ".npz": (zip_member,),
    ".pt": (*[zip_member] * 4, odd_tensor),
    ".safetensors": (safetensors_header,),
    **dict.fromkeys((".pkl", ".pth"), (pickled,)),
}
