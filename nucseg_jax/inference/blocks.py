"""Nuclei of a block of a slide, each whole and in one block only, whatever the blocks' size.

The mask of nuclei falls into connected components. A component belongs to the block that its first pixel (row
by row) lies in, and that block cuts it into nuclei, looking as far past its own border as the component
reaches. What comes out is a function of the component and what lies around it, not of the block.

The ring around a nucleus that its eosin is measured in (`rings`) is whole, too, but for nuclei of the next
paragraph that reach to the border of a window.

A component that is very high or wide (a smear, or a network that runs all nuclei together) is cut in windows
on a fixed grid instead, and a nucleus belongs to the window that its first pixel lies in. Each is still found
whole, unless it is longer than a window looks past its border: then windows cut it where they meet. Where two
windows see a nucleus differently, two may overlap there. `CutSizes` says what these sizes are.

Works on NumPy arrays alone, so that other processes can do it while the device computes.
"""

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure

from nucseg_jax import instances
from nucseg_jax.inference.box import Box
from nucseg_jax.inference.components import Components
from nucseg_jax.inference.planes import Found, map_of_planes, measured, nuclear
from nucseg_jax.inference.rings import reach_px
from nucseg_jax.inference.tile_store import TileStore

# That neighbours are seen in whole in: `watershed` measures the distance of their pixels to the background,
# and `depth` the height of those that touch at a corner.
_SURROUNDINGS_PX = 64
_GAUSSIAN_REACH = 4  # standard deviations at which SciPy's filter ends


@dataclass(frozen=True)
class CutSizes:
    """How far a block looks past its border, and which components are too large to be cut whole.

    All are in pixels of the network's level.

    Attributes:
      reaches_px: how far past a block its components are followed, one after the other until a component
        ends; `largest_px` comes last.
      largest_px: height and width up to which a component is cut whole.
      window_px: side of a window of the fixed grid for larger ones.
      window_reach_px: how far past its border a window looks.
    """

    reaches_px: tuple[int, ...] = (96, 512)
    largest_px: int = 2048
    window_px: int = 1024
    window_reach_px: int = 256


