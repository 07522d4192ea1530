"""Pyramids: a pixel of a level lies where the base pixels lie that it was made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucseg_jax.slides import open_slide
from nucseg_jax.slides.levels import level_of
from tests.slides.pictures import aperio, halved, halved_pyramid


@pytest.mark.parametrize(
    ("size", "base", "scales"),
    [
        ((125, 4), (2015, 79), (16, 16)),  # halved and floored
        ((126, 5), (2015, 79), (16, 16)),  # halved and rounded up
        ((4, 125), (79, 2015), (16, 16)),
        ((2015, 79), (2015, 79), (1, 1)),
        ((671, 26), (2015, 79), (3, 3)),
        ((3, 3), (127, 127), (32, 32)),
        ((1, 3125), (20, 100_001), (32, 32)),
        ((400, 200), (1000, 500), (2.5, 2.5)),
        ((90, 50), (1000, 500), (1000 / 90, 10)),  # resized to a size of its own
        ((67, 90), (200, 300), (200 / 67, 300 / 90)),
        ((2016, 79), (2015, 79), (1, 1)),
    ],
)
def test_how_coarse_a_level_is(
    size: tuple[int, int], base: tuple[int, int], scales: tuple[float, float]
) -> None:
    level = level_of(*size, *base)
    assert level == (*size, *scales) and level.scale == max(scales)


@pytest.mark.parametrize("write", [halved_pyramid, aperio])
def test_the_foot_of_a_tall_pyramid(tmp_path: Path, write: Callable[..., Path]) -> None:
    """Its sizes' ratios are 16.12 and 19.75: taken for the scale they are off by 15 pixels and more."""
    rows = np.arange(2015)
    profile = 120 + 100 * np.sin(rows / 25)
    colours = np.stack([profile, 240 - profile / 2, 255 - profile], axis=-1)
    image = np.repeat(colours[:, None].astype(np.uint8), 79, axis=1)
    image[:, 40:] //= 2  # so that columns differ, too
    with open_slide(write(tmp_path / "a.svs", image, 5)) as slide:
        assert slide.size == (2015, 79) and slide.is_slide
        for level in range(5):
            small = halved(image, level).astype(int)
            found = slide.region(0, 0, *small.shape[:2], 0.25 * 2**level)
            # OpenSlide takes whole base pixels, by a scale of its own.
            assert np.abs(found - small).max() <= (0 if write is halved_pyramid else 6)
        for scale in (5, 11, 16, 18.5):
            height, width = round(2015 / scale), round(79 / scale)
            box = (0, 0, width * scale, height * scale)
            padded = np.pad(image, ((0, 20), (0, 20), (0, 0)), mode="edge")
            resized = Image.fromarray(padded).resize((width, height), Image.Resampling.BILINEAR, box=box)
            found = slide.region(height - 12, 0, 12, width, 0.25 * scale).astype(int)
            assert np.abs(found - np.asarray(resized)[-12:])[:, : max(1, width // 2 - 1)].max() <= 12
