"""Damage to bytes and texts of any kind; each function is a function of its arguments alone."""

import re
import struct
from collections.abc import Callable
from random import Random

Mutation = Callable[[bytes, Random], bytes]
"""The content of a file, and what is drawn from → the content with one change."""

NUMBERS = (
    0,
    1,
    2,
    3,
    7,
    16,
    255,
    256,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63,
    2**64 - 1,
)
"""Sizes and offsets at which readers go wrong."""

TEXTS = (
    "", " ", "0", "-1", "1e400", "nan", "inf", "None", "True", "\0", "\n", "\x1b[31m", "é", "💥", "\u202e",
    "../../escape", "/dev/zero", "a" * 5000, "%s%n", "{}", "[]", "'", '"', "()", "=", ",", "1_0", "٣", "0x10",
)  # fmt: skip
"""What people and programs put where another thing belongs."""


def mutate(content: bytes, mutations: tuple[Mutation, ...], random: Random) -> bytes:
    """One to three changes, by what knows the kind of file and by what knows nothing."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        chosen = mutations if mutations and random.random() < 0.6 else ANY
        content = random.choice(chosen)(content, random)
    return content


def flip_bits(content: bytes, random: Random) -> bytes:
    """One to eight bits."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 8) if content else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def flip_bits_of_start(content: bytes, random: Random) -> bytes:
    """Bits among the first 256 bytes, where headers are."""
    return flip_bits(content[:256], random) + content[256:]


def overwrite(content: bytes, random: Random) -> bytes:
    """A run of zeros, of ones, or of noise; the length stays."""
    start, length = _run(content, random)
    return content[:start] + _filling(length, random) + content[start + length :]


def insert(content: bytes, random: Random) -> bytes:
    start, length = _run(content, random)
    return content[:start] + _filling(length, random) + content[start:]


def delete(content: bytes, random: Random) -> bytes:
    start, length = _run(content, random)
    return content[:start] + content[start + length :]


def repeat(content: bytes, random: Random) -> bytes:
    """A part of it twice, here or elsewhere."""
    start, length = _run(content, random)
    where = random.randrange(len(content) + 1)
    return content[:where] + content[start : start + length] + content[where:]


def truncate(content: bytes, random: Random) -> bytes:
    """Cut off at the end: by a few bytes, or anywhere."""
    few = random.random() < 0.3
    return content[: -random.randint(1, 16)] if few else content[: random.randrange(len(content) + 1)]


def set_number(content: bytes, random: Random) -> bytes:
    """An integer of 2, 4 or 8 bytes, in either order, more often near the start."""
    size, letter = random.choice(((2, "H"), (4, "I"), (8, "Q")))
    last = min(len(content), random.choice((64, 512, len(content)))) - size
    if last < 0:
        return content
    start = random.randrange(last + 1)
    value = random.choice(NUMBERS) % 2 ** (8 * size)
    return content[:start] + struct.pack(random.choice("<>") + letter, value) + content[start + size :]


ANY: tuple[Mutation, ...] = (
    flip_bits, flip_bits_of_start, overwrite, insert, delete, repeat, truncate, set_number,
)  # fmt: skip
"""For files of all kinds."""


_TOKEN = re.compile(r"[\w.+-]+|[^\w\s]")


def replace_token(content: bytes, random: Random) -> bytes:
    """A word, a number or a sign of a text → another thing, nothing, or twice the same."""
    text = content.decode("utf-8", "replace")
    token, other = (_TOKEN.search(text, random.randrange(len(text) + 1)) for _ in range(2))
    if token is None or other is None:
        return random.choice(TEXTS).encode()
    others = (random.choice(TEXTS), str(random.choice(NUMBERS)), other[0], "", token[0] * 2)
    return (text[: token.start()] + random.choice(others) + text[token.end() :]).encode("utf-8", "replace")


def nest(content: bytes, random: Random) -> bytes:
    """Something a text opens or closes, many times over: parsers call themselves."""
    text = content.decode("utf-8", "replace")
    opening, closing = random.choice(
        (("(", ")"), ("[", "]"), ("{", "}"), ('{"a":', "}"), ("or(a,", ")"), ("<a>", "</a>"))
    )
    depth = random.choice((2, 50, 3000, 20_000))
    where = random.randrange(len(text) + 1)
    inner = closing * depth if random.random() < 0.7 else ""
    return (text[:where] + opening * depth + "a" + inner + text[where:]).encode("utf-8", "replace")


def another_encoding(content: bytes, random: Random) -> bytes:
    """As programs of other systems save a text."""
    text = content.decode("utf-8", "replace")
    return text.encode(random.choice(("utf-16", "utf-8-sig", "utf-32", "cp037")), "replace")


TEXT: tuple[Mutation, ...] = (replace_token, replace_token, replace_token, nest, another_encoding)
"""For texts of all kinds."""


def _run(content: bytes, random: Random) -> tuple[int, int]:
    """(start, length) of a part, mostly a short one."""
    length = min(len(content), random.choice((1, 2, 4, 16, 100, 1000)))
    return random.randrange(len(content) - length + 1), length


def _filling(length: int, random: Random) -> bytes:
    return random.choice((bytes(length), b"\xff" * length, random.randbytes(length)))
