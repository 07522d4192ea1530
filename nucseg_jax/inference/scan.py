"""A network passed over a slide: which tiles, how it is stained, and what comes of a batch of tiles."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.inference.lanes import Lanes
from nucseg_jax.inference.rings import NOT_MEASURED
from nucseg_jax.inference.tile_network import SlideStain
from nucseg_jax.inference.tile_store import TilesInMemory, TileStore
from nucseg_jax.inference.tiles import TISSUE_PX, TilePlace, Tiling, cheapest_grid, squares_with_tissue
from nucseg_jax.inference.timing import StageTimes
from nucseg_jax.nuclei import Frame
from nucseg_jax.regions import Regions
from nucseg_jax.slides import Slide
from nucseg_jax.slides.tissue_mask import MASK_MPP, MASKABLE, slide_kinds

# Squares of tissue, evenly spaced, that a slide's stain is estimated from: with 16 concentrations vary by a
# tenth, with these by 3 %.
_STAIN_SQUARES = 64


class Network(Protocol):
    """What is asked of `tile_network.TileNetwork`, which says what these are."""

    has_boundary: bool
    looks_at_stain: bool

    @property
    def tilings(self) -> Sequence[Tiling]: ...

    @property
    def planes(self) -> int: ...

    def batch_size(self, tiling: Tiling) -> int: ...

    def lanes(self, tiling: Tiling) -> int: ...

    def estimate(self, pixels: NDArray[np.uint8]) -> SlideStain: ...

    def normalize(self, tiles: NDArray[np.uint8], stain: SlideStain) -> tuple[jax.Array, jax.Array]: ...

    def kept(self, tiles: jax.Array, dyes: jax.Array, tiling: Tiling) -> jax.Array: ...


class Scan:
    """One slide and the network that looks at it.

    Args:
      slide: open, with a resolution; it stays the caller's.
      frame: its frame.
      network: on the device.
      masked: kinds of places where no nucleus is looked for, of `tissue_mask.MASKABLE`.
      regions: parts of the slide that it looks at; None: all of it.

    Attributes:
      slide, frame, network, regions: as given.
      times: seconds by stage.
      grid: the network's tiles.
      batch_size: tiles a batch.
      kinds: what the slide shows where.
      squares: bool [rows, columns], the squares of TISSUE_PX pixels with tissue, or near it: these are looked
        at. With regions only those that a region touches, and the squares around them, since how a nucleus
        is cut depends on its surroundings.
      places: the tiles that they need.
      stain: how the slide is stained; None before `estimate`, and where there is no tissue.

    Raises:
      DataError: a region is off the slide.
    """

    def __init__(
        self,
        slide: Slide,
        frame: Frame,
        network: Network,
        masked: Collection[str] = MASKABLE,
        regions: Regions | None = None,
    ):
        self.slide, self.frame, self.network, self.regions = slide, frame, network, regions
        if regions is not None:
            regions.check_on(slide.path, frame.size)
        self.times = StageTimes()
        self.stain: SlideStain | None = None
        with self.times.measure("tissue"):
            longest_um = max(frame.size) * frame.mpp
            self.kinds = slide_kinds(slide.thumbnail(max(1, round(longest_um / MASK_MPP))), masked)
            self._with_tissue = squares_with_tissue(self.kinds.searched, frame.network_size)
            self.squares = self._with_tissue & self._in_regions(self._with_tissue.shape)
            self._masked = self.kinds.masked if self.kinds.masked.any() else None
            self.grid, self.places = cheapest_grid(frame, network.tilings, self.squares, network.batch_size)
            self.batch_size = network.batch_size(self.grid.tiling)

    @property
    def megapixels(self) -> float:
        """Millions of pixels of the network's level that are in squares with tissue."""
        heights, widths = (
            np.minimum(TISSUE_PX, side - TISSUE_PX * np.arange(count))
            for side, count in zip(self.frame.network_size, self.squares.shape, strict=True)
        )
        return float((heights[:, None] * widths[None, :] * self.squares).sum()) / 1e6

    def estimate(self, map_: Callable[..., Iterable[Any]] = map) -> None:
        """Find out how the slide is stained, from squares of its tissue that lie fixed on it.

        They are of the whole slide, whatever the regions: nuclei of a region do not depend on its outline.

        A network that does not normalise stains needs to read none.

        Args:
          map_: an executor's, to read the squares side by side.
        """
        if not self.network.looks_at_stain:
            self.stain = self.network.estimate(np.empty((0, 3), np.uint8))
            return
        squares = np.argwhere(self._with_tissue)
        chosen = sorted({i * len(squares) // _STAIN_SQUARES for i in range(_STAIN_SQUARES)})
        samples = list(map_(self._sample, squares[chosen].tolist()))
        with self.times.measure("stain"):
            # Together, so that a square that the border cuts weighs no more than its pixels.
            self.stain = self.network.estimate(np.concatenate([s.reshape(-1, 3) for s in samples]))

    def read(self, place: TilePlace) -> NDArray[np.uint8]:
        """uint8 [tile, tile, 3] RGB of a tile."""
        with self.times.measure("reading"):
            return self.grid.read(self.slide, place)

    def start(self, tiles: Sequence[NDArray[np.uint8]]) -> tuple[jax.Array, jax.Array]:
        """Start a batch on the device: what the network gets, and what is kept of what it says.

        Args:
          tiles: at most `batch_size`; `estimate` comes first.
        """
        assert self.stain is not None
        return started(self.network, self.grid.tiling, self.stain, tiles)

    def lanes(self) -> Lanes:
        """Where the batches are worked on."""
        return Lanes(self.start, self.network.lanes(self.grid.tiling), self.times)

    def unmasked(self, place: TilePlace, planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is kept of a tile, without what the slide is masked at: no nucleus can be made there.

        There the last plane, eosin, says that it was not measured; all others are 0.

        Args:
          place: of the tile.
          planes: [planes, kept, kept].
        """
        if self._masked is None:
            return planes
        rows, columns = (
            _in_mask(self.grid.tiling.first_kept(index) + np.arange(length), side, of_mask)
            for index, length, side, of_mask in zip(
                place, planes.shape[1:], self.frame.network_size, self._masked.shape, strict=True
            )
        )
        masked = self._masked[np.ix_(rows, columns)]
        if not masked.any():
            return planes
        result = planes * ~masked
        result[-1, masked] = NOT_MEASURED
        return result

    def at_once(self) -> NDArray[np.uint8]:
        """The planes of the whole slide: uint8 [planes, h, w]; nothing on disk."""
        if not self.places:
            return np.zeros((self.network.planes, *self.frame.network_size), np.uint8)
        store = TileStore(
            TilesInMemory(), self.grid.tiling, self.frame.network_size, self.network.planes, self.squares
        )
        self.estimate()
        batches = [
            self.places[first : first + self.batch_size]
            for first in range(0, len(self.places), self.batch_size)
        ]
        with self.lanes() as lanes:
            tiles = ([self.read(place) for place in places] for places in batches)
            for places, values in zip(batches, lanes.over(tiles), strict=True):
                for place, planes in zip(places, values, strict=False):  # the last batch is padded
                    store.tiles.put(*place, self.unmasked(place, planes))
        return store.read(0, 0, *self.frame.network_size)

    def _in_regions(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The squares that a region touches, and those around them: bool [rows, columns] of `shape`."""
        if self.regions is None:
            return np.ones(shape, bool)
        touched = self.regions.touched(shape, TISSUE_PX * self.frame.scale)
        return ndimage.binary_dilation(touched, np.ones((3, 3), bool))

    def _sample(self, square: tuple[int, int]) -> NDArray[np.uint8]:
        with self.times.measure("reading"):
            return self.grid.square(self.slide, *square)


def started(
    network: Network, tiling: Tiling, stain: SlideStain, tiles: Sequence[NDArray[np.uint8]]
) -> tuple[jax.Array, jax.Array]:
    """A batch that a network has started on: what it gets, and what is kept of what it says.

    Args:
      network: on the device.
      tiling: of the tiles.
      stain: of the slide that they are of.
      tiles: uint8 [tile, tile, 3] each, at most as many as the network's batch of them has.
    """
    batch = np.zeros((network.batch_size(tiling), tiling.tile, tiling.tile, 3), np.uint8)
    batch[: len(tiles)] = tiles
    normalized, dyes = network.normalize(batch, stain)
    return normalized, network.kept(normalized, dyes, tiling)


def _in_mask(pixels: NDArray[np.int64], side: int, of_mask: int) -> NDArray[np.int64]:
    """The row (or column) of a mask of the whole slide that the centres of the network's pixels lie in.

    Args:
      pixels: those outside of the slide, as a tile may have them, get the nearest.
      side: pixels of the slide.
      of_mask: pixels of the mask.
    """
    return np.clip(np.floor((pixels + 0.5) * of_mask / side), 0, of_mask - 1).astype(np.int64)