@dataclass(frozen=True)
class BlockCutter:
    """Cuts nuclei of any size out of what a store holds.

    Attributes:
      store: planes: probability of nucleus, of boundary where `has_boundary`, densities of hematoxylin
        and eosin.
      config: `config.instances`: how nuclei are made of probabilities.
      mpp: µm a pixel of the store.
      has_boundary: the network has a class for boundaries.
      sizes: how far it looks, and what it cuts whole.
    """

    store: TileStore
    config: ConfigDict
    mpp: float
    has_boundary: bool
    sizes: CutSizes = CutSizes()

    @cached_property
    def surroundings(self) -> int:
        """Pixels around a component that its cutting, and what is measured around its nuclei, look at."""
        return max(_SURROUNDINGS_PX + self._influence, reach_px(self.mpp))

    @cached_property
    def _influence(self) -> int:
        """Pixels over which a component changes how another is cut: those of the smoothing."""
        return int(np.ceil(_GAUSSIAN_REACH * self._parameters.get("smoothing_px", 0.0)))

    @cached_property
    def _parameters(self) -> dict[str, float]:
        return instances.parameters_px(self.config, self.mpp)

    @property
    def _reaches(self) -> tuple[int, ...]:
        return *self.sizes.reaches_px, self.sizes.largest_px

    @property
    def reach(self) -> int:
        """Pixels around a block that must be in the store."""
        return max(
            self.sizes.largest_px + self.surroundings, self.sizes.window_px + self.sizes.window_reach_px
        )

    def __call__(self, block: Box) -> tuple[list[Found], float]:
        """A block's nuclei, and the seconds that took."""
        start = time.perf_counter()
        return self._nuclei(block), time.perf_counter() - start

    def _nuclei(self, block: Box) -> list[Found]:
        window = block.grown(self._reaches[0] + self.surroundings, self.store.shape)
        components = Components(self._mask(window), window)
        inner = components.labels[block.within(window).slices]
        own = (np.flatnonzero(np.bincount(inner.ravel())[1:]) + 1).tolist()
        whole = [i for i in own if self._is_whole(components.box(i), window)]
        kept = [i for i in whole if block.holds(*components.first_pixel(i))]
        found = self._cut(components, kept)
        incomplete = sorted(set(own).difference(whole))
        pixels = [components.pixel_in(i, block) for i in incomplete]
        return found + self._far_reaching(block, pixels)

    def _far_reaching(self, block: Box, pixels: list[tuple[int, int]]) -> list[Found]:
        """Nuclei of the components, at some of a block's pixels, that reach far past it."""
        found: list[Found] = []
        huge = np.zeros((block.bottom - block.top, block.right - block.left), bool)
        for reach in self._reaches[1:]:
            if not pixels:
                break
            window = block.grown(reach + self.surroundings, self.store.shape)
            components = Components(self._mask(window), window)
            inner = components.labels[block.within(window).slices]
            ids = {components.labels[y - window.top, x - window.left]: (y, x) for y, x in pixels}
            pixels = []
            for i, pixel in ids.items():
                box = components.box(i)
                if self._is_whole(box, window):
                    if block.holds(*components.first_pixel(i)):
                        found += self._cut(components, [i])
                elif box.longest > self.sizes.largest_px or reach == self.sizes.largest_px:
                    huge |= inner == i  # as every block that has a part of it finds
                else:
                    pixels.append(pixel)
        return found + self._windows(block, huge) if huge.any() else found

    def _windows(self, block: Box, huge: NDArray[np.bool_]) -> list[Found]:
        """A block's part of components that are too large to be cut whole.

        Args:
          block: the block.
          huge: bool, the block's pixels of such components.
        """
        found: list[Found] = []
        side = self.sizes.window_px
        for top in range(block.top // side * side, block.bottom, side):
            for left in range(block.left // side * side, block.right, side):
                fixed = Box(top, left, top + side, left + side)
                part = fixed.common(block)
                if not huge[part.within(block).slices].any():
                    continue
                nuclei = self._split(fixed.grown(self.sizes.window_reach_px, self.store.shape), cut_to=fixed)
                found += [
                    nucleus
                    for nucleus, (y, x) in nuclei
                    if part.holds(y, x) and huge[y - block.top, x - block.left]
                ]
        return found

    def _cut(self, components: Components, ids: list[int]) -> list[Found]:
        """The nuclei of some whole components."""
        if not ids:
            return []
        boxes = [components.box(i) for i in ids]
        union = Box(
            min(box.top for box in boxes),
            min(box.left for box in boxes),
            max(box.bottom for box in boxes),
            max(box.right for box in boxes),
        )
        window = union.grown(self.surroundings, self.store.shape)
        labels = components.labels[window.within(components.window).slices]
        wanted = np.zeros(components.count + 1, bool)
        wanted[ids] = True
        # Other components, which other blocks cut, are left out unless they are near enough to matter.
        reach = 2 * self._influence + 1
        near = np.zeros(components.count + 1, bool)
        near[labels[ndimage.maximum_filter(wanted[labels], size=reach)]] = True
        return [
            nucleus
            for nucleus, (y, x) in self._split(window, near[labels])
            if wanted[labels[y - window.top, x - window.left]]
        ]

    def _is_whole(self, box: Box, window: Box) -> bool:
        """Whether a component of a window ends in it, with its surroundings."""
        around = box.grown(self.surroundings, self.store.shape)
        return box.longest <= self.sizes.largest_px and around.common(window) == around

    def _mask(self, window: Box) -> NDArray[np.bool_]:
        return nuclear(self._planes(window, count=1)[0], self._parameters["threshold"])

    def _planes(self, window: Box, count: int | None = None) -> NDArray[np.uint8]:
        sides = window.bottom - window.top, window.right - window.left
        return self.store.read(window.top, window.left, *sides, count)

    def _split(
        self, window: Box, among: NDArray[np.bool_] | None = None, cut_to: Box | None = None
    ) -> list[tuple[Found, tuple[int, int]]]:
        """All nuclei of a window with their first pixels, cut ones at its border included.

        Args:
          window: where to look.
          among: bool, pixels of the window: those of other components are left out.
          cut_to: what is left of those that the window's border cuts; None: all that is in the window.
        """
        planes = self._planes(window)
        nucleus_map = map_of_planes(planes, self.has_boundary)
        if among is not None:
            nucleus_map = nucleus_map._replace(nucleus=nucleus_map.nucleus * among)
        label_map = instances.cut(nucleus_map, self.config, self.mpp)
        if cut_to is not None:
            label_map = self._cut_down(label_map, window, cut_to)
        corner = window.top, window.left
        return measured(label_map, nucleus_map, planes, corner, self._parameters["threshold"], self.mpp)

    def _cut_down(self, label_map: NDArray[np.int32], window: Box, to: Box) -> NDArray[np.int32]:
        """A window's nuclei, of which those that are cut have nothing outside of a smaller rectangle.

        Cut are those that the window's border cuts and, so that all windows agree, all that are so long that
        some window's border may cut them. Those of more than `max_area_um2` are not: they are left out later,
        and their pieces would pass.
        """
        height, width = self.store.shape
        ends = np.zeros(label_map.shape, bool)  # where the window ends but the slide goes on
        ends[0, :], ends[-1, :] = window.top > 0, window.bottom < height
        ends[:, 0] |= window.left > 0
        ends[:, -1] |= window.right < width
        is_cut = np.zeros(int(label_map.max(initial=0)) + 1, bool)
        is_cut[label_map[ends]] = True
        reach = self.sizes.window_reach_px
        for i, (rows, columns) in enumerate(ndimage.find_objects(label_map), start=1):
            is_cut[i] |= max(rows.stop - rows.start, columns.stop - columns.start) > reach
        is_cut &= np.bincount(label_map.ravel(), minlength=len(is_cut)) <= instances.max_area_px(
            self.config, self.mpp
        )
        outside = np.ones(label_map.shape, bool)
        outside[to.common(window).within(window).slices] = False
        left = np.where(outside & is_cut[label_map], 0, label_map)
        pieces = measure.label(left, connectivity=1)
        stays = np.bincount(pieces.ravel()) >= self._parameters["min_area_px"]
        stays[0] = False
        return np.where(stays, np.cumsum(stays), 0).astype(np.int32)[pieces]
