"""RGB that holds no colours is refused; H&E of every kind is not."""

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide, read_image
from tests.drawn_tissue import tissue
from tests.slides.test_white import write

MONUSEG = Path(__file__).parents[3] / "shared/data/monuseg/Tissue Images"


def dapi(brightest: int, height: int = 120, width: int = 160) -> NDArray[np.uint16]:
    """Bright nuclei on a nearly black ground: uint16 [height, width]."""
    light = tissue(height, width, height * width // 480)[..., 0] < 200
    noise = np.random.default_rng(0).normal(0.03, 0.005, light.shape)
    return np.round((np.where(light, 0.7, 0) + noise).clip(0, 1) * brightest).astype(np.uint16)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "planes.tif"])
@pytest.mark.parametrize("white", [None, 65535])
def test_fluorescence_of_16_bits_stored_as_grey(tmp_path: Path, name: str, white: int | None) -> None:
    path = write(tmp_path / name, np.dstack([dapi(33000)] * 3))
    for read in (read_image, open_slide):
        with pytest.raises(DataError, match=rf"{name}: is greyscale or fluorescence .*\(.*100%\)"):
            read(path, white=white)


def test_fluorescence_of_16_bits_in_blue(tmp_path: Path) -> None:
    light = dapi(33000)
    path = write(tmp_path / "a.tif", np.dstack([light // 20, light // 10, light]))
    with pytest.raises(DataError, match=r"a\.tif: is fluorescence, or far too dark"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
def test_grey_of_8_bits_stored_as_rgb(tmp_path: Path, name: str) -> None:
    for grey in ((dapi(33000) // 257).astype(np.uint8), tissue(120, 160, 40)[..., 0]):
        Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: is greyscale or fluorescence"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_empty_fields_and_fill_are_no_fluorescence(tmp_path: Path, dtype: type) -> None:
    full = np.iinfo(dtype).max
    glass = np.random.default_rng(0).normal(0.94, 0.004, (120, 160, 1)).clip(0, 0.99).repeat(3, 2)
    padded = tissue(120, 160, 40) / 255
    padded[:, 30:] = 0
    padded[:10, :20] = 0.94
    for number, picture in enumerate((glass, padded)):
        path = tmp_path / f"{number}.tif"
        tifffile.imwrite(path, np.round(picture * full).astype(dtype), photometric="rgb")
        assert read_image(path).pixels.shape == (120, 160, 3)


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["jpeg", "zlib"])
def test_a_scanners_slide_of_grey(tmp_path: Path, compression: str) -> None:
    """OpenSlide reads it; its coarsest level may be large, as without a pyramid."""
    path, coloured = tmp_path / "a.svs", tissue(600, 900, 400)
    aperio = "Aperio Image Library v12.0\n900x600 [0,0 900x600] (240x240) JPEG/RGB|AppMag = 20|MPP = 0.5"
    options = {"photometric": "rgb", "compression": compression, "metadata": None, "description": aperio}
    for grey in (np.dstack([dapi(255, 600, 900).astype(np.uint8)] * 3), np.dstack([coloured[..., 0]] * 3)):
        tifffile.imwrite(path, grey, tile=(240, 240), **options)
        assert openslide.OpenSlide.detect_format(path) == "aperio"
        for read in (read_image, open_slide):
            with pytest.raises(DataError, match=r"a\.svs: is greyscale or fluorescence stored as RGB"):
                read(path)
    tifffile.imwrite(path, coloured, tile=(240, 240), **options)
    assert read_image(path).pixels.shape == (600, 900, 3)


def test_real_tissue_is_not_refused(tmp_path: Path) -> None:
    if not MONUSEG.exists():
        pytest.skip("no shared/ beside this checkout")
    files = sorted(MONUSEG.glob("*.tif"))[::6]
    assert files
    for file in files:
        pixels = read_image(file).pixels[:300, :300]
        deep = write(tmp_path / "a.png", np.round(pixels / 255.0 * 65535).astype(np.uint16))
        assert np.abs(read_image(deep, white=65535).pixels.astype(int) - pixels).max() == 0
