"""Tissue on thumbnails: all of it, none of empty glass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nucseg_jax.slides.tissue_mask import tissue_mask

GLASS = (243, 242, 244)
EOSIN = (226, 160, 190)


def noisy(colour: tuple[int, int, int], shape: tuple[int, int], sigma: float = 2.0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).normal(0, sigma, (*shape, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


@given(
    st.integers(215, 255),
    st.tuples(st.integers(-6, 6), st.integers(-6, 6), st.integers(-6, 6)),
    st.floats(0, 3),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
)
def test_an_empty_slide_has_none(
    grey: int, tint: tuple[int, int, int], noise: float, shape: tuple[int, int]
) -> None:
    """Whatever the lamp's colour."""
    colour = tuple(min(255, max(200, grey + t)) for t in tint)
    assert not tissue_mask(noisy(colour, shape, noise)).any()


@pytest.mark.parametrize("colour", [EOSIN, (120, 70, 150), (235, 205, 220), (60, 40, 90)])
def test_a_picture_full_of_tissue_is_all_tissue(colour: tuple[int, int, int]) -> None:
    assert tissue_mask(noisy(colour, (50, 70), 3.0)).all()


def test_tissue_with_holes_of_glass_is_found_and_glass_far_from_it_is_not() -> None:
    picture = noisy(GLASS, (100, 100))
    picture[20:60, 20:60] = noisy(EOSIN, (40, 40), 6.0)
    mask = tissue_mask(picture)
    assert mask[18:62, 18:62].all()
    assert not mask[:14].any() and not mask[70:].any() and not mask[:, 70:].any()


def test_pale_tissue_and_a_nucleus_alone_count() -> None:
    picture = noisy(GLASS, (100, 100))
    picture[10:20, 10:20] = (236, 222, 232)
    picture[70, 70] = (170, 140, 190)  # half of a pixel
    mask = tissue_mask(picture)
    assert mask[10:20, 10:20].all() and mask[68:73, 68:73].all()
    assert mask.sum() < 350


def test_a_shaded_lamp_is_no_tissue() -> None:
    shade = np.linspace(246, 238, 200)
    picture = np.tile(shade[:, None, None], (1, 100, 3)).astype(np.uint8)
    assert not tissue_mask(picture).any()


def test_wrong_thumbnails() -> None:
    with pytest.raises(ValueError, match=r"uint8 \[h, w, 3\], got float64 \(5, 5\)"):
        tissue_mask(np.zeros((5, 5)))


def test_large_pictures_are_taken_in_strips() -> None:
    picture = noisy(GLASS, (700, 90))
    picture[100:600:7, 20:60] = noisy(EOSIN, (72, 40))
    whole = tissue_mask(picture)
    np.testing.assert_array_equal(tissue_mask(picture, strip_px=13), whole)
    np.testing.assert_array_equal(tissue_mask(picture, strip_px=13, glass_pixels=20_000), whole)
