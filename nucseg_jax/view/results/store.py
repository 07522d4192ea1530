"""Results that are looked at: their index, made when it is first asked for, and their tissue."""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.nuclei import Frame
from nucseg_jax.predict.results import state_of
from nucseg_jax.slides import file_state
from nucseg_jax.view.library import Library, ListedResult
from nucseg_jax.view.nuclei.index import NucleiIndex
from nucseg_jax.view.nuclei.index_building import build
from nucseg_jax.view.nuclei.index_files import ABOUT, VERSION
from nucseg_jax.view.nuclei.sources import read_parts, source_of
from nucseg_jax.view.results.analysed_tissue import AnalysedTissue, analysed_tissue
from nucseg_jax.view.results.facts import value_of
from nucseg_jax.view.slides.open_slides import OpenSlides
from nucseg_jax.view.truths.reading import DrawOutlines, build_truth

PATIENCE_S = 1.0
"""That a request waits for what is made in the background."""

_KEPT_DAYS = 30.0  # that an index is kept on the disk without being used
_MOST_PX, _MOST_UM2 = 10**12, 6e10  # of a slide: each side a million pixels, or a quarter of a metre
_MOST_TISSUE = 4  # masks in memory


class NotReadyError(UserError):
    """What was asked for is still being made.

    Attributes:
      done: nuclei so far.
      of: all.
    """

    def __init__(self, done: int, of: int, what: str = "the nuclei are being read") -> None:
        super().__init__(f"{what}: {done:,} of {of:,}")
        self.done, self.of = done, of


class ResultStore:
    """Indexes and tissue of results.

    Args:
      library: knows the results' slides.
      slides: opens them.
      cache: folder for indexes; made if need be.
      draw_outlines: of truths; None where they cannot be drawn.
    """

    def __init__(
        self,
        library: Library,
        slides: OpenSlides,
        cache: Path,
        draw_outlines: DrawOutlines | None = None,
    ) -> None:
        self._library, self._slides, self._cache = library, slides, cache
        self._draw_outlines = draw_outlines
        self._builder = ThreadPoolExecutor(1, "index")
        self._indexes: dict[str, Future[NucleiIndex]] = {}
        self._done: dict[str, int] = {}
        self._tissue: OrderedDict[str, AnalysedTissue | None] = OrderedDict()
        self._lock = threading.Lock()

    def index(self, result: ListedResult) -> NucleiIndex:
        """The index of a result; it is made in the background when it is first asked for.

        Raises:
          NotReadyError: it is not complete; ask again.
          UserError: it cannot be made.
        """
        key = key_of(result)
        try:
            return self.prepare(result).result(PATIENCE_S)
        except NotYet:
            raise NotReadyError(self._done.get(key, 0), _count_of(result)) from None
        except Exception as error:
            if not isinstance(error, DataError):  # it may go the next time
                with self._lock:
                    self._indexes.pop(key, None)
            raise

    def prepare(self, result: ListedResult) -> Future[NucleiIndex]:
        """Make the index of a result in the background, unless it is made already."""
        key = key_of(result)
        with self._lock:
            if key not in self._indexes:
                self._indexes[key] = self._builder.submit(self._made, result, key)
            return self._indexes[key]

    def tissue(self, result: ListedResult) -> AnalysedTissue | None:
        """Where a result has looked for nuclei; None where nothing says so.

        Raises:
          DataError: a file is damaged.
        """
        key = key_of(result)
        with self._lock:
            if key in self._tissue:
                self._tissue.move_to_end(key)
                return self._tissue[key]
        found = self._find_tissue(result)
        with self._lock:
            self._tissue[key] = found
            while len(self._tissue) > _MOST_TISSUE:
                self._tissue.popitem(last=False)
        return found

    def forget_old(self) -> None:
        """Delete indexes that nobody has used for weeks."""
        before = time.time() - _KEPT_DAYS * 24 * 3600
        for about in self._cache.glob(f"*/{ABOUT}"):
            if about.stat().st_mtime < before:
                shutil.rmtree(about.parent, ignore_errors=True)

    def close(self) -> None:
        """Make no more indexes."""
        self._builder.shutdown(wait=False, cancel_futures=True)

    def _made(self, result: ListedResult, key: str) -> NucleiIndex:
        folder = self._cache / key
        if not (folder / ABOUT).is_file():
            self._make(result, folder, lambda count: self._done.update({key: count}))
        os.utime(folder / ABOUT)
        return NucleiIndex(folder)

    def _make(self, result: ListedResult, folder: Path, on_count: Callable[[int], None]) -> None:
        frame = frame_of(result)
        if result.is_truth:
            classes = result.summary["config"]["request"]["region_classes"]
            build_truth(folder, result.folder, frame, classes, self._draw_outlines, on_count)
        else:
            parts = read_parts(source_of(result.file), result.file("neighbours.parquet"))
            build(folder, parts, frame.size, on_count)

    def _find_tissue(self, result: ListedResult) -> AnalysedTissue | None:
        frame, density, masked = frame_of(result), result.file("density.tif"), _masked(result)
        if result.slide is not None:
            with (
                contextlib.suppress(DataError),  # what cannot be opened is not to be had
                self._slides.using(self._library.slide(result.slide).opening) as slide,
            ):
                return analysed_tissue(frame, slide, masked, density)
        return analysed_tissue(frame, None, masked, density)


def frame_of(result: ListedResult) -> Frame:
    """The slide that a result's coordinates are of.

    Raises:
      DataError: the summary does not say it.
    """
    try:
        slide = result.summary["slide"]
        height, width = (int(side) for side in slide["size_px"])
        offset = int(slide["offset_px"]["y"]), int(slide["offset_px"]["x"])
        frame = Frame((height, width), float(slide["mpp"]), float(slide["network_mpp"]), offset)
        if min(height, width) < 1 or height * width > _MOST_PX or not 0 < frame.network_mpp < 1e3:
            raise ValueError
        if frame.mpp <= 0 or not 0 < height * width * frame.mpp**2 < _MOST_UM2:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{result.name}: its summary.json is damaged, or of another release") from error
    return frame


def _masked(result: ListedResult) -> list[str]:
    masked = value_of(result, "config", "request", "masked")
    return [str(name) for name in masked] if isinstance(masked, list) else []


def _count_of(result: ListedResult) -> int:
    nuclei = result.summary.get("nuclei")
    count = nuclei.get("count") if isinstance(nuclei, dict) else None
    return count if isinstance(count, int) else 0


def key_of(result: ListedResult) -> str:
    """A name of a result's state: another one where it has been replaced."""
    if result.is_truth:
        state: object = (file_state(result.folder), result.summary)
    else:
        state = state_of(result.folder)
    what = f"{VERSION} {result.folder!r} {state}"
    return hashlib.sha256(what.encode("utf-8", "backslashreplace")).hexdigest()[:32]
