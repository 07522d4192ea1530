"""Many nuclei at once: what several formats need of them is computed once, here or in other processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.canvas import Canvas
from nucseg_jax.export.limits import USUAL_LIMITS, Limits
from nucseg_jax.export.measurements import Measurements, centroids, measure
from nucseg_jax.export.outlines import Outlines, trace
from nucseg_jax.nuclei import Frame, Nucleus

T = TypeVar("T")

Maker = Callable[["Batch"], Any]
"""Makes what a format writes of a batch; other processes may call it, so it and its result can be pickled."""


class Batch:
    """Some nuclei of one slide, with what formats ask of them; it is computed when it is first asked for.

    May be sent to other processes.

    Args:
        nuclei: at least one.
        frame: the slide they are of.

    Attributes:
        canvas: the pixels of the nuclei.

    Raises:
        ValueError: as `Canvas`.
    """

    def __init__(self, nuclei: Sequence[Nucleus], frame: Frame) -> None:
        self.canvas = Canvas(nuclei, frame)
        self._made: dict[Maker, Any] = {}

    def __len__(self) -> int:
        return len(self.canvas)

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64 `[M]`."""
        return self.canvas.ids

    @cached_property
    def outlines(self) -> Outlines:
        """The outlines of all nuclei; see `outlines.trace`."""
        return trace(self.canvas)

    @cached_property
    def measurements(self) -> Measurements:
        """Sizes, shapes and places of all nuclei; see `measurements.measure`."""
        return measure(self.canvas, self.outlines)

    @cached_property
    def centroids(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """x and y of the centroids, float64 `[M]`, in pixels of the network's level."""
        return centroids(self.canvas)

    def made(self, maker: Callable[[Batch], T]) -> T:
        """What `maker` makes of this batch: as another process has made it (`take`), or made here."""
        if maker not in self._made:
            self._made[maker] = maker(self)
        result: T = self._made[maker]
        return result

    def take(self, makers: Sequence[Maker], results: Sequence[Any]) -> None:
        """Keep what some makers have made of this batch."""
        self._made.update(zip(makers, results, strict=True))


def measurements_of(batch: Batch) -> Measurements:
    """A `Maker`: other processes measure."""
    return batch.measurements


def make_all(makers: Sequence[Maker], batch: Batch) -> tuple[list[Any], float]:
    """What each maker makes of a batch, and the seconds that took."""
    start = time.perf_counter()
    return [maker(batch) for maker in makers], time.perf_counter() - start


class Gathering:
    """Nuclei that wait until they are enough for a batch.

    Args:
        frame: the slide they are of.
        limits: how large a batch may be.
    """

    def __init__(self, frame: Frame, limits: Limits = USUAL_LIMITS) -> None:
        self._frame, self._limits = frame, limits
        self._waiting: list[Nucleus] = []
        self._rows = self._columns = 0

    def add(self, nucleus: Nucleus) -> Batch | None:
        """Keep a nucleus; give the batch that was full without it, if one was."""
        height, width = nucleus.mask.shape[0] + 1, nucleus.mask.shape[1] + 2
        rows, columns = self._rows + height, max(self._columns, width)
        # One wide nucleus makes the canvas wide for all: better two batches.
        full = len(self._waiting) >= self._limits.nuclei or rows * columns > self._limits.canvas_px
        batch = None
        if full:
            batch, rows, columns = self.rest(), height, width
        self._waiting.append(nucleus)
        self._rows, self._columns = rows, columns
        return batch

    def rest(self) -> Batch | None:
        """The batch of all that wait; None without any."""
        nuclei, self._waiting = self._waiting, []
        self._rows = self._columns = 0
        return Batch(nuclei, self._frame) if nuclei else None
