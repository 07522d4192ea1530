"""A slide's nuclei one after the other, while it is being read: all stages at once, none far ahead.

Threads read tiles; one thread feeds the device and stores what comes back; as soon as all that a block needs
is stored, other threads or processes cut it; whoever iterates takes the nuclei. Queues are bounded, so that
memory is, whatever the slide's size.
"""

import queue
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.slides import Slide
from nucseg_jax.tissue_mask import MASK_MPP, tissue_mask
from nucseg_jax.whole_slide.blocks import BlockCutter, Found
from nucseg_jax.whole_slide.box import Box
from nucseg_jax.whole_slide.device import SlideStain
from nucseg_jax.whole_slide.grid import TileGrid, TilePlace
from nucseg_jax.whole_slide.store import TileStore
from nucseg_jax.whole_slide.timing import StageTimes

# Tiles of tissue, evenly spaced, that a slide's stain is estimated from: with 16 concentrations vary by a
# tenth, with these by 3 %.
_STAIN_TILES = 64
_STAIN_SIDE = 192  # pixels along each side of a tile, evenly spaced: more would take longer
_BATCHES_AHEAD = 2  # that are read while the device works


class Network(Protocol):
    """What the pipeline asks of `device.TileNetwork`, which says what these are."""

    tile: int
    margin: int
    batch_size: int
    has_boundary: bool

    @property
    def planes(self) -> int: ...

    def estimate(self, images: list[NDArray[np.uint8]]) -> SlideStain: ...

    def normalize(self, tiles: NDArray[np.uint8], stain: SlideStain) -> tuple[jax.Array, jax.Array]: ...

    def centres(self, tiles: jax.Array, hematoxylin: jax.Array) -> jax.Array: ...


@dataclass(frozen=True)
class Setup:
    """What does not change from slide to slide.

    Attributes:
      network: on the device.
      instances: `config.instances`.
      block: side in pixels of the blocks that nuclei are cut in.
      cutters: threads or processes that do so, and how many.
      cutter_count: of them.
      readers: threads that read.
    """

    network: Network
    instances: ConfigDict
    block: int
    cutters: Executor
    cutter_count: int
    readers: int


