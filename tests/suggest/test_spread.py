"""Places that are spread: the best, but apart, and of several looks."""

import numpy as np

from nucseg_jax.suggest.spread import looks_of, spread

GRID = np.array([(row, column) for row in range(0, 100, 10) for column in range(0, 100, 10)], float)


def test_the_best_come_first_and_lie_apart() -> None:
    scores = -np.abs(GRID - 20).max(axis=1)  # the farther from (20, 20), the worse
    chosen = spread(GRID, scores, 4, least=10, area=100 * 100)
    assert GRID[chosen[0]].tolist() == [20, 20]
    assert sorted(chosen, key=lambda i: -scores[i]) == chosen and len(chosen) == 4
    apart = [np.abs(GRID[i] - GRID[j]).max() for i in chosen for j in chosen if i != j]
    assert min(apart) >= 0.7 * 50  # of a regular grid of four


def test_the_distance_shrinks_to_what_fits_but_no_two_overlap() -> None:
    scores = np.arange(100.0)
    assert sorted(spread(GRID, scores, 100, least=10, area=100 * 100)) == list(range(100))
    few = spread(GRID, scores, 100, least=20, area=100 * 100)
    assert 25 <= len(few) < 100
    assert all(np.abs(GRID[i] - GRID[j]).max() >= 20 for i in few for j in few if i != j)


def test_one_look_has_at_most_half() -> None:
    looks = (GRID[:, 1] >= 50).astype(np.int64)
    scores = GRID[:, 1]  # the right half is better throughout
    chosen = spread(GRID, scores, 4, least=10, area=100 * 100, looks=looks)
    assert looks[chosen].tolist() == [1, 1, 0, 0]
    alone = spread(GRID, scores, 4, least=10, area=100 * 100, looks=np.zeros(100, np.int64))
    assert len(alone) == 4  # there is no other look


def test_looks_are_groups_of_colours() -> None:
    random = np.random.default_rng(0)
    kinds = np.repeat([0, 1, 2, 3], 10)
    colours = np.array([[200, 150], [100, 150], [200, 50], [20, 20]])[kinds] + random.normal(0, 2, (40, 2))
    groups = looks_of(colours)
    assert len(set(zip(kinds.tolist(), groups.tolist(), strict=True))) == 4
    assert looks_of(np.full((20, 6), 3.0)).tolist() == [0] * 20
