"""The numbers of a report, computed once: means, intervals, agreement of counts, outcomes of nuclei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucseg_jax import metrics
from nucseg_jax.evaluation.results import Comparison, Entry, ScoredImage
from nucseg_jax.metrics.outcomes import Outcome, outcomes
from nucseg_jax.metrics.statistics import PairedDifference, bootstrap_interval

Floats = NDArray[np.float64]


def values(entry: Entry, key: str) -> Floats:
    """float64 [images]: one score of every image."""
    return np.array([image.scores[key] for image in entry.images], np.float64)


def mean(entry: Entry, key: str) -> float:
    """A score's mean over images."""
    return float(values(entry, key).mean())


def interval(scores: Floats) -> tuple[float, float] | None:
    """The bootstrap's 95 % interval of the mean; None of one image, which says nothing about others."""
    return bootstrap_interval(scores) if len(scores) > 1 else None


def differs(difference: PairedDifference) -> bool:
    """Whether a difference is hardly one of chance: by the test, too, as few images make intervals narrow."""
    return difference.p_value <= 0.05 and not difference.low <= 0 <= difference.high


def best(entries: Sequence[Entry], kind: str, key: str = "aji") -> Entry | None:
    """The entry of a kind with the highest mean, the first of several; None where there is none."""
    return max((e for e in entries if e.kind == kind), key=lambda e: mean(e, key), default=None)


def leading(comparison: Comparison) -> Entry:
    """The entry that chooses which images are typical: the best network, or the best of what there is."""
    network = best(comparison.entries, "network")
    return network or max(comparison.entries, key=lambda e: mean(e, "aji"))


def organs(comparison: Comparison) -> dict[str, list[int]]:
    """Each organ's images, by their places in the comparison; organs in alphabetical order."""
    names = sorted({e.organ for e in comparison.examples})
    return {o: [i for i, e in enumerate(comparison.examples) if e.organ == o] for o in names}


def typical(comparison: Comparison, images: Sequence[int]) -> int:
    """Of some images the one of median AJI, as the leading entry scores them."""
    aji = values(leading(comparison), "aji")
    return sorted(images, key=lambda i: aji[i])[(len(images) - 1) // 2]


@dataclass(frozen=True)
class Agreement:
    """How found numbers of nuclei agree with true ones; None where there are too few or equal images.

    Attributes:
      pearson: correlation.
      concordance: Lin's coefficient: 1 only where all points lie on the identity line.
      bias: mean of found minus true.
      limits: Bland and Altman's: bias ± 1.96 standard deviations of the differences.
    """

    pearson: float | None
    concordance: float | None
    bias: float
    limits: tuple[float, float] | None


def agreement(entry: Entry) -> Agreement:
    """Agreement of the entry's counts over images.

    Sources: Lin, Biometrics 45, 1989 (with the variances' divisor n, as there); Bland and Altman, Lancet 327,
    1986.
    """
    true, found = values(entry, "count_true"), values(entry, "count_pred")
    difference = found - true
    bias = float(difference.mean())
    if len(true) < 2:
        return Agreement(None, None, bias, None)
    half = 1.96 * float(difference.std(ddof=1))
    covariance = float(np.mean((true - true.mean()) * (found - found.mean())))
    spread, total = float(true.std() * found.std()), float(true.var() + found.var()) + bias**2
    return Agreement(
        pearson=covariance / spread if spread else None,
        concordance=2 * covariance / total if total else None,
        bias=bias,
        limits=(bias - half, bias + half),
    )


def fates(comparison: Comparison, entry: Entry) -> dict[Outcome, int]:
    """What became of the nuclei of all images where these are annotated, as `Outcomes.count`."""
    counts = [
        outcomes(
            metrics.overlaps(example.original_label_map, image.label_map, example.original_unannotated)
        ).count()
        for example, image in zip(comparison.examples, entry.images, strict=True)
    ]
    return {o: sum(count[o] for count in counts) for o in Outcome}


def total(images: Sequence[ScoredImage], key: str) -> int:
    """Sum of a count over images."""
    return round(sum(image.scores[key] for image in images))
