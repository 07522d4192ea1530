"""Tiles against the slide's own pixels."""

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import Slide, open_slide, slide_of_array
from nucseg_jax.view.slides import displayed_slide
from nucseg_jax.view.slides.deep_zoom import (
    OVERLAP_PX,
    TILE_PX,
    NoTileError,
    TileCache,
    TilePlace,
    descriptor,
    last_level,
    tile,
)
from nucseg_jax.view.slides.displayed_slide import DisplayedSlide, Opening
from nucseg_jax.view.slides.open_slides import OpenSlides
from tests.drawn_tissue import tissue
from tests.view.drawn_results import write_slide


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "JPEG"
        return np.asarray(image).astype(int)


def write_pyramid(path: Path, pixels: np.ndarray, levels: int) -> None:
    """A tiled TIFF whose levels each halve the one before."""
    options: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate"}
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            each = 2**level
            file.write(
                pixels[::each, ::each],
                **options,
                subfiletype=1 if level else 0,
                resolution=(40_000 / each, 40_000 / each),
                resolutionunit="CENTIMETER",
            )


def test_the_descriptor_is_deep_zoom():
    root = ET.fromstring(descriptor((300, 401)))
    assert root.tag == "{http://schemas.microsoft.com/deepzoom/2008}Image"
    assert root.attrib == {"Format": "jpg", "Overlap": "1", "TileSize": "254"}
    assert root[0].attrib == {"Width": "401", "Height": "300"}


@pytest.mark.parametrize(
    ("size", "level"), [((1, 1), 0), ((1, 2), 1), ((256, 256), 8), ((257, 3), 9), ((40_000, 39_000), 16)]
)
def test_the_last_level_is_the_slide(size, level):
    assert last_level(size) == level


@pytest.mark.parametrize("name", ["slide.png", "slide.tif"])
def test_tiles_of_the_last_level_are_the_slide_to_the_pixel(tmp_path, name):
    pixels = write_slide(tmp_path / name, (300, 611))
    with DisplayedSlide(Opening(tmp_path / name)) as slide, open_slide(tmp_path / name) as plain:
        last = last_level(slide.size)
        for row in range(2):
            for column in range(3):
                top, left = max(0, row * TILE_PX - OVERLAP_PX), max(0, column * TILE_PX - OVERLAP_PX)
                found = pixels_of(tile(slide, TilePlace(last, column, row)))
                bottom = min(300, (row + 1) * TILE_PX + OVERLAP_PX)
                right = min(611, (column + 1) * TILE_PX + OVERLAP_PX)
                assert found.shape == (bottom - top, right - left, 3)
                wanted = plain.region(top, left, *found.shape[:2], 0.25).astype(int)
                np.testing.assert_array_equal(wanted, pixels[top:bottom, left:right])
                assert np.abs(found - wanted).mean() < 4, "but for JPEG"


