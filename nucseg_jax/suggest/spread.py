"""Which of many scored places are chosen, so that they lie all over the slide and look different.

Suggestive annotation (Yang et al., MICCAI 2017, 399-407) asks that what is annotated is uncertain and also
stands for the rest: the most uncertain places are often neighbours that show the same thing. Here the best
are taken in turn, but none near one that is taken already, and at most half of one look.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

_PART_OF_SPACING = 0.7
"""Of the spacing that a regular grid of as many places would have: the least distance that is asked for at
first. With all of it only the grid itself would fit, wherever the best lie."""

_SHRINKING = 0.8

_LOOKS = 4


def spread(
    centres: NDArray[np.float64],
    scores: NDArray[np.float64],
    count: int,
    *,
    least: float,
    area: float,
    looks: NDArray[np.int64] | None = None,
) -> list[int]:
    """Choose places, the best first.

    The distance that two must have begins at a part of the spacing that they would have evenly over the
    tissue. It shrinks until there are enough, but not below `least`. Then looks no longer count. So there are
    fewer than asked for only where no more fit.

    Args:
      centres: float64 [N, 2] of squares.
      scores: float64 [N], higher is better; of equal ones the earlier comes first.
      count: how many are wanted.
      least: distance of two centres along x or along y: the squares' side, if none may overlap.
      area: of the tissue they lie on, in squares of the same unit.
      looks: int64 [N], groups of alike places; at most half of `count`, rounded up, are of one. None: no
        groups.

    Returns:
      Indices in falling order of scores.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    most = count if looks is None else -(-count // 2)
    groups = np.zeros(len(scores), np.int64) if looks is None else looks
    distance = max(least, _PART_OF_SPACING * float(np.sqrt(area / max(1, count))))
    while True:
        chosen = _greedy(order, centres, groups, count, distance, most)
        if len(chosen) == count or (distance == least and most == count):
            return chosen
        if distance == least:
            most = count
        distance = max(least, distance * _SHRINKING)


def looks_of(colours: NDArray[np.float64]) -> NDArray[np.int64]:
    """Groups of places that look alike: int64 [N], by k-means of their colours.

    It begins at colours that are far apart, so that nothing is left to chance.

    Args:
      colours: float64 [N, F], such as mean and deviation of each channel.
    """
    deviation = colours.std(axis=0)
    if len(colours) <= _LOOKS or not deviation.any():
        return np.zeros(len(colours), np.int64)
    scaled = (colours - colours.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    first = scaled[np.argmin(np.linalg.norm(scaled, axis=1))][None]
    while len(first) < _LOOKS:
        from_nearest = np.linalg.norm(scaled[:, None] - first, axis=2).min(axis=1)
        first = np.concatenate([first, scaled[np.argmax(from_nearest)][None]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a group may be empty: there are fewer looks then
        _, groups = kmeans2(scaled, first, minit="matrix")
    return np.asarray(groups, np.int64)


def _greedy(
    order: list[int],
    centres: NDArray[np.float64],
    groups: NDArray[np.int64],
    count: int,
    distance: float,
    most: int,
) -> list[int]:
    chosen: list[int] = []
    for i in order:
        if len(chosen) == count:
            break
        apart = np.abs(centres[chosen] - centres[i]).max(axis=1) >= distance  # squares: along x or y
        if apart.all() and int((groups[chosen] == groups[i]).sum()) < most:
            chosen.append(i)
    return chosen