class Segmentation:
    """The nuclei of one slide: iterate once. Blocks come row by row; ids are the same each time.

    Args:
      slide: open, with a resolution; it stays the caller's.
      frame: its frame.
      setup: see `Setup`.
      scratch: a folder for the probabilities, on a disk with about a byte a pixel and plane; None: the
        system's folder for temporary files.
      on_progress: is told the part of the slide that is done, 0 … 1.

    Attributes:
      slide, frame, setup: as given.
      times: seconds by stage.
      grid: the network's tiles.
      tissue: bool [h, w], the whole slide: where there is tissue.
      places: the tiles that have some.
      stain: how the slide is stained; None until the iteration has begun, and where there is no tissue.
    """

    def __init__(
        self,
        slide: Slide,
        frame: Frame,
        setup: Setup,
        scratch: Path | None = None,
        on_progress: Callable[[float], None] | None = None,
    ):
        self.slide, self.frame, self.setup = slide, frame, setup
        self.times = StageTimes()
        self.grid = TileGrid(frame, setup.network.tile, setup.network.margin)
        self.stain: SlideStain | None = None
        self._scratch, self._on_progress = scratch, on_progress
        with self.times.measure("tissue"):
            longest_um = max(frame.size) * frame.mpp
            self.tissue = tissue_mask(slide.thumbnail(max(1, round(longest_um / MASK_MPP))))
            self.places = self.grid.places(self.tissue)

    @property
    def megapixels(self) -> float:
        """Millions of pixels of the network's level that are in tiles with tissue."""
        return len(self.places) * self.grid.stride**2 / 1e6

    def __iter__(self) -> Iterator[Nucleus]:
        if not self.places:
            self._report(1.0)
            return
        with tempfile.TemporaryDirectory(prefix="probabilities-", dir=self._scratch) as folder:
            network = self.setup.network
            shape = self.frame.network_size
            store = TileStore(Path(folder), shape, self.grid.stride, network.planes)
            cutter = BlockCutter(store, self.setup.instances, network.has_boundary)
            feeder = _Feeder(self, cutter, self._blocks())
            try:
                yield from self._numbered(feeder, store, cutter.reach)
            finally:
                feeder.stop()

    def _numbered(self, feeder: "_Feeder", store: TileStore, reach: int) -> Iterator[Nucleus]:
        count, done = 0, 0
        for block, found in feeder.results():
            for nucleus in found:
                count += 1
                yield Nucleus(count, *nucleus)
            store.drop_above(block.top - reach)
            done += 1
            self._report(done / feeder.total)

    def _blocks(self) -> list[Box]:
        """The blocks with tissue, row by row."""
        side = self.setup.block
        height, width = self.frame.network_size
        stride = self.grid.stride
        wanted = set()
        for row, column in self.places:
            rows = range(row * stride // side, -(-min((row + 1) * stride, height) // side))
            columns = range(column * stride // side, -(-min((column + 1) * stride, width) // side))
            wanted |= {(r, c) for r in rows for c in columns}
        return [
            Box(r * side, c * side, min((r + 1) * side, height), min((c + 1) * side, width))
            for r, c in sorted(wanted)
        ]

    def _report(self, part: float) -> None:
        if self._on_progress is not None:
            self._on_progress(part)


_Waiting = tuple[Box, Future[tuple[list[Found], float]]]
"""A block, and what will be found in it and how long that took."""


class _Feeder:
    """The thread that reads, feeds the device, stores, and hands out blocks.

    Args:
      segmentation: whose nuclei are wanted.
      cutter: cuts a block.
      blocks: in the order that their nuclei come in.
    """

    def __init__(self, segmentation: Segmentation, cutter: BlockCutter, blocks: list[Box]):
        self.total = len(blocks)
        self._of, self._cutter, self._blocks = segmentation, cutter, deque(blocks)
        setup = segmentation.setup
        self._ahead = threading.Semaphore(2 * setup.cutter_count + 4)  # blocks that wait to be taken
        self._handed_out: queue.Queue[_Waiting | BaseException | None] = queue.Queue()
        self._stopped = threading.Event()
        self._device_free = 0.0  # since when
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def results(self) -> Iterator[tuple[Box, list[Found]]]:
        """Each block with its nuclei, in order; raises what went wrong in any stage."""
        while (item := self._handed_out.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            block, future = item
            found, seconds = future.result()
            self._of.times.add("instances", seconds)
            self._ahead.release()
            yield block, found

    def stop(self) -> None:
        """End the thread, and wait for the blocks that are being cut."""
        self._stopped.set()
        self._ahead.release()
        self._thread.join()
        while not self._handed_out.empty():
            item = self._handed_out.get()
            if isinstance(item, tuple) and not item[1].cancel():
                item[1].exception()  # it reads files that are about to go

    def _run(self) -> None:
        try:
            readers = ThreadPoolExecutor(self._of.setup.readers, "reader")
            watcher = ThreadPoolExecutor(1, "watcher")
            with readers, watcher:
                self._of.stain = self._estimate(readers)
                self._infer(readers, watcher)
            self._hand_out(self._of.frame.network_size[0])
            self._handed_out.put(None)
        except BaseException as error:  # whatever it is, someone waits
            self._handed_out.put(error)

    def _estimate(self, readers: Executor) -> SlideStain:
        places = self._of.places
        chosen = [places[i * len(places) // _STAIN_TILES] for i in range(_STAIN_TILES)]
        samples = list(readers.map(self._sample, dict.fromkeys(chosen)))
        with self._of.times.measure("stain"):
            return self._of.setup.network.estimate(samples)

    def _infer(self, readers: Executor, watcher: Executor) -> None:
        network = self._of.setup.network
        size, places = network.batch_size, self._of.places
        batches = deque(places[i : i + size] for i in range(0, len(places), size))
        reading: deque[tuple[list[TilePlace], list[Future[NDArray[np.uint8]]]]] = deque()
        computed: tuple[list[TilePlace], Future[NDArray[np.uint8]]] | None = None
        while (batches or reading or computed is not None) and not self._stopped.is_set():
            while batches and len(reading) < 1 + _BATCHES_AHEAD:
                batch = batches.popleft()
                reading.append((batch, [readers.submit(self._tile, place) for place in batch]))
            following = self._compute(*reading.popleft(), watcher) if reading else None
            # The device works on the following batch while this one is fetched.
            if computed is not None:
                self._store(*computed)
                upcoming = following or (reading[0] if reading else None) or (batches and (batches[0],))
                row = upcoming[0][0][0] if upcoming else self._of.grid.shape[0]
                self._hand_out(row * self._of.grid.stride)
            computed = following
        for _, futures in reading:
            for future in futures:
                future.cancel()

    def _compute(
        self, places: list[TilePlace], futures: list[Future[NDArray[np.uint8]]], watcher: Executor
    ) -> tuple[list[TilePlace], Future[NDArray[np.uint8]]]:
        """Start a batch on the device."""
        network = self._of.setup.network
        tiles = np.zeros((network.batch_size, network.tile, network.tile, 3), np.uint8)
        for i, future in enumerate(futures):
            tiles[i] = future.result()
        assert self._of.stain is not None
        started = time.perf_counter()
        normalized, hematoxylin = network.normalize(tiles, self._of.stain)
        centres = network.centres(normalized, hematoxylin)
        return places, watcher.submit(self._fetch, started, normalized, centres)

    def _fetch(self, started: float, normalized: jax.Array, centres: jax.Array) -> NDArray[np.uint8]:
        """Wait for a batch, and take the time; calls to the device return before the work is done."""
        started = max(started, self._device_free)
        jax.block_until_ready(normalized)
        stained = time.perf_counter()
        values = np.asarray(centres)
        self._device_free = time.perf_counter()
        self._of.times.add("stain", stained - started)
        self._of.times.add("network", self._device_free - stained)
        return values

    def _store(self, places: list[TilePlace], values: Future[NDArray[np.uint8]]) -> None:
        for place, planes in zip(places, values.result(), strict=False):  # the last batch is padded
            self._cutter.store.write(*place, planes)

    def _hand_out(self, complete: int) -> None:
        """Have all blocks cut that need nothing from pixel row `complete` on."""
        height = self._of.frame.network_size[0]
        while self._blocks and min(height, self._blocks[0].bottom + self._cutter.reach) <= complete:
            self._ahead.acquire()
            if self._stopped.is_set():
                self._ahead.release()  # for whoever comes here next
                return
            block = self._blocks.popleft()
            self._handed_out.put((block, self._of.setup.cutters.submit(self._cutter, block)))

    def _tile(self, place: TilePlace) -> NDArray[np.uint8]:
        with self._of.times.measure("reading"):
            return self._of.grid.read(self._of.slide, place)

    def _sample(self, place: TilePlace) -> NDArray[np.uint8]:
        step = max(1, round(self._of.grid.stride / _STAIN_SIDE))
        with self._of.times.measure("reading"):
            return self._of.grid.centre(self._of.slide, place)[::step, ::step]
