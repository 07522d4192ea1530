"""Closed shortest paths through tables of costs: one row an angle, and after the last row comes the first.

A path takes one column of each row, and moves by at most so many columns from a row to the next. Without the
ends' meeting this is dynamic programming (Amini, Weymouth & Jain, IEEE PAMI 12(9), 1990); that they meet is
made sure of by branch and bound (Appleton & Sun, Circular shortest paths by branch and bound, Pattern
Recognition 36(11), 2003). What is found is the optimum, not an approximation.
"""

import numpy as np
from numpy.typing import NDArray

_TOGETHER = 512
"""Tables that are worked on at once: more of them leave the processor's cache."""


def shortest_closed(
    costs: NDArray[np.float32], most_steps: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The cheapest closed path through each of many tables.

    Args:
        costs: float32 [N, rows, columns], finite.
        most_steps: columns by which neighbouring rows may differ, the last and the first row included; ≥ 0.

    Returns:
        The paths, intp [N, rows], and what each costs, float32 [N]: the sum over rows, from the first to the
        last, in float32. No closed path has a lower such sum. What is found in a table depends on it alone.

    Raises:
        ValueError: costs that are not [N, rows, columns] with at least one row and column, or that are not
            finite; or a negative `most_steps`.
    """
    if costs.ndim != 3 or 0 in costs.shape[1:]:
        raise ValueError(f"costs must be [N, rows, columns], at least one of both, got {costs.shape}")
    if most_steps < 0:
        raise ValueError(f"most_steps must not be negative, got {most_steps}")
    if not np.isfinite(costs).all():
        raise ValueError("costs must be finite")
    steps = min(most_steps, costs.shape[2] - 1)
    paths = np.zeros(costs.shape[:2], np.intp)
    totals = np.zeros(len(costs), np.float32)
    for start in range(0, len(costs), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        # Tables last: a row of all of them lies together in memory.
        tables = np.ascontiguousarray(np.moveaxis(costs[part], 0, 2), np.float32)
        paths[part], totals[part] = _branch_and_bound(tables, steps)
    return paths, totals


def _branch_and_bound(
    tables: NDArray[np.float32], steps: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The paths [N, rows] and their costs [N], of tables [rows, columns, N].

    A range of columns is a branch: the cheapest path that starts and ends anywhere in it is never dearer than
    the cheapest closed one. Where that path is closed, the branch is done. Else the range is cut between its
    start and its end, so that neither half has this path again.
    """
    rows, columns, count = tables.shape
    best = np.full(count, np.inf, np.float32)
    paths = np.zeros((count, rows), np.intp)
    owner = np.arange(count)
    low, high = np.zeros(count, np.intp), np.full(count, columns - 1, np.intp)
    chosen = tables
    while len(owner):
        bound, path = _shortest_open(chosen, low, high, steps)
        # The end that is nearest to the start, of those that the path can reach.
        first, last = path[:, 0], path[:, -1]
        end = np.clip(first, last - steps, last + steps)
        closed = first == end
        # The last assignment stays: dearer ones first, and of equals the one of the higher start.
        order = np.flatnonzero(closed & (bound < best[owner]))
        order = order[np.lexsort((-low[order], -bound[order]))]
        best[owner[order]], paths[owner[order]] = bound[order], path[order]
        open_ = np.flatnonzero(~closed & (bound < best[owner]))
        middle = np.minimum(first, end)[open_]
        owner = np.concatenate([owner[open_], owner[open_]])
        low, high = (
            np.concatenate([low[open_], middle + 1]),
            np.concatenate([middle, high[open_]]),
        )
        chosen = tables[:, :, owner]
    return paths, best


def _shortest_open(
    tables: NDArray[np.float32], low: NDArray[np.intp], high: NDArray[np.intp], steps: int
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """The cheapest paths that start and end between two columns: costs [N], paths [N, rows].

    The end is one step after the last row, and costs nothing: on a closed path it is the start again.

    Args:
        tables: [rows, columns, N].
        low, high: [N], the first and the last column of a start and an end.
        steps: most columns between neighbouring rows.
    """
    rows, columns, count = tables.shape
    column = np.arange(columns)[:, None]
    reached = np.empty_like(tables)
    reached[0] = np.where((column < low) | (column > high), np.float32(np.inf), tables[0])
    for row in range(1, rows):
        np.add(_least_near(reached[row - 1], steps), tables[row], out=reached[row])
    # The last row's columns from which an end can be reached.
    reached[-1][(column < low - steps) | (column > high + steps)] = np.inf
    table = np.arange(count)
    path = np.empty((rows, count), np.intp)
    path[-1] = reached[-1].argmin(axis=0)
    totals = reached[-1][path[-1], table]
    moves = np.arange(-steps, steps + 1)[:, None]
    for row in range(rows - 2, -1, -1):
        before = path[row + 1] + moves
        there = reached[row][np.clip(before, 0, columns - 1), table]
        path[row] = np.clip(before, 0, columns - 1)[there.argmin(axis=0), table]
    return totals, path.T


def _least_near(values: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """The least of each column and its neighbours up to `steps` away: [columns, N]."""
    columns, count = values.shape
    least = np.full((columns + 2 * steps, count), np.inf, np.float32)
    least[steps : steps + columns] = values
    width = 1  # columns that each value is the least of, doubled while that is not too many
    while 2 * width <= 2 * steps + 1:
        least = np.minimum(least[:-width], least[width:])
        width *= 2
    rest = 2 * steps + 1 - width
    return np.minimum(least[:columns], least[rest : rest + columns])
