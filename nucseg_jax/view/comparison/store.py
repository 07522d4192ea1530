"""Comparisons that are looked at: made in the background when first asked for, and kept in memory."""

import math
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet

from nucseg_jax.errors import DataError, UserError, shown
from nucseg_jax.nuclei import Frame
from nucseg_jax.view.comparison.comparing import Comparison, Side, compare
from nucseg_jax.view.library import ListedResult
from nucseg_jax.view.results import store as result_store
from nucseg_jax.view.results.store import NotReadyError, ResultStore, frame_of, key_of

_MOST_KEPT = 8  # of 8 bytes a nucleus of both
_SAME_MPP = 0.01  # part by which two results of a slide may differ in µm a pixel, by rounding


class ComparisonStore:
    """Comparisons of two results of one slide.

    Args:
      results: has their indexes.
    """

    def __init__(self, results: ResultStore) -> None:
        self._results = results
        self._maker = ThreadPoolExecutor(1, "comparison")
        self._made: OrderedDict[tuple[str, str], Future[Comparison]] = OrderedDict()
        self._done: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def comparison(self, reference: ListedResult, other: ListedResult) -> Comparison:
        """The comparison of a result with a reference, made in the background when it is first asked for.

        Raises:
          NotReadyError: it is not complete, or an index is not; ask again.
          UserError: the two cannot be compared.
        """
        frames = _check_of_one_slide(reference, other)
        for result in (reference, other):
            self._results.prepare(result)
        sides = [
            Side(result.name, self._results.index(result), frame)
            for result, frame in zip((reference, other), frames, strict=True)
        ]
        for side in sides:
            if side.index.about.nuclei and not side.index.about.levels:
                raise UserError(
                    f"{side.name}: has no outlines, only centroids, so that it cannot be compared. Run "
                    "nucseg predict again with --formats parquet and --overwrite"
                )
        key = key_of(reference), key_of(other)
        made = self._prepare(key, sides[0], sides[1])
        try:
            return made.result(result_store.PATIENCE_S)
        except NotYet:
            done, of = self._done.get(key, 0), sides[0].index.about.nuclei
            raise NotReadyError(done, of, "the results are being compared, nuclei") from None
        except Exception as error:
            if not isinstance(error, DataError):  # it may go the next time
                with self._lock:
                    self._made.pop(key, None)
            raise

    def close(self) -> None:
        """Make no more comparisons."""
        self._maker.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, key: tuple[str, str], reference: Side, other: Side) -> Future[Comparison]:
        with self._lock:
            if key not in self._made:
                self._made[key] = self._maker.submit(
                    compare, reference, other, lambda count: self._done.update({key: count})
                )
            self._made.move_to_end(key)
            while len(self._made) > _MOST_KEPT:
                forgotten, _ = self._made.popitem(last=False)
                self._done.pop(forgotten, None)
            return self._made[key]


def _check_of_one_slide(reference: ListedResult, other: ListedResult) -> tuple[Frame, Frame]:
    """The frames of two results.

    Raises:
      UserError: they are not of one slide.
    """
    names = shown(f"{reference.name} and {other.name}")
    files = [_slide_file(result) for result in (reference, other)]
    if None not in files and files[0] != files[1]:
        raise UserError(
            shown(
                f"{names} are of different slides ({_of_file(files[0])}, {_of_file(files[1])}). Compare two "
                "results of one slide"
            )
        )
    one, two = frame_of(reference), frame_of(other)
    with_truth = reference.is_truth or other.is_truth  # which has no resolution and no offset of its own
    if one.size != two.size or (one.offset != two.offset and not with_truth):
        raise UserError(
            f"{names} are not of one slide: {_shown_size(one)} and {_shown_size(two)}. Compare two "
            "results of one slide, opened with the same options"
        )
    if not with_truth and not math.isclose(one.mpp, two.mpp, rel_tol=_SAME_MPP):
        raise UserError(
            f"{names} take the slide for {one.mpp:g} and {two.mpp:g} µm a pixel. Run nucseg predict again "
            "with one --mpp for both"
        )
    return one, two


def _slide_file(result: ListedResult) -> tuple[str, int | None] | None:
    """The name and the bytes of the slide's file; None where the summary does not say them."""
    source = result.summary.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("path"), str):
        return None
    name = source["path"].replace("\\", "/").rpartition("/")[2]
    return name, source["bytes"] if isinstance(source.get("bytes"), int) else None


def _of_file(file: tuple[str, int | None] | None) -> str:
    name, size = file or ("", None)
    return name if size is None else f"{name} of {size:,} bytes"


def _shown_size(frame: Frame) -> str:
    return f"{frame.size[1]} × {frame.size[0]} pixels from {frame.offset[1]}, {frame.offset[0]}"
