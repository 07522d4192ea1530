"""How sure a mean over images is, and a difference between two segmentations of the same images."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_EXACT_IMAGES = 14
"""Up to so many images (2^14 sign patterns) the permutation test goes through all of them."""

# Exact ties of the permutation test must not be broken by the rounding of sums.
_ROUNDING = 1e-12


class PairedDifference(NamedTuple):
    """a − b over the same images.

    Attributes:
      mean: of the differences.
      low, high: bootstrap interval of the mean.
      wins, losses, ties: images on which a is above, below, equal to b.
      p_value: two-sided, in (0, 1]: of the sign-flip test of "a and b are exchangeable".
    """

    mean: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    p_value: float


def bootstrap_interval(
    values: ArrayLike, *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images.

    It tells how the mean varies with the choice of images, not with that of the training's seed. With few
    images it is too narrow: where it should hold the true mean in 95 % of cases, it does so in some 83 % with
    five images, 89 % with ten and 93 % with thirty (simulated, normal values).

    Args:
      values: float [images], one score an image.
      seed: of the resampling; equal arguments give equal intervals.
      resamples: how many.
      level: of confidence, in (0, 1).

    Returns:
      (low, high). One value v gives (v, v).

    Raises:
      ValueError: no values, not 1-D, one that is not finite, no resamples, or a level outside (0, 1).

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    scores = _finite("values", values)
    _check(resamples, level)
    if len(scores) == 1:
        return float(scores[0]), float(scores[0])
    generator = np.random.default_rng([seed, 0])
    drawn = generator.integers(0, len(scores), (resamples, len(scores)), dtype=np.int32)
    low, high = np.quantile(scores[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> PairedDifference:
    """Compares the scores of two segmentations of the same images.

    The test: were a and b alike, each image's difference could as well have the other sign. The p-value is
    the share of all sign patterns whose mean is at least as far from 0 as the one seen; above
    MAX_EXACT_IMAGES images, of `resamples` random patterns and the one seen. With n images it cannot be below
    2 / 2^n: five images never reach 0.05.

    Args:
      a, b: float [images], one score an image, in the same order.
      seed, resamples, level: as in `bootstrap_interval`; seed and resamples also of the test.

    Raises:
      ValueError: as in `bootstrap_interval`, or a and b of different length.

    Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3; Fisher, The Design of
    Experiments, 1935, section 21 (the test); Phipson & Smyth, Statistical Applications in Genetics and
    Molecular Biology 9(1), 2010 (why the pattern seen counts among the random ones).
    """
    a, b = _finite("a", a), _finite("b", b)
    if len(a) != len(b):
        raise ValueError(f"a and b must be of the same images, got {len(a)} and {len(b)} scores")
    difference = a - b
    low, high = bootstrap_interval(difference, seed=seed, resamples=resamples, level=level)
    return PairedDifference(
        mean=float(difference.mean()),
        low=low,
        high=high,
        wins=int(np.count_nonzero(difference > 0)),
        losses=int(np.count_nonzero(difference < 0)),
        ties=int(np.count_nonzero(difference == 0)),
        p_value=_sign_flip(difference, np.random.default_rng([seed, 1]), resamples),
    )


def _sign_flip(difference: NDArray[np.float64], generator: np.random.Generator, resamples: int) -> float:
    """p-value of the differences `[images]` under changes of their signs."""
    images = len(difference)
    exact = images <= MAX_EXACT_IMAGES
    if exact:
        negative = np.arange(2**images)[:, None] >> np.arange(images) & 1
    else:
        negative = generator.integers(0, 2, (resamples, images), dtype=np.int8)
    sums = np.abs((1 - 2 * negative) @ difference)
    seen = abs(difference.sum()) - _ROUNDING * np.abs(difference).sum()
    extreme = int(np.count_nonzero(sums >= seen))
    return extreme / len(sums) if exact else (extreme + 1) / (len(sums) + 1)


def _finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """float64 [images]."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must be one score an image, at least one, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array


def _check(resamples: int, level: float) -> None:
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1), got {level}")
