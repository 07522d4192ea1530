"""Closed shortest paths: the optimum, as found by going through all paths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from nucseg_jax.instances.closed_paths import shortest_closed


def is_closed(path: NDArray[np.intp], most_steps: int) -> bool:
    return bool((np.abs(path - np.roll(path, 1)) <= most_steps).all())


def cost_of(table: NDArray[np.float32], path: NDArray[np.intp]) -> np.float32:
    """Row by row in float32."""
    return np.cumsum(table[np.arange(len(path)), path], dtype=np.float32)[-1]


def least_of_all(table: NDArray[np.float32], most_steps: int) -> np.float32:
    rows, columns = table.shape
    paths = np.stack(np.meshgrid(*[np.arange(columns)] * rows, indexing="ij"), axis=-1).reshape(-1, rows)
    closed = paths[(np.abs(paths - np.roll(paths, 1, axis=1)) <= most_steps).all(axis=1)]
    return np.cumsum(table[np.arange(rows), closed], axis=1, dtype=np.float32)[:, -1].min()


SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))


@given(
    SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=st.integers(-4, 4))), st.integers(0, 4)
)
def test_no_closed_path_is_cheaper(costs: NDArray[np.float32], most_steps: int) -> None:
    """Of integers, so that many paths cost the same."""
    paths, totals = shortest_closed(costs, most_steps)
    for table, path, total in zip(costs, paths, totals, strict=True):
        assert is_closed(path, most_steps)
        assert total == cost_of(table, path) == least_of_all(table, most_steps)


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_no_closed_path_is_cheaper_of_any_costs(seed: int, most_steps: int) -> None:
    costs = np.random.default_rng(seed).normal(size=(3, 5, 5)).astype(np.float32)
    paths, totals = shortest_closed(costs, most_steps)
    for table, path, total in zip(costs, paths, totals, strict=True):
        assert is_closed(path, most_steps)
        assert total == cost_of(table, path) == least_of_all(table, most_steps)


def test_ends_must_meet() -> None:
    """The cheapest path climbs by a column a row; a closed one has to come back."""
    costs = np.ones((1, 6, 6), np.float32)
    costs[0, np.arange(6), np.arange(6)] = 0
    paths, totals = shortest_closed(costs, 1)
    np.testing.assert_array_equal(totals, [2])  # four rows of the six at most
    assert is_closed(paths[0], 1)
    np.testing.assert_array_equal(shortest_closed(costs, 5)[1], [0])


def test_a_table_gives_the_same_among_any_others() -> None:
    """Also of more tables than are worked on at once."""
    costs = np.random.default_rng(0).integers(0, 3, (1200, 8, 10)).astype(np.float32)
    paths, totals = shortest_closed(costs, 2)
    for i in (0, 511, 512, 1199):
        alone = shortest_closed(costs[i : i + 1], 2)
        np.testing.assert_array_equal(alone[0][0], paths[i])
        np.testing.assert_array_equal(alone[1][0], totals[i])


def test_no_table() -> None:
    paths, totals = shortest_closed(np.zeros((0, 8, 5), np.float32), 2)
    assert paths.shape == (0, 8) and totals.shape == (0,)


@pytest.mark.parametrize(
    ("costs", "most_steps", "message"),
    [
        (np.zeros((3, 4), np.float32), 1, "rows, columns"),
        (np.zeros((1, 0, 4), np.float32), 1, "rows, columns"),
        (np.zeros((1, 3, 4), np.float32), -1, "most_steps"),
        (np.full((1, 3, 4), np.nan, np.float32), 1, "finite"),
    ],
)
def test_what_is_no_table(costs: NDArray[np.float32], most_steps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shortest_closed(costs, most_steps)
