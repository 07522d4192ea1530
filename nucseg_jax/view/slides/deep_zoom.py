"""Deep Zoom images: levels that double from one pixel up to the slide, in tiles that overlap.

The format is Microsoft's "Deep Zoom File Format Overview", as OpenSeadragon reads it: level 0 is one pixel,
the last level the slide itself; a tile has TILE_PX pixels, and OVERLAP_PX more at each side where there is a
neighbour.
"""

import io
import threading
from collections import OrderedDict
from typing import NamedTuple

from PIL import Image

from nucseg_jax.view.slides.displayed_slide import DisplayedSlide

TILE_PX, OVERLAP_PX = 254, 1
_QUALITY = 85
_NAMESPACE = "http://schemas.microsoft.com/deepzoom/2008"


class NoTileError(ValueError):
    """A level has no such tile, or there is no such level."""


class TilePlace(NamedTuple):
    """A tile of a Deep Zoom image, each counted from 0."""

    level: int
    column: int
    row: int


def descriptor(size: tuple[int, int]) -> str:
    """The XML that describes a slide of `size`, (height, width) in base pixels."""
    height, width = size
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Image xmlns="{_NAMESPACE}" Format="jpg" '
        f'Overlap="{OVERLAP_PX}" TileSize="{TILE_PX}"><Size Width="{width}" Height="{height}"/></Image>\n'
    )


def last_level(size: tuple[int, int]) -> int:
    """The number of the level that is the slide itself."""
    return (max(size) - 1).bit_length()


def tile(slide: DisplayedSlide, place: TilePlace) -> bytes:
    """A tile as JPEG.

    Raises:
      NoTileError: there is none at the place.
      DataError: the file is damaged there.
    """
    last = last_level(slide.size)
    if not 0 <= place.level <= last:
        raise NoTileError(f"levels are 0 to {last}, got {place.level}")
    scale = 1 << (last - place.level)
    height, width = slide.level_size(scale)
    top, bottom = _span(place.row, height)
    left, right = _span(place.column, width)
    pixels = slide.region(scale, top, left, bottom - top, right - left)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=_QUALITY)
    return file.getvalue()


def _span(index: int, side: int) -> tuple[int, int]:
    """The first pixel of a tile along an axis, and the one after its last."""
    if not 0 <= index * TILE_PX < side:
        raise NoTileError(f"tiles are 0 to {(side - 1) // TILE_PX}, got {index}")
    return max(0, index * TILE_PX - OVERLAP_PX), min(side, (index + 1) * TILE_PX + OVERLAP_PX)


class TileCache:
    """Tiles that were asked for last.

    Args:
      most_bytes: that they may have together.
    """

    def __init__(self, most_bytes: int = 128 << 20) -> None:
        self._most = most_bytes
        self._tiles: OrderedDict[tuple[str, TilePlace], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, slide: str, place: TilePlace) -> bytes | None:
        """The tile of a slide; None where it is not here."""
        with self._lock:
            found = self._tiles.get((slide, place))
            if found is not None:
                self._tiles.move_to_end((slide, place))
            return found

    def put(self, slide: str, place: TilePlace, content: bytes) -> None:
        """Keep a tile, and drop those that were not asked for longest."""
        with self._lock:
            self._bytes += len(content) - len(self._tiles.pop((slide, place), b""))
            self._tiles[slide, place] = content
            while self._bytes > self._most:
                _, dropped = self._tiles.popitem(last=False)
                self._bytes -= len(dropped)
