"""Scores of regions: values that can be worked out by hand."""

import numpy as np
import pytest

from nucseg_jax.suggest.uncertainty import FEW_NUCLEI, disagreement, entropy, score

ALL = np.ones((40, 40), bool)


def nuclei(*corners: tuple[int, int]) -> np.ndarray:
    """A label map of squares of 8 × 8 pixels."""
    label_map = np.zeros((40, 40), np.int32)
    for i, (top, left) in enumerate(corners, 1):
        label_map[top : top + 8, left : left + 8] = i
    return label_map


def said(label_map: np.ndarray, likely: float = 0.99, count: int = 8) -> np.ndarray:
    """That the nuclei are likely in all orientations, and the rest is as unlikely."""
    return np.repeat(np.where(label_map > 0, likely, 1 - likely)[None], count, axis=0).astype(np.float32)


def test_entropy() -> None:
    of = entropy(np.array([0.0, 0.25, 0.5, 1.0], np.float32))
    np.testing.assert_allclose(of, [0, 0.25 * 2 + 0.75 * np.log2(4 / 3), 1, 0], atol=1e-12)


def test_disagreement_is_what_orientations_contradict_each_other_by() -> None:
    probabilities = np.array([[[0.0, 0.5, 0.9]], [[1.0, 0.5, 0.9]]], np.float32)
    np.testing.assert_allclose(disagreement(probabilities), [[1, 0, 0]], atol=1e-9)


def test_a_sure_network_is_not_uncertain() -> None:
    label_map = nuclei((4, 4), (20, 20))
    found = score(said(label_map, 1.0), label_map, ALL, 0.5)
    assert found == (0.0, 0.0, 1.0, 2) and found.uncertainty == found.of_boundaries == 0


def test_boundary_entropy_is_that_within_a_micrometre_of_borders() -> None:
    label_map = nuclei((10, 10))
    probabilities = said(label_map, 1.0)
    probabilities[:, 9, 10:18] = 0.5  # the row above the nucleus
    found = score(probabilities, label_map, ALL, 0.5)
    # Of pixels within two pixels of those beside the border: 8 of nucleus and around it, row by row.
    ring = np.zeros_like(ALL)
    y, x = np.mgrid[:40, :40]
    beside = [(r, c) for r in range(9, 19) for c in range(9, 19)]
    beside = [
        (r, c)
        for r, c in beside
        if any(label_map[r, c] != label_map[r + dr, c + dc] for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    ]
    for r, c in beside:
        ring |= (y - r) ** 2 + (x - c) ** 2 <= 4
    assert found.boundary_entropy == pytest.approx(8 / ring.sum())
    assert found.disagreement == 0


def test_orientations_that_contradict_each_other_about_a_nucleus() -> None:
    label_map = nuclei((4, 4), (20, 20))
    probabilities = said(label_map)
    sure = score(probabilities, label_map, ALL, 0.5)
    probabilities[::2, 20:28, 20:28] = 0.01
    doubtful = score(probabilities, label_map, ALL, 0.5)
    assert sure.disagreement == pytest.approx(0, abs=1e-6) and doubtful.disagreement > 0.1
    assert doubtful.uncertainty > 100 * sure.uncertainty


def test_a_wide_empty_doubt_does_not_win_over_doubtful_nuclei() -> None:
    crowded = nuclei((2, 2), (2, 14), (2, 26), (14, 2), (14, 14), (26, 26))
    of_nuclei = said(crowded)
    of_nuclei[::2, :12] = np.where(crowded[:12] > 0, 0.4, 0.1)
    empty = np.full((8, 40, 40), 0.2, np.float32)
    empty[::2] = 0.45
    nothing = score(empty, nuclei(), ALL, 0.5)
    assert nothing.nuclei == 0 and nothing.uncertainty == nothing.of_boundaries == 0
    assert score(of_nuclei, crowded, ALL, 0.5).uncertainty > 0.01


def test_few_nuclei_and_little_tissue_weigh_less() -> None:
    one, two = nuclei((4, 4)), nuclei((4, 4), (20, 20))
    half = ALL.copy()
    half[:, 18:] = False
    scores = [
        score(said(label_map, 0.8), label_map, tissue, 0.5)
        for label_map, tissue in ((one, ALL), (two, ALL), (two, half))
    ]
    assert scores[2].nuclei == 1 and scores[2].tissue == pytest.approx(18 / 40)  # none on glass counts
    entropies = [of.boundary_entropy for of in scores]
    assert entropies == pytest.approx([entropies[0]] * 3)
    weights = [1 / (1 + FEW_NUCLEI), 2 / (2 + FEW_NUCLEI), 18 / 40 / (1 + FEW_NUCLEI)]
    assert [of.of_boundaries / of.boundary_entropy for of in scores] == pytest.approx(weights)
