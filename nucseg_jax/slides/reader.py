"""What `Slide` asks of the reader of a file format."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Level(NamedTuple):
    """One resolution of a slide.

    Attributes:
      height, width: in its own pixels.
      scale_y, scale_x: base pixels a pixel down and across, ≥ 1; 1 for the base level.
    """

    height: int
    width: int
    scale_y: float
    scale_x: float

    @property
    def scale(self) -> float:
        """Base pixels a pixel along the axis that is coarser."""
        return max(self.scale_y, self.scale_x)


class Resolution(NamedTuple):
    """What a file says of its resolution.

    Attributes:
      mpp: µm a base pixel, None where it says nothing of use.
      source: where that was read, or why there is none.
    """

    mpp: float | None
    source: str


class UnusableResolution(Resolution):
    """What a file says that cannot be; `mpp` is None, and `source` is the message, with the file's name.

    It is an error where the resolution counts, but neither for pixels alone nor where a user gives another.
    """


class Reader(Protocol):
    """A file of one format.

    Attributes:
      levels: the base first, then ever coarser ones.
      offset: (y, x) of their top left corner on the canvas of the file, in base pixels; (0, 0) unless they
        are cropped to what was scanned (`bounds`).
      resolution: of the base level.
      is_slide: made by a slide scanner, so that a resolution is part of it.
      notes: what was done about its pixels, or left undone, that a user should be told; without its name.
    """

    levels: tuple[Level, ...]
    offset: tuple[int, int]
    resolution: Resolution
    is_slide: bool
    notes: tuple[str, ...]

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        """uint8 [height, width, 3] RGB of a rectangle within the level; from any thread."""
        ...

    def close(self) -> None:
        """Close the file; nothing can be read after that."""
        ...
