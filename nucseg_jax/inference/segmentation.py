"""A slide's nuclei one after the other: of a small image at once, of a large one while it is being read."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from nucseg_jax.inference.blocks import BlockCutter, CutSizes
from nucseg_jax.inference.box import Box
from nucseg_jax.inference.feeder import Feeder
from nucseg_jax.inference.planes import Found, whole
from nucseg_jax.inference.scan import Network, Scan
from nucseg_jax.inference.tile_store import TilesOnDisk, TileStore
from nucseg_jax.inference.tiles import TISSUE_PX
from nucseg_jax.instances import PLAUSIBLE_AREA_UM2, area_px, max_area_px
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.regions import Regions
from nucseg_jax.slides import Slide

SMALL_PX = 2**22
"""Pixels of the network's level up to which an image is segmented at once: 2048 × 2048.

A larger image gains from stages that run side by side, though their processes must start: measured at 6.6
megapixels.
"""


@dataclass(frozen=True)
class Setup:
    """What does not change from slide to slide.

    Attributes:
      network: on the device.
      instances: `config.instances`.
      block: side in pixels of the blocks that nuclei of large slides are cut in.
      cutters: makes the threads or processes that do so.
      cutter_count: of them.
      readers: threads that read.
      small_px: pixels of the network's level up to which a slide is segmented at once.
      cut_sizes: how far the blocks of large slides look past their borders.
    """

    network: Network
    instances: ConfigDict
    block: int
    cutters: Callable[[], Executor]
    cutter_count: int
    readers: int
    small_px: int = SMALL_PX
    cut_sizes: CutSizes = CutSizes()


class Segmentation(Scan):
    """The nuclei of one slide: iterate once. They come row by row of blocks; ids are the same each time.

    Nuclei of more than `max_area_um2` of the method are left out. With regions there are only those whose
    centroid lies in one, and only these count.

    Args:
      slide: open, with a resolution; it stays the caller's.
      frame: its frame.
      setup: see `Setup`.
      scratch: a folder for the probabilities of a large slide, on a disk with `scratch_bytes`; None: the
        system's folder for temporary files.
      on_progress: is told the part of the slide that is done, 0 … 1.
      regions: as of `Scan`.

    Attributes:
      setup: as given; for the others see `Scan`.
      scratch: as given; another may be set before the first nucleus is taken.
      left_out: how many nuclei were left out so far, by reason: "too_large".
      implausible: how many were kept so far that are hardly nuclei, by reason: "too_large", which are larger
        than PLAUSIBLE_AREA_UM2, where the method's limit is higher or, as of components, there is none.
    """

    def __init__(
        self,
        slide: Slide,
        frame: Frame,
        setup: Setup,
        scratch: Path | None = None,
        on_progress: Callable[[float], None] | None = None,
        regions: Regions | None = None,
    ):
        super().__init__(slide, frame, setup.network, setup.instances.masked, regions)
        self.setup, self.left_out, self.implausible = setup, {"too_large": 0}, {"too_large": 0}
        self._max_area_px = max_area_px(setup.instances, frame.network_mpp)
        self._plausible_px = area_px(PLAUSIBLE_AREA_UM2, frame.network_mpp)
        self.scratch, self._on_progress = scratch, on_progress

    @property
    def scratch_bytes(self) -> int:
        """That `scratch` needs room for, at most; 0 for a slide that is segmented in memory."""
        if self._is_small():
            return 0
        return len(self.places) * self.network.planes * self.grid.tiling.kept**2

    @property
    def workers(self) -> Executor | None:
        """The processes that cut the nuclei, which have time for other work on them; None where none do."""
        if not self.places or self._is_small():
            return None
        cutters = self.setup.cutters()
        return cutters if isinstance(cutters, ProcessPoolExecutor) else None

    def _is_small(self) -> bool:
        return self.frame.network_size[0] * self.frame.network_size[1] <= self.setup.small_px

    def __iter__(self) -> Iterator[Nucleus]:
        if not self.places:
            self._report(1.0)
        elif self._is_small():
            yield from self._at_once()
        else:
            yield from self._side_by_side()

    def notes(self) -> list[str]:
        """What a user should be told when all nuclei have been taken: what was masked, left out, doubtful."""
        notes, chosen = [] if self.regions is None else list(self.regions.notes), self.setup.instances
        if self.stain is not None and not self.stain.found:
            notes.append("shows no hematoxylin and eosin; its stain is left as it is")
        shares = self.kinds.shares()
        masked = [f"{kind} {shares[kind]:.2%}" for kind in chosen.masked if shares[kind]]
        if masked:
            notes.append(
                f"masked as no tissue, by colour: {', '.join(masked)} of the slide; no nuclei are looked for "
                "there (instances.masked)"
            )
        if count := self.left_out["too_large"]:
            limit = chosen[chosen.method].max_area_um2
            notes.append(
                f"left out: {count:,} larger than {limit:g} µm², too large for a nucleus "
                f"(instances.{chosen.method}.max_area_um2)"
            )
        if count := self.implausible["too_large"]:
            notes.append(
                f"kept: {count:,} larger than {PLAUSIBLE_AREA_UM2:g} µm², too large for a nucleus: ink, "
                f"folds or nuclei that touch (instances.{chosen.method}.max_area_um2 = "
                f"{PLAUSIBLE_AREA_UM2:g} leaves them out)"
            )
        return notes

    def _at_once(self) -> Iterator[Nucleus]:
        planes = self.at_once()
        with self.times.measure("instances"):
            found = whole(planes, self.setup.instances, self.frame.network_mpp, self.network.has_boundary)
        yield from self._numbered(found, 0)
        self._report(1.0)

    def _numbered(self, found: list[Found], before: int) -> Iterator[Nucleus]:
        """Those in a region that the method's limit allows, numbered after those that came before."""
        for nucleus, regions in zip(found, self._regions_of(found), strict=True):
            if regions == ():
                continue
            pixels = nucleus.mask.sum()
            if pixels > self._max_area_px:
                self.left_out["too_large"] += 1
            else:
                self.implausible["too_large"] += int(pixels > self._plausible_px)
                before += 1
                yield Nucleus(before, *nucleus, regions)

    def _regions_of(self, found: list[Found]) -> Sequence[tuple[str, ...] | None]:
        """The regions that hold the centroid of each nucleus; None for each where there are no regions."""
        if self.regions is None:
            return [None] * len(found)
        places = np.array([_centroid(nucleus) for nucleus in found]).reshape(-1, 2) * self.frame.scale
        return self.regions.at(places[:, 0], places[:, 1])

    def _side_by_side(self) -> Iterator[Nucleus]:
        with tempfile.TemporaryDirectory(prefix="probabilities-", dir=self.scratch) as folder:
            tiling, planes = self.grid.tiling, self.network.planes
            written = np.zeros(self.grid.shape, bool)
            written[tuple(np.transpose(self.places))] = True
            tiles = TilesOnDisk(Path(folder), planes, tiling.kept, written)
            store = TileStore(tiles, tiling, self.frame.network_size, planes, self.squares)
            cutter = BlockCutter(
                store,
                self.setup.instances,
                self.frame.network_mpp,
                self.network.has_boundary,
                self.setup.cut_sizes,
            )
            feeder = Feeder(
                self,
                store,
                cutter,
                self._blocks(),
                cutters=self.setup.cutters(),
                cutter_count=self.setup.cutter_count,
                readers=self.setup.readers,
            )
            try:
                yield from self._of_blocks(feeder, tiles, cutter.reach)
            finally:
                feeder.stop()

    def _of_blocks(self, feeder: Feeder, tiles: TilesOnDisk, reach: int) -> Iterator[Nucleus]:
        count, done, stride = 0, 0, self.grid.tiling.stride
        for block, found in feeder.results():
            for nucleus in self._numbered(found, count):
                count = nucleus.id
                yield nucleus
            # A row of tiles ends before the second one after it begins.
            tiles.drop_rows((block.top - reach) // stride - 1)
            done += 1
            self._report(done / feeder.total)

    def _blocks(self) -> list[Box]:
        """The blocks with tissue, row by row."""
        side = self.setup.block
        height, width = self.frame.network_size
        wanted = set()
        for row, column in np.argwhere(self.squares).tolist():
            rows, columns = (
                range(i * TISSUE_PX // side, -(-min((i + 1) * TISSUE_PX, length) // side))
                for i, length in ((row, height), (column, width))
            )
            wanted |= {(r, c) for r in rows for c in columns}
        return [
            Box(r * side, c * side, min((r + 1) * side, height), min((c + 1) * side, width))
            for r, c in sorted(wanted)
        ]

    def _report(self, part: float) -> None:
        if self._on_progress is not None:
            self._on_progress(part)


def _centroid(nucleus: Found) -> tuple[float, float]:
    """x and y in pixels of the network's level, as tables have them: pixel i covers i to i + 1."""
    rows, columns = np.nonzero(nucleus.mask)
    return nucleus.left + float(columns.mean()) + 0.5, nucleus.top + float(rows.mean()) + 0.5
