"""Which predicted nucleus is whose: the one-to-one assignment of the highest total IoU."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def assign(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], iou: NDArray[np.float64]
) -> NDArray[np.intp]:
    """The pairs that a one-to-one assignment of the highest total IoU uses.

    Exact, and fast where most nuclei have one partner that is clearly theirs: those are settled first,
    and what is left falls into groups of a few nuclei (the cost grows with the cube of their number).

    Args:
        truth: int `[pairs]`, the true nucleus of each pair, counted from 0; no pair twice.
        prediction: the same, its predicted nucleus.
        iou: float64 `[pairs]`, above 0.

    Returns:
        intp `[chosen]`, the numbers of the chosen pairs, in no particular order.
    """
    clear = _clear(truth, prediction, iou)
    taken = np.isin(truth, truth[clear]) | np.isin(prediction, prediction[clear])
    left = np.flatnonzero(~taken)
    chosen = [np.flatnonzero(clear)]
    for pairs in _components(truth[left], prediction[left]):
        group = left[pairs]
        chosen.append(group[_best(truth[group], prediction[group], iou[group])])
    return np.concatenate(chosen)


def _clear(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], iou: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """bool `[pairs]`: pairs that every best assignment uses.

    They are those of more IoU than the best other pair of their true nucleus and the best other pair of
    their predicted one together: an assignment without such a pair gains by swapping it in for these.
    """
    return iou > _best_other(truth, iou) + _best_other(prediction, iou)


def _best_other(nucleus: NDArray[np.integer], iou: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 `[pairs]`: highest IoU of the other pairs of each best pair's nucleus; inf for the rest."""
    order = np.lexsort((iou, nucleus))
    same = nucleus[order][1:] == nucleus[order][:-1]
    best = np.append(~same, True)
    second = np.concatenate([[0.0], np.where(same, iou[order][:-1], 0.0)])
    other = np.empty(len(iou))
    other[order] = np.where(best, second, np.inf)
    return other


def _components(truth: NDArray[np.integer], prediction: NDArray[np.integer]) -> Iterator[NDArray[np.intp]]:
    """The pairs, grouped so that no nucleus is in two groups: their assignments do not affect each other."""
    if not len(truth):
        return
    first_prediction = int(truth.max()) + 1
    nodes = first_prediction + int(prediction.max()) + 1
    edges = (truth, first_prediction + prediction)
    graph = coo_array((np.ones(len(truth), dtype=np.int8), edges), shape=(nodes, nodes))
    _, component_of_node = connected_components(graph, directed=False)
    component = component_of_node[truth]
    order = np.argsort(component, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(component[order])) + 1)


def _best(
    truth: NDArray[np.integer], prediction: NDArray[np.integer], iou: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """bool `[pairs]`: those of the best assignment, from the whole matrix."""
    true_ids, row = np.unique(truth, return_inverse=True)
    predicted_ids, column = np.unique(prediction, return_inverse=True)
    gain = np.zeros((len(true_ids), len(predicted_ids)))
    gain[row, column] = iou
    assigned = np.zeros(gain.shape, dtype=bool)
    assigned[linear_sum_assignment(gain, maximize=True)] = True
    return assigned[row, column]
