"""Whether three channels are red, green and blue, by their names and colours in OME's metadata.

Programs that know no RGB keep H&E as three channels, as others keep fluorescence.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any, NamedTuple

from nucseg_jax.errors import in_short, listed

_NAMES = {"red": 0, "r": 0, "green": 1, "g": 1, "blue": 2, "b": 2}
_COLOURS = {"FF0000": 0, "00FF00": 1, "0000FF": 2}
_NUMBERED = re.compile(r"(channel|ch|c)?[\s_:-]*[\d:]*", re.IGNORECASE)  # as programs count them


class Channels(NamedTuple):
    """What a file says of its channels.

    Attributes:
      names: of each; empty where it has none.
      colours: that each is shown in, RRGGBB; empty where the file does not say.
    """

    names: tuple[str, ...]
    colours: tuple[str, ...]

    @property
    def is_unnamed(self) -> bool:
        """Whether the names say nothing: there are none, or numbers."""
        return all(_NUMBERED.fullmatch(name) for name in self.names)

    def order(self) -> tuple[int, int, int] | None:
        """Where red, green and blue are among three channels; None where the file does not say so."""
        found = _order([_NAMES.get(name.strip().lower()) for name in self.names])
        if found is None and self.is_unnamed:
            found = _order([_COLOURS.get(colour) for colour in self.colours])
        return found

    def __str__(self) -> str:
        return "" if self.is_unnamed else f" ({listed([in_short(name, 40) for name in self.names])})"


def of_names(names: Sequence[object]) -> Channels:
    """Of channels that have names alone."""
    return Channels(tuple(map(str, names)), ())


def of_ome(metadata: str | None) -> Channels:
    """Of the first image of OME-XML; none where there is no XML, or no whole one."""
    try:
        root = ElementTree.fromstring(metadata or "")
    except ElementTree.ParseError:
        return Channels((), ())
    pixels = next((e for e in root.iter() if _tag(e) == "Pixels"), ())
    found = [e for e in pixels if _tag(e) == "Channel"]
    return Channels(
        tuple(e.get("Name", "") for e in found), tuple(_colour_of_ome(e.get("Color", "")) for e in found)
    )


def of_omero(metadata: Any) -> Channels:
    """Of the `omero` part of OME-Zarr's metadata; none where there is no such part, or an odd one."""
    found = metadata.get("channels") if isinstance(metadata, dict) else None
    known = [e if isinstance(e, dict) else {} for e in found] if isinstance(found, list) else []
    return Channels(
        tuple(str(e.get("label") or "") for e in known),
        tuple(str(e.get("color", "")).lstrip("#").upper()[:6] for e in known),
    )


def _order(colours: Sequence[int | None]) -> tuple[int, int, int] | None:
    if sorted(colour for colour in colours if colour is not None) != [0, 1, 2] or len(colours) != 3:
        return None
    red, green, blue = (list(colours).index(colour) for colour in range(3))
    return red, green, blue


def _colour_of_ome(text: str) -> str:
    """RRGGBB of a colour in OME-XML: a signed number of 32 bits, RGBA."""
    try:
        return f"{(int(text) & 0xFFFFFFFF) >> 8:06X}"
    except ValueError:
        return ""


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
