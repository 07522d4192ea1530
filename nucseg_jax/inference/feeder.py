"""The nuclei of a large slide, while it is being read: all stages at once, none far ahead.

Threads read tiles; one thread feeds the device (`lanes`) and stores what comes back; as soon as all that a
block needs is stored, other threads or processes cut it. Queues are bounded, and so is memory, whatever the
slide's size.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.inference.blocks import BlockCutter
from nucseg_jax.inference.box import Box
from nucseg_jax.inference.lanes import Lanes
from nucseg_jax.inference.planes import Found
from nucseg_jax.inference.scan import Scan
from nucseg_jax.inference.tile_store import TileStore
from nucseg_jax.inference.tiles import TilePlace

_BATCHES_AHEAD = 1  # that are read beside those that the device works on

_Waiting = tuple[Box, Future[tuple[list[Found], float]]]
"""A block, and what will be found in it and how long that took."""


class Feeder:
    """The thread that reads, feeds the device, stores, and hands out blocks.

    Args:
      scan: the slide and the network.
      store: of the tiles.
      cutter: cuts a block of it.
      blocks: in the order that their nuclei come in.
      cutters: threads or processes that cut.
      cutter_count: of them.
      readers: threads that read.
    """

    def __init__(
        self,
        scan: Scan,
        store: TileStore,
        cutter: BlockCutter,
        blocks: list[Box],
        *,
        cutters: Executor,
        cutter_count: int,
        readers: int,
    ):
        self.total = len(blocks)
        self._scan, self._store, self._cutter = scan, store, cutter
        self._blocks, self._cutters, self._readers = deque(blocks), cutters, readers
        self._ahead = threading.Semaphore(2 * cutter_count + 4)  # blocks that wait to be taken
        self._handed_out: queue.Queue[_Waiting | BaseException | None] = queue.Queue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)
        self._thread.start()

    def results(self) -> Iterator[tuple[Box, list[Found]]]:
        """Each block with its nuclei, in order; raises what went wrong in any stage."""
        while (item := self._handed_out.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            block, future = item
            found, seconds = future.result()
            self._scan.times.add("instances", seconds)
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
            readers = ThreadPoolExecutor(self._readers, "reader")
            with readers, self._scan.lanes() as lanes:
                self._scan.estimate(readers.map)
                self._infer(readers, lanes)
            self._hand_out(self._store.shape[0])
            self._handed_out.put(None)
        except BaseException as error:  # whatever it is, someone waits
            self._handed_out.put(error)

    def _infer(self, readers: Executor, lanes: Lanes) -> None:
        size, places = self._scan.batch_size, self._scan.places
        batches = deque(places[i : i + size] for i in range(0, len(places), size))
        reading: deque[tuple[list[TilePlace], list[Future[NDArray[np.uint8]]]]] = deque()
        at_work: deque[tuple[list[TilePlace], Future[NDArray[np.uint8]]]] = deque()
        while (batches or reading or at_work) and not self._stopped.is_set():
            while batches and len(reading) < lanes.in_flight + _BATCHES_AHEAD:
                batch = batches.popleft()
                reading.append((batch, [readers.submit(self._scan.read, place) for place in batch]))
            if reading:
                batch, tiles = reading.popleft()
                at_work.append((batch, lanes.submit([tile.result() for tile in tiles])))
                if reading and len(at_work) < lanes.in_flight:
                    continue
            self._put(*at_work.popleft())
            upcoming = next(chain((b for b, _ in at_work), (b for b, _ in reading), batches), None)
            row = upcoming[0][0] if upcoming else self._scan.grid.shape[0]
            self._hand_out(self._scan.grid.tiling.first_kept(row))
        for _, tiles in reading:
            for tile in tiles:
                tile.cancel()

    def _put(self, places: list[TilePlace], values: Future[NDArray[np.uint8]]) -> None:
        for place, planes in zip(places, values.result(), strict=False):  # the last batch is padded
            self._store.tiles.put(*place, self._scan.unmasked(place, planes))

    def _hand_out(self, complete: int) -> None:
        """Have all blocks cut that need nothing from pixel row `complete` on."""
        height = self._store.shape[0]
        while self._blocks and min(height, self._blocks[0].bottom + self._cutter.reach) <= complete:
            self._ahead.acquire()
            if self._stopped.is_set():
                self._ahead.release()  # for whoever comes here next
                return
            block = self._blocks.popleft()
            self._handed_out.put((block, self._cutters.submit(self._cutter, block)))
