"""What devices tell each other, read off a compiled program."""

import math
import re
from typing import NamedTuple

KINDS = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "reduce-scatter",
)
BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8}


class Message(NamedTuple):
    """One collective.

    Attributes:
      kind: of KINDS.
      sizes: bytes of each array that it puts together.
      in_loop: it is in a loop's body, so that it is sent once a round.
      of: what of our code it is for, as JAX names it.
    """

    kind: str
    sizes: tuple[int, ...]
    in_loop: bool
    of: str


def messages(text: str) -> list[Message]:
    """The collectives of a compiled program, in HLO."""
    bodies = set(re.findall(r"(?:body|condition)=%?([\w.-]+)", text))
    found, computation = [], ""
    for line in text.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.-]+) .*\{$", line):
            computation = head[1]
        call = re.match(rf"\s*(?:ROOT )?%?\S+ = (.*?) ({'|'.join(KINDS)})(?:-start)?\(", line)
        if call:
            shapes = re.findall(r"(\w+)\[([\d,]*)\]", call[1])
            sizes = [
                BYTES[dtype] * math.prod(map(int, filter(None, dims.split(",")))) for dtype, dims in shapes
            ]
            name = re.search(r'op_name="([^"]*)"', line)
            found.append(Message(call[2], tuple(sizes), computation in bodies, name[1] if name else ""))
    return found
