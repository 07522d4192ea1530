"""Kinds of pixels: converted to 8-bit RGB, or refused by name."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from nucseg_jax.errors import DataError
from nucseg_jax.slides import colours, read_image
from tests.slides.pictures import opened, picture


def transparent() -> NDArray[np.uint8]:
    alpha = np.full((90, 130, 1), 255, np.uint8)
    alpha[:, 50:] = 0
    alpha[:, 100:] = 128
    return np.concatenate([picture(), alpha], axis=2)


@pytest.mark.parametrize("kind", ["a.png", "a.tif"])
def test_transparency_is_laid_on_white(tmp_path: Path, kind: str) -> None:
    if kind == "a.png":
        Image.fromarray(transparent()).save(tmp_path / kind)
    else:
        tifffile.imwrite(tmp_path / kind, transparent(), photometric="rgb", extrasamples=["unassalpha"])
    found, _, notes = read_image(tmp_path / kind)
    assert notes == ("transparency is laid on white",)
    np.testing.assert_array_equal(opened(tmp_path / kind), found)
    image = picture()
    np.testing.assert_array_equal(found[:, :50], image[:, :50])
    assert (found[:, 50:100] == 255).all()
    assert np.abs(found[:, 100:].astype(int) - (image[:, 100:].astype(int) + 255) // 2).max() <= 1


def test_premultiplied_transparency(tmp_path: Path) -> None:
    pixels = transparent()
    pixels[..., :3] = pixels[..., :3] * (pixels[..., 3:] / 255)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    found, image = opened(tmp_path / "a.tif"), picture()
    assert (found[:, 50:100] == 255).all()
    assert np.abs(found[:, 100:].astype(int) - (image[:, 100:].astype(int) + 255) // 2).max() <= 2


@pytest.mark.parametrize("kind", ["a.png", "a.bmp", "a.tif"])
def test_palettes_become_colours(tmp_path: Path, kind: str) -> None:
    indexed = Image.fromarray(picture()).quantize(64)
    indexed.save(tmp_path / kind)
    np.testing.assert_array_equal(opened(tmp_path / kind), np.asarray(indexed.convert("RGB")))


def grey(path: Path) -> None:
    Image.fromarray(picture()[..., 0]).save(path)


REFUSED = {
    "grey.png": (grey, "greyscale"),
    "grey.tif": (lambda path: tifffile.imwrite(path, picture()[..., 0]), "greyscale"),
    "grey16.png": (
        lambda path: Image.fromarray(picture()[..., 0].astype(np.uint16)).save(path),
        "mode I;16",
    ),
    "grey_alpha.png": (
        lambda path: Image.fromarray(picture()[..., 0]).convert("LA").save(path),
        "greyscale with transparency",
    ),
    "black.png": (lambda path: Image.fromarray(picture()[..., 0] > 9).save(path), "black and white"),
    "cmyk.jpg": (lambda path: Image.fromarray(picture()).convert("CMYK").save(path), "CMYK"),
    "channels.ome.tif": (
        lambda path: tifffile.imwrite(
            path, np.zeros((3, 40, 50), np.uint8), photometric="minisblack", metadata={"axes": "CYX"}
        ),
        "a TIFF with 3 channels",
    ),
    "stack.tif": (
        lambda path: tifffile.imwrite(path, np.zeros((5, 40, 50, 3), np.uint8), photometric="rgb"),
        "a TIFF with 5",
    ),
    "float.tif": (
        lambda path: tifffile.imwrite(path, picture().astype(np.float32), photometric="rgb"),
        "float32 RGB",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_colour_image_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    make(tmp_path / name)
    for read in (opened, read_image):  # for prediction, and for training
        with pytest.raises(DataError, match=rf"{name}: .*{message}.*8-bit"):
            read(tmp_path / name)


def test_laying_on_white_keeps_what_is_opaque() -> None:
    pixels = np.dstack([picture(), np.full((90, 130), 255, np.uint8)])
    np.testing.assert_array_equal(colours.on_white(pixels), picture())


def test_a_drawing_of_one_colour_without_pixels(tmp_path: Path) -> None:
    drawing = Image.new("RGB", (20, 10), (1, 2, 3))
    ImageDraw.Draw(drawing).rectangle((0, 0, 9, 9), fill=(90, 80, 70))
    drawing.save(tmp_path / "a.png", transparency=(1, 2, 3))
    found = opened(tmp_path / "a.png")
    assert (found[:, :10] == (90, 80, 70)).all() and (found[:, 10:] == 255).all()
