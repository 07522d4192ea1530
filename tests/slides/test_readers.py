"""Every format: the pixels that were written, or an error that names the file."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide
from nucseg_jax.slides.image_file import read_image_file
from nucseg_jax.slides.tiff_file import TiffReader
from tests.slides.pictures import opened, picture, write

FILES = ("plain.tif", "planes.tif", "imagej.tif", "a.ome.tif", "pyramid.tif", "zlib.tif", "lzw.tif", "a.png")


@pytest.mark.parametrize("name", FILES)
def test_lossless_formats_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    image = picture()
    with open_slide(write(tmp_path / name, image)) as slide:
        assert slide.size == (90, 130)
        assert slide.mpp == pytest.approx(0.5, rel=1e-3)  # PNG counts in whole pixels a metre
        mpp = slide.mpp
        np.testing.assert_array_equal(slide.region(0, 0, 90, 130, mpp), image)
        np.testing.assert_array_equal(slide.region(31, 40, 20, 60, mpp), image[31:51, 40:100])
        outside = slide.region(-5, 120, 20, 20, mpp)
        np.testing.assert_array_equal(outside[5:, :10], image[:15, 120:])
        assert (outside[:5] == 255).all() and (outside[:, 10:] == 255).all()
        assert (slide.region(500, 0, 4, 4, mpp) == 255).all()


@pytest.mark.parametrize("name", ["a.jpg", "jpeg.tif", "jpeg2000.tif", "webp.tif"])
def test_lossy_formats_come_back_nearly(tmp_path: Path, name: str) -> None:
    with open_slide(write(tmp_path / name, picture())) as slide:
        assert slide.mpp == pytest.approx(0.5, rel=1e-2)  # JPEG counts in whole dots an inch
        difference = slide.region(0, 0, 90, 130, slide.mpp).astype(int) - picture()
        assert np.abs(difference).mean() < 4


def test_the_real_slide() -> None:
    path = Path(__file__).parents[3] / "shared/data/slides/CMU-1-Small-Region.svs"
    if not path.exists():
        pytest.skip("no shared/ beside this checkout")
    with open_slide(path) as slide:
        assert (slide.size, slide.mpp, slide.mpp_source) == ((2967, 2220), 0.499, "aperio metadata")
        base = slide.region(1000, 700, 64, 64, 0.499)
        larger = slide.region(2000, 1400, 128, 128, 0.2495)
        assert np.abs(base.mean((0, 1)) - larger.mean((0, 1))).max() < 2
        assert slide.thumbnail(200).shape == (200, 150, 3)


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.svs"])
def test_damaged_and_missing_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match=rf"{name}: no such file"):
        open_slide(path)
    with pytest.raises(DataError, match="is a folder"):
        open_slide(tmp_path)
    path.write_bytes(b"no image at all")
    with pytest.raises(DataError, match=rf"{name}: "):
        open_slide(path)
    if name == "a.svs":
        return
    write(path if name == "a.png" else tmp_path / "zlib.tif", picture())
    path = path if name == "a.png" else tmp_path / "zlib.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{path.name}: "):
        opened(path)


def test_images_that_would_not_fit_in_memory(tmp_path: Path) -> None:
    Image.fromarray(picture()).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: 90×130 pixels .* tiled TIFF"):
        read_image_file(tmp_path / "a.png", most_pixels=1000)
    tifffile.imwrite(tmp_path / "a.tif", picture(), photometric="rgb", rowsperstrip=90)
    with pytest.raises(DataError, match=r"a\.tif: lies in pieces .* tiled TIFF"):
        TiffReader(tmp_path / "a.tif", most_piece_bytes=1000)
