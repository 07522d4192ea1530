"""Regions and thumbnails: the right pixels at the right resolution."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.slides import Slide, open_slide, slide_of_array
from nucseg_jax.slides.reader import Level, Resolution
from nucseg_jax.slides.tiff_file import TiffReader
from tests.slides.pictures import CM, picture, pyramid, tiled


@settings(max_examples=25)
@given(st.data())
def test_a_region_does_not_depend_on_what_is_read_with_it(data: st.DataObject) -> None:
    mpp = data.draw(st.floats(0.1, 2.0))
    image = np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8)
    slide = slide_of_array(image, 0.5)
    height, width = (max(1, round(side * 0.5 / mpp)) for side in (80, 60))
    whole = slide.region(0, 0, height, width, mpp)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    rows, columns = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    part = slide.region(top, left, rows, columns, mpp)
    # Pillow rounds twice, along each axis once.
    assert np.abs(part.astype(int) - whole[top : top + rows, left : left + columns]).max() <= 2


def test_scaling_is_that_of_the_training_images() -> None:
    image = np.random.default_rng(0).integers(0, 256, (125, 125, 3), np.uint8)
    found = slide_of_array(image, 0.25).region(0, 0, 128, 128, 0.25 * 125 / 128)
    expected = np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).max() <= 1


class LevelsAlone:
    """A reader of white levels that remembers which of them were read."""

    levels = (Level(256, 192, 1, 1), Level(128, 96, 2, 2), Level(64, 48, 4, 4))
    offset = (0, 0)
    resolution = Resolution(0.5, "test")
    is_slide = True
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.read_levels: list[int] = []

    def read(self, level: int, top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
        self.read_levels.append(level)
        return np.full((height, width, 3), 255, np.uint8)

    def close(self) -> None:
        pass


def test_the_coarsest_level_that_is_fine_enough_is_read() -> None:
    reader = LevelsAlone()
    slide = Slide(Path("a.svs"), reader, reader.resolution)
    for scale in (0.5, 1, 1.9, 2, 3, 4, 9):
        slide.region(0, 0, 5, 5, 0.5 * scale)
    assert reader.read_levels == [0, 0, 0, 1, 1, 2, 2]


def test_regions_of_a_pyramid(tmp_path: Path) -> None:
    image = picture(256, 192)
    path = pyramid(tmp_path / "p.tif", image, **CM)
    with closing(TiffReader(path)) as reader:
        assert [level.scale for level in reader.levels] == [1, 2, 4]
    with open_slide(path) as slide:
        assert slide.is_slide and slide.scales == (1, 2, 4)
        half = np.asarray(Image.fromarray(image).reduce(2))
        np.testing.assert_array_equal(slide.region(10, 20, 30, 40, 1.0), half[10:40, 20:60])
        for mpp in (0.25, 0.5, 0.8, 1.0, 1.7):
            found = slide.region(round(40 / mpp), round(30 / mpp), 20, 20, mpp).astype(int)
            place = slice(80, 80 + round(40 * mpp)), slice(60, 60 + round(40 * mpp))
            assert np.abs(found.mean((0, 1)) - image[place].mean((0, 1))).max() < 6


def test_thumbnails_of_one_large_level(tmp_path: Path) -> None:
    image = picture(300, 210)
    with open_slide(tiled(tmp_path / "a.tif", image)) as slide:
        small = slide.thumbnail(100, block_px=64)  # in many pieces
        assert small.shape == (100, 70, 3)
        expected = np.asarray(Image.fromarray(image).resize((70, 100), Image.Resampling.BILINEAR))
        assert np.abs(small.astype(int) - expected).mean() < 1
        np.testing.assert_array_equal(slide.thumbnail(1000, block_px=64), image)


# --- a resolution that is missing or wrong ---


def test_images_without_resolution(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with open_slide(tmp_path / "a.png") as slide:
        assert slide.mpp is None and slide.mpp_source == "no resolution in the file"
        with pytest.raises(UserError, match=r"a\.png: has no resolution .*--mpp"):
            slide.region(0, 0, 5, 5, 0.5)
        assert slide.thumbnail(10).shape == (7, 10, 3)
    with open_slide(tmp_path / "a.png", assumed_mpp=0.25) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.25, "assumed: no resolution in the file")
    with open_slide(tmp_path / "a.png", 0.3, assumed_mpp=0.25) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.3, "given")


def test_a_slide_without_resolution_is_refused(tmp_path: Path) -> None:
    path = pyramid(tmp_path / "a.tif", picture(256, 256))
    with pytest.raises(DataError, match=r"a\.tif: no resolution .*--mpp: 40× is about 0\.25"):
        open_slide(path, assumed_mpp=0.25)
    open_slide(path, 0.5).close()


@pytest.mark.parametrize(("per_cm", "message"), [(5000, "2 µm .*few pixels"), (5e6, "0.002 µm .*unit")])
def test_a_resolution_far_off_is_refused(tmp_path: Path, per_cm: float, message: str) -> None:
    path = tiled(tmp_path / "a.tif", picture(), resolution=(per_cm, per_cm))
    with pytest.raises(DataError, match=rf"a\.tif: {message}.*--mpp"):
        open_slide(path)
    with open_slide(path, 0.25) as slide:  # as the user knows better
        assert slide.mpp == 0.25


@pytest.mark.parametrize("mpp", [0.0, -1.0, 2.0, float("nan"), 250.0])
def test_a_wrong_mpp(tmp_path: Path, mpp: float) -> None:
    with pytest.raises(UserError, match="--mpp"):
        open_slide(tmp_path / "a.png", mpp)
