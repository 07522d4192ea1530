"""Files read whole, as training and staining take them: by the rules of `open_slide`."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide, read_image
from tests.slides.pictures import opened, picture, pyramid, write

SLIDE = Path(__file__).parents[3] / "shared/data/slides/CMU-1-Small-Region.svs"


@pytest.mark.parametrize("name", ["plain.tif", "planes.tif", "pyramid.tif", "lzw.tif", "a.png", "a.bmp"])
def test_all_pixels_of_the_base_level(tmp_path: Path, name: str) -> None:
    image = read_image(write(tmp_path / name, picture()))
    np.testing.assert_array_equal(image.pixels, picture())
    assert image.resolution.mpp == pytest.approx(0.5, rel=1e-2) and image.notes == ()


@pytest.mark.parametrize("name", ["jpeg.tif", "a.jpg"])
def test_the_pixels_are_those_of_prediction(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, picture())
    np.testing.assert_array_equal(read_image(path).pixels, opened(path))


def test_a_scanners_slide() -> None:
    if not SLIDE.exists():
        pytest.skip("no shared/ beside this checkout")
    with open_slide(SLIDE) as slide:
        image = read_image(SLIDE)
        assert image.pixels.shape == (2967, 2220, 3) and image.resolution.mpp == slide.mpp
        np.testing.assert_array_equal(
            image.pixels[900:950, 700:800], slide.region(900, 700, 50, 100, slide.mpp)
        )


def test_a_slide_without_a_resolution(tmp_path: Path) -> None:
    """Which pixels alone do without."""
    path = pyramid(tmp_path / "a.tif", picture(256, 192))
    np.testing.assert_array_equal(read_image(path).pixels, picture(256, 192))


# --- the orientation of viewers ---


def turned(path: Path, orientation: int) -> Path:
    if path.suffix == ".tif":
        tifffile.imwrite(path, picture(), photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    else:
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(picture()).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", [3, 6])
@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg", "a.webp"])
def test_pixels_stay_as_stored_which_is_said(tmp_path: Path, name: str, orientation: int) -> None:
    """Coordinates are those of the file's pixels, as QuPath counts them and label maps have them."""
    path = turned(tmp_path / name, orientation)
    image = read_image(path)
    assert np.abs(image.pixels.astype(int) - picture()).mean() < 4
    np.testing.assert_array_equal(opened(path), image.pixels)
    with open_slide(path) as slide:
        assert slide.notes == image.notes
    (note,) = image.notes
    assert note.startswith(f"orientation tag {orientation} is not applied: pixels stay as stored")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.jpg"])
def test_an_upright_image_needs_no_note(tmp_path: Path, name: str) -> None:
    assert read_image(turned(tmp_path / name, 1)).notes == ()


# --- files that cannot be used ---


@pytest.mark.parametrize("name", ["cut.tif", "cut.png", "cut.jpg"])
def test_truncated_images(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{name}: .* again") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_no_image(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png: is neither an image nor a slide"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"absent\.png: no such file"):
        read_image(tmp_path / "absent.png")


@pytest.mark.parametrize("name", ["plain.tif", "a.png"])
def test_images_that_are_too_large(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, picture())
    with pytest.raises(DataError, match=rf"{name}: 90×130 pixels are more than can be .* whole \(1,000\)"):
        read_image(path, most_pixels=1000)


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([picture(), 255 - picture()]), photometric="rgb")
    with pytest.raises(DataError, match=r"a\.tif: is a TIFF with 2 images"):
        read_image(tmp_path / "a.tif")
