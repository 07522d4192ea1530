import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg_jax import tiling
from nucseg_jax.errors import UserError


def test_four_tiles_of_the_papers_images() -> None:
    assert tiling.corners(1024, 1024, 512).tolist() == [[0, 0], [0, 512], [512, 0], [512, 512]]


@given(st.integers(8, 40), st.integers(8, 40))
def test_tiles_cover_the_image_and_lie_inside(height: int, width: int) -> None:
    seen = np.zeros((height, width), int)
    for y, x in tiling.corners(height, width, 8):
        assert seen[y : y + 8, x : x + 8].shape == (8, 8)
        seen[y : y + 8, x : x + 8] += 1
    assert seen.min() == 1 and seen.max() <= 4


def test_too_small_an_image_is_named() -> None:
    with pytest.raises(UserError, match="30×99 pixels is smaller than the tile of 32"):
        tiling.corners(30, 99, 32)
