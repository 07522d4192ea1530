"""What a page of a TIFF says of its pieces (tiles or strips), its transparency and its palette."""

import math
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA = 1, 2  # of TIFF's ExtraSamples


def evenly_spaced(down: int, across: int, most: int) -> list[tuple[int, int]]:
    """(row, column) of at most so many pieces of a grid, all over it."""
    columns = min(across, math.isqrt(most))
    rows = min(down, most // columns)
    return [
        ((2 * i + 1) * down // (2 * rows), (2 * j + 1) * across // (2 * columns))
        for i in range(rows)
        for j in range(columns)
    ]


def alpha(page: Any) -> int:
    """The kind of transparency of a fourth sample; 0 where there is none, or it is none."""
    kind = next(iter(page.extrasamples or ()), 0)
    return kind if page.samplesperpixel == 4 and kind in (ASSOCIATED_ALPHA, UNASSOCIATED_ALPHA) else 0


def palette(page: Any) -> NDArray[np.uint8]:
    """uint8 [entries, 3]: the colours of a palette."""
    table = np.asarray(page.colormap).T  # uint16
    # Made of bytes by 256 or 257, the upper byte is right for both; some programs write the bytes themselves.
    return (table if table.max(initial=0) < 256 else table >> 8).astype(np.uint8)


def ratio(page: Any, tag: str) -> float:
    """The value of a rational tag, 0 where it has none."""
    value = page.tags.valueof(tag, default=(0, 1))
    return value[0] / value[1] if value[1] else 0.0


def is_of_another(series: tifffile.TiffPageSeries) -> bool:
    """Whether a picture belongs to another one in the file: a scanner's label, a smaller copy, a mask."""
    page: Any = series.keyframe
    words = f"{series.name} {page.description} {page.tags.valueof('PageName', default='')}".lower()
    named = any(word in words for word in ("label", "macro", "thumbnail", "overview"))
    return bool(page.is_reduced or page.is_mask or named)
