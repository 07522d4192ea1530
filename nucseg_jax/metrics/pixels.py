"""Pixels by class, instances ignored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from nucseg_jax.metrics.checks import as_array, check_ignore, check_same_shape


def f1(tp: int, fp: int, fn: int) -> float:
    """F1 in [0, 1]; 1.0 where there is nothing to find and nothing was found."""
    total = 2 * tp + fp + fn
    return 2 * tp / total if total else 1.0


@dataclass(frozen=True)
class PixelCounts:
    """Pixels by (truth, prediction), nucleus = positive. Counts of several images add up with `+`.

    The F1 that the paper's code prints pools the pixels of all images first:
    `sum((PixelCounts.of(t, p) for t, p in pairs), PixelCounts()).f1_macro`. That is not the mean
    of the images' scores.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @classmethod
    def of(cls, truth: ArrayLike, prediction: ArrayLike, ignore: ArrayLike | None = None) -> PixelCounts:
        """Counts of two maps `[H, W]`, boolean or integer; a pixel that is not 0 is nucleus.

        Args:
            truth: the true map.
            prediction: the other one.
            ignore: boolean `[H, W]`, True on the pixels that are not counted; None: all are.

        Raises:
            ValueError: the shapes differ, or a map is of floats (a probability is no class).
        """
        true, found = as_array("truth", truth), as_array("prediction", prediction)
        check_same_shape(true, found)
        for name, pixels in (("truth", true), ("prediction", found)):
            if pixels.dtype.kind not in "biu":
                raise ValueError(f"{name} must be boolean or integer, got {pixels.dtype}")
        true, found = true != 0, found != 0
        if ignore is not None:
            counted = ~check_ignore(ignore, true.shape)
            true, found = true[counted], found[counted]
        tp = int(np.count_nonzero(true & found))
        fn = int(np.count_nonzero(true)) - tp
        fp = int(np.count_nonzero(found)) - tp
        return cls(tp=tp, fp=fp, fn=fn, tn=true.size - tp - fp - fn)

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def f1_nucleus(self) -> float:
        """F1 of the nucleus pixels, in [0, 1]: Dice. 1.0 where neither map has any."""
        return f1(self.tp, self.fp, self.fn)

    @property
    def f1_background(self) -> float:
        """F1 of the background pixels, in [0, 1]. 1.0 where neither map has any."""
        return f1(self.tn, self.fn, self.fp)

    @property
    def f1_macro(self) -> float:
        """Mean of the nucleus and the background F1, in [0, 1]."""
        return (self.f1_nucleus + self.f1_background) / 2
