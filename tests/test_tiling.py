import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax import tiling
from nucseg_jax.errors import UserError


def test_four_tiles_of_the_papers_images() -> None:
    assert tiling.corners(1024, 1024, 512).tolist() == [[0, 0], [0, 512], [512, 0], [512, 512]]


@settings(max_examples=25)  # each shape compiles
@given(st.integers(8, 40), st.integers(8, 40))
def test_assemble_inverts_cut(height: int, width: int) -> None:
    image = np.random.default_rng(height * width).random((height, width, 2), np.float32)
    whole = tiling.assemble(np.asarray(tiling.cut(image, 8)), height, width)
    np.testing.assert_allclose(whole, image, rtol=1e-6, atol=1e-6)


@settings(max_examples=40)
@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 7))
def test_tiles_overlap_and_still_invert(height: int, width: int, overlap: int) -> None:
    image = np.random.default_rng(height * width).random((height, width, 2), np.float32)
    places = tiling.corners(height, width, 8, overlap)
    for side, starts in zip((height, width), (np.unique(places[:, 0]), np.unique(places[:, 1])), strict=True):
        assert starts[0] == 0 and starts[-1] == side - 8 and (np.diff(starts) <= 8 - overlap).all()
    whole = tiling.assemble(np.asarray(tiling.cut(image, 8, overlap)), height, width, overlap)
    np.testing.assert_allclose(whole, image, rtol=1e-5, atol=1e-6)


def test_overlaps_are_blended() -> None:
    tiles = np.stack([np.zeros((4, 4, 1)), np.ones((4, 4, 1))]).astype(np.float32)
    row = np.asarray(tiling.assemble(tiles, 4, 6, overlap=2))[0, :, 0]
    np.testing.assert_allclose(row, [0, 0, 1 / 3, 2 / 3, 1, 1], rtol=1e-6, atol=0)


def test_overlaps_are_averaged() -> None:
    tiles = np.stack([np.zeros((4, 4, 1)), np.ones((4, 4, 1))]).astype(np.float32)
    row = np.asarray(tiling.assemble(tiles, 4, 6))[0, :, 0]
    np.testing.assert_allclose(row, [0, 0, 0.5, 0.5, 1, 1], rtol=1e-6, atol=0)


def test_too_small_an_image_is_named() -> None:
    with pytest.raises(UserError, match="30×99 pixels is smaller than the tile of 32"):
        tiling.corners(30, 99, 32)
