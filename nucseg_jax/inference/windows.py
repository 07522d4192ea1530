"""Squares of a slide that lie anywhere on it, looked at as they are, and flipped and turned.

The network sees a square as it sees a tile: with the stain of the whole slide, and with as much around it as
its tiles have.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from nucseg_jax.inference.lanes import Lanes
from nucseg_jax.inference.planes import map_of_planes
from nucseg_jax.inference.scan import Scan, started
from nucseg_jax.inference.tile_store import TilesInMemory, TileStore
from nucseg_jax.inference.tiles import TISSUE_PX, reflected
from nucseg_jax.instances import NucleusMap
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides.tissue_mask import SlideKinds


class Window(NamedTuple):
    """The top left corner of a square, in pixels of the network's level."""

    top: int
    left: int


class Symmetry(NamedTuple):
    """A way to lay a square: mirrored or not, and then turned by so many quarters."""

    flip: bool
    turns: int

    def lay(self, image: NDArray[Any]) -> NDArray[Any]:
        """[side, side, …] laid so."""
        return np.rot90(image[:, ::-1] if self.flip else image, self.turns)

    def undo(self, image: NDArray[Any]) -> NDArray[Any]:
        """[side, side, …] laid back."""
        turned = np.rot90(image, -self.turns)
        return turned[:, ::-1] if self.flip else turned


AS_IT_IS = Symmetry(False, 0)
SYMMETRIES = tuple(Symmetry(flip, turns) for flip in (False, True) for turns in range(4))
"""The eight symmetries of the square; the first one leaves it as it is."""


class Windows:
    """Squares of one slide, and the network that looks at them.

    Args:
      scan: of the slide.
      side: of the squares, in pixels of the network's level.

    Attributes:
      scan, side: as given.
    """

    def __init__(self, scan: Scan, side: int):
        self.scan, self.side = scan, side
        self._tiling = min(
            scan.network.tilings, key=lambda tiling: (tiling.count(side) * tiling.tile, tiling.tile)
        )

    @property
    def frame(self) -> Frame:
        """The slide's."""
        return self.scan.frame

    @property
    def kinds(self) -> SlideKinds:
        """What the slide shows where."""
        return self.scan.kinds

    def maps(
        self, windows: Sequence[Window], symmetries: Sequence[Symmetry] = (AS_IT_IS,)
    ) -> Iterator[list[NucleusMap]]:
        """What the network says of each square, once for each way to lay it; memory does not grow with them.

        Args:
          windows: that lie on the slide.
          symmetries: the ways to lay each.

        Yields:
          For each square a map [side, side] for each symmetry, laid back.
        """
        if not windows:
            return
        if self.scan.stain is None:
            self.scan.estimate()
        network, count = self.scan.network, self._tiling.count(self.side) ** 2
        tiles = (tile for window in windows for way in symmetries for tile in self._tiles(window, way))
        with Lanes(self._start, network.lanes(self._tiling), self.scan.times) as lanes:
            batches = _groups(tiles, network.batch_size(self._tiling))
            kept = (planes for values in lanes.over(batches) for planes in values)
            for _ in windows:
                yield [self._map(list(islice(kept, count)), way) for way in symmetries]

    def _start(self, tiles: Sequence[NDArray[np.uint8]]) -> tuple[jax.Array, jax.Array]:
        assert self.scan.stain is not None
        return started(self.scan.network, self._tiling, self.scan.stain, tiles)

    def _tiles(self, window: Window, way: Symmetry) -> Iterator[NDArray[np.uint8]]:
        """The tiles of a square, row by row: uint8 [tile, tile, 3]."""
        tiling = self._tiling
        firsts = [tiling.first_kept(i) - tiling.margin for i in range(tiling.count(self.side))]
        around = max(-firsts[0], firsts[-1] + tiling.tile - self.side)  # on all sides: it turns
        with self.scan.times.measure("reading"):
            top, left = window.top - around, window.left - around
            image = way.lay(reflected(self.scan.slide, self.frame, top, left, self.side + 2 * around))
        for first_row in firsts:
            for first_column in firsts:
                row, column = first_row + around, first_column + around
                yield image[row : row + tiling.tile, column : column + tiling.tile]

    def _map(self, kept: Sequence[NDArray[np.uint8]], way: Symmetry) -> NucleusMap:
        """A square's map, laid back, of what is kept of its tiles."""
        across, tiles = self._tiling.count(self.side), TilesInMemory()
        for i, planes in enumerate(kept):
            tiles.put(*divmod(i, across), planes)
        squares = np.ones((-(-self.side // TISSUE_PX),) * 2, bool)
        store = TileStore(tiles, self._tiling, (self.side, self.side), self.scan.network.planes, squares)
        said = map_of_planes(store.read(0, 0, self.side, self.side), self.scan.network.has_boundary)
        boundary = None if said.boundary is None else way.undo(said.boundary)
        return NucleusMap(way.undo(said.nucleus), boundary)


def _groups(items: Iterable[NDArray[np.uint8]], count: int) -> Iterator[list[NDArray[np.uint8]]]:
    """The items, `count` together; the last group may be smaller."""
    iterator = iter(items)
    while group := list(islice(iterator, count)):
        yield group
