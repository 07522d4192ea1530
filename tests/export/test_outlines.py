"""Outlines: valid polygons of exactly the mask's pixels."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.export.batches import Batch
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, SHAPES, batch_of, cropped, mask_of, masks, nuclei_of, polygons


def rasterised(polygon: shapely.Polygon, nucleus: Nucleus) -> NDArray[np.bool_]:
    """Pixels of the nucleus's crop whose centres are within the polygon."""
    height, width = nucleus.mask.shape
    y, x = np.mgrid[:height, :width] + 0.5
    return shapely.contains_xy(polygon, x + nucleus.left, y + nucleus.top)


def check(nuclei: list[Nucleus], frame: Frame = FRAME) -> None:
    for polygon, nucleus in zip(polygons(Batch(nuclei, frame)), nuclei, strict=True):
        assert polygon.is_valid, shapely.is_valid_reason(polygon)
        assert polygon.area == nucleus.mask.sum()
        assert polygon.exterior.is_ccw
        assert not any(hole.is_ccw for hole in polygon.interiors)
        np.testing.assert_array_equal(rasterised(polygon, nucleus), nucleus.mask)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_made_by_hand(name):
    check(nuclei_of([mask_of(name)]))


def test_all_shapes_in_one_batch():
    check(nuclei_of(list(map(mask_of, SHAPES))))


@given(st.lists(masks(), min_size=1, max_size=40))
def test_random_masks(found):
    check(nuclei_of(found))


def test_large_ragged_masks():
    noise = np.random.default_rng(0).random((6, 200, 150)) < 0.7
    found = []
    for pixels in noise:
        labels, _ = ndimage.label(pixels)
        found.append(cropped(labels == np.bincount(labels.ravel())[1:].argmax() + 1))
    frame = Frame((300, 2000), 0.25, 0.25)
    nuclei = [Nucleus(i + 1, 7, 160 * i, mask, 0.5) for i, mask in enumerate(found)]
    check(nuclei, frame)


def test_number_of_rings():
    counts = {name: 1 + len(polygons(batch_of(mask_of(name)))[0].interiors) for name in SHAPES}
    assert counts == {
        "pixel": 1,
        "row": 1,
        "block": 1,
        "L": 1,
        "U": 1,
        "ring": 2,
        "two holes": 3,
        "holes that touch at a corner": 3,
        "hole that touches the outside": 2,
        "hole that touches the outside on the other diagonal": 2,
        "ends that touch at a corner": 2,
        "chain of corners": 3,
        "checkers in a frame": 7,
        "spiral": 1,
    }


def test_straight_edges_have_no_corners_between():
    outlines = batch_of(np.ones((7, 9), dtype=bool)).outlines
    corners = list(zip(outlines.x.tolist(), outlines.y.tolist(), strict=True))
    assert corners == [(5, 3), (14, 3), (14, 10), (5, 10)]


@settings(max_examples=300)
@given(masks(), st.integers(0, 2**32 - 1))
def test_only_one_connected_piece_is_taken(mask, seed):
    """Pixels removed at random: an error if and only if that leaves several pieces."""
    mask = mask & (np.random.default_rng(seed).random(mask.shape) < 0.9)
    if not mask.any():
        return
    nuclei = nuclei_of([np.ones((2, 2), dtype=bool), mask])
    if ndimage.label(mask)[1] == 1:
        check(nuclei)
    else:
        with pytest.raises(ValueError, match=r"nucleus 2 is not one 4-connected piece.*ndimage\.label"):
            _ = Batch(nuclei, FRAME).outlines


@pytest.mark.parametrize(
    "rows",
    [["#.", ".#"], ["##.##"], ["##.", "#.#", ".##"], ["###..", "#.#..", "###..", ".....", "....#"]],
    ids=["corner", "apart", "two halves around a hole", "ring and pixel"],
)
def test_pieces_are_refused(rows):
    mask = np.array([[c == "#" for c in row] for row in rows])
    with pytest.raises(ValueError, match="nucleus 1 is not one"):
        _ = batch_of(mask).outlines