def test_every_level_has_the_size_and_place_of_the_slide(tmp_path):
    """A dark corner stays where it is, at its size, in all levels."""
    pixels = np.full((600, 1000, 3), (230, 170, 190), np.uint8)
    pixels[320:, 512:] = (90, 40, 130)
    write_pyramid(tmp_path / "slide.tif", pixels, 2)
    with DisplayedSlide(Opening(tmp_path / "slide.tif")) as slide:
        for level in range(last_level(slide.size) + 1):
            scale = 2 ** (last_level(slide.size) - level)
            height, width = slide.level_size(scale)
            assert (height, width) == (-(-600 // scale), -(-1000 // scale))
            whole = slide.region(scale, 0, 0, height, width).astype(int)
            if scale <= 64:
                dark = whole[..., 1] < 105
                np.testing.assert_allclose(dark.mean(), 280 * 488 / 600_000, atol=0.03)
                assert dark[-1, -1] and not dark[0, 0] and dark[320 // scale + 1 :, 512 // scale + 1 :].all()
            assert (whole < 240).all(), "no white beyond the border"
        assert pixels_of(tile(slide, TilePlace(0, 0, 0))).shape == (1, 1, 3)


def test_coarse_tiles_read_coarse_levels(tmp_path, monkeypatch):
    write_pyramid(tmp_path / "slide.tif", tissue(1024, 1024, 10), 4)
    read: list[int] = []
    plain = Slide.region
    with DisplayedSlide(Opening(tmp_path / "slide.tif")) as slide:
        reader = slide._slide._reader
        wrapped = type(reader).read

        def counting(self, level, top, left, height, width):
            read.append(height * width)
            return wrapped(self, level, top, left, height, width)

        monkeypatch.setattr(type(reader), "read", counting)
        tile(slide, TilePlace(7, 0, 0))
    assert plain is Slide.region and sum(read) == 128 * 128


def test_without_a_pyramid_the_slide_is_read_once_in_blocks(tmp_path, monkeypatch):
    pixels = tissue(750, 850, 30)
    write_pyramid(tmp_path / "slide.tif", pixels, 1)
    monkeypatch.setattr(displayed_slide, "_BLOCK_PX", 256)
    monkeypatch.setattr(displayed_slide, "_MOST_REDUCTION", 4)
    read: list[int] = []
    with DisplayedSlide(Opening(tmp_path / "slide.tif")) as slide:
        wrapped = slide._slide.region

        def counting(top, left, height, width, mpp):
            read.append(height * width * round(mpp / 0.25) ** 2)
            return wrapped(top, left, height, width, mpp)

        monkeypatch.setattr(slide._slide, "region", counting)
        for level in range(last_level(slide.size) - 2):
            tile(slide, TilePlace(level, 0, 0))
        assert max(read) <= 256**2 and sum(read) < 1.2 * 750 * 850
        found = slide.region(16, 0, 0, *slide.level_size(16)).astype(int)
    means = pixels[:736, :848].reshape(46, 16, 53, 16, 3).mean(axis=(1, 3))
    assert np.abs(found[:46, :53] - means).mean() < 3


def test_images_without_a_resolution_show(tmp_path):
    write_slide(tmp_path / "photo.png", (50, 70), mpp=None)
    write_slide(tmp_path / "photo.tif", (50, 70), mpp=None)
    for name in ("photo.png", "photo.tif"):
        with DisplayedSlide(Opening(tmp_path / name)) as slide:
            assert slide.mpp is None and "resolution" in slide.mpp_source
            assert pixels_of(tile(slide, TilePlace(7, 0, 0))).shape == (50, 70, 3)


def test_a_scanners_slide_without_a_resolution_shows(tmp_path):
    pixels = tissue(300, 300, 5)
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        for level, each in enumerate((1, 2)):
            file.write(pixels[::each, ::each], tile=(256, 256), photometric="rgb", subfiletype=level)
    with pytest.raises(DataError, match="no resolution"):
        open_slide(tmp_path / "slide.tif")
    with DisplayedSlide(Opening(tmp_path / "slide.tif")) as slide:
        assert slide.mpp is None and slide.size == (300, 300)


def test_what_cannot_be_opened_says_so(tmp_path):
    (tmp_path / "slide.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="slide.png"):
        DisplayedSlide(Opening(tmp_path / "slide.png"))


@pytest.mark.parametrize("place", [(-1, 0, 0), (10, 0, 0), (9, 2, 0), (9, 0, 1), (9, -1, 0), (0, 1, 0)])
def test_tiles_that_are_not_there(tmp_path, place):
    write_slide(tmp_path / "slide.png", (200, 400))
    with DisplayedSlide(Opening(tmp_path / "slide.png")) as slide, pytest.raises(NoTileError):
        tile(slide, TilePlace(*place))


def test_the_cache_is_bounded_and_keeps_what_is_asked_for():
    cache = TileCache(most_bytes=10)
    places = [TilePlace(0, 0, row) for row in range(4)]
    for place in places[:3]:
        cache.put("a", place, b"1234")
        assert cache.get("a", places[0]) or place == places[2]
    assert cache.get("a", places[0]) == b"1234" and cache.get("a", places[1]) is None
    cache.put("a", places[0], b"12345678")
    assert cache.get("a", places[2]) is None and cache.get("b", places[0]) is None
    cache.put("a", places[3], b"1" * 11)
    assert cache.get("a", places[3]) is None


def test_few_slides_stay_open_and_none_is_closed_while_it_is_used(tmp_path):
    openings = []
    for number in range(4):
        write_slide(tmp_path / f"{number}.png", (20, 20))
        openings.append(Opening(tmp_path / f"{number}.png"))
    pool = OpenSlides(most=2)
    with pool.using(openings[0]) as first:
        for opening in openings[1:]:
            with pool.using(opening):
                pass
        assert first.region(1, 0, 0, 20, 20).std() > 0
        with pool.using(openings[0]) as same:
            assert same is first
    (tmp_path / "3.png").unlink()
    with pool.using(openings[3]):
        pass  # still open
    pool.close()
    with pytest.raises(DataError), pool.using(openings[3]):
        pass
    write_slide(tmp_path / "3.png", (20, 20))
    with pool.using(openings[3]):
        pass  # a failure is not remembered
    assert slide_of_array(tissue(4, 4, 0), 0.25).scales == (1.0,)
