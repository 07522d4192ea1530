"""What a Python user has of an image: arrays, images of Pillow, paths; and what is none."""

from pathlib import Path

import imagecodecs
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nucseg_jax.errors import UserError
from nucseg_jax.slides import slide_of_array
from tests.drawn_tissue import MPP, segmenter, tissue


def test_arrays_images_and_paths_are_all_taken(tmp_path: Path) -> None:
    """At the resolution that they say; what says none is taken at the model's, and this is said."""
    image = tissue(100, 120, 12)
    expected = segmenter()(image, MPP)
    assert expected.max() > 5
    Image.fromarray(image).save(tmp_path / "said.png", dpi=(25400 / MPP,) * 2)
    for given in (tmp_path / "said.png", str(tmp_path / "said.png")):
        np.testing.assert_array_equal(segmenter()(given), expected)
    Image.fromarray(image).save(tmp_path / "silent.png")
    in_memory, in_file = "an image in memory carries no resolution", "no resolution in the file"
    for silent, said in (
        (image, f"image: {in_memory}"),
        (Image.fromarray(image), f"image: {in_memory}"),
        # Pillow keeps its dots, whatever is done to it.
        (Image.open(tmp_path / "said.png"), f"said.png: {in_memory}"),
        (tmp_path / "silent.png", f"silent.png: {in_file}"),
    ):
        with pytest.warns(UserWarning, match=f"{said}; taken to have {MPP:g} µm a pixel, as the model has"):
            np.testing.assert_array_equal(segmenter()(silent), expected)
        np.testing.assert_array_equal(segmenter()(silent, MPP), expected)


def test_a_model_of_another_resolution_than_the_usual() -> None:
    """What says nothing is taken at what the network sees, and not enlarged or reduced for it."""
    image = tissue(100, 120, 12)
    coarse = segmenter(network_mpp=2 * MPP)
    with pytest.warns(UserWarning, match=f"taken to have {2 * MPP:g} µm a pixel, as the model has"):
        np.testing.assert_array_equal(coarse(image), coarse(image, 2 * MPP))


def test_a_resolution_that_contradicts_the_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "said.png"
    Image.fromarray(tissue(100, 120, 12)).save(path, dpi=(25400 / MPP,) * 2)
    said = rf"said\.png: taken to have {2 * MPP:g} µm a pixel, as given, though .* {MPP:g}"
    with pytest.warns(UserWarning, match=said):
        segmenter()(path, 2 * MPP)
    segmenter()(path, 1.02 * MPP)


def test_names_cannot_break_or_colour_a_message(tmp_path: Path) -> None:
    path = tmp_path / "a\n\x1b[31mb.png"
    Image.fromarray(tissue(100, 120, 12)).save(path)
    shown = r"a\n\x1b[31mb.png"
    with pytest.warns(UserWarning, match="taken to have") as caught:
        segmenter()(path)
    assert [str(warning.message).partition(": ")[0] for warning in caught] == [str(tmp_path / shown)]
    path.write_bytes(b"")
    with pytest.raises(UserError) as raised:
        segmenter()(path)
    assert str(raised.value).startswith(f"{tmp_path / shown}: ") and str(raised.value).isprintable()


def test_arrays_of_other_kinds_that_cannot_be_mistaken() -> None:
    image = tissue(100, 120, 12)
    expected = segmenter()(image, MPP)
    for same in (jnp.asarray(image), image / 255, (image / 255).astype(np.float32)):
        np.testing.assert_array_equal(segmenter()(same, MPP), expected)


def test_sixteen_bits_are_converted_which_is_said(tmp_path: Path) -> None:
    image = tissue(100, 120, 12)
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(np.round(image / 255 * 4095).astype(np.uint16)))
    with pytest.raises(UserError, match=r"deep\.png: 16 bits .*white= in Python"):
        segmenter()(path, MPP)
    for deep in (path, Image.open(path)):
        with pytest.warns(UserWarning, match=r"deep\.png: 16 bits a channel, .* white is 4,095, as given"):
            found = segmenter()(deep, MPP, white=4095)
        np.testing.assert_array_equal(found, segmenter()(image, MPP))
    with pytest.raises(ValueError, match="an array is uint8, of which 255 is white"):
        segmenter()(image, MPP, white=4095)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 9, 9, 3), np.uint8, r"one image at a time, \[H, W, 3\], not a batch \[2, 9, 9, 3\]"),
        ((3, 9, 8), np.uint8, r"not \[3, H, W\]: got \[3, 9, 8\]. Move the colours"),
        ((9, 8), np.uint8, r"\[9, 8\], which is greyscale"),
        ((9, 8, 1), np.uint8, "greyscale"),
        ((9, 8, 4), np.uint8, "with transparency"),
        ((9, 8, 3), np.int64, r"uint8 \[H, W, 3\], got int64 \[9, 8, 3\]: .*image.astype\(np.uint8\)"),
        ((9, 8, 3), np.uint16, "got uint16 .*which value is white"),
        ((9, 8, 3), np.float32, "got float32 .*taken from 0 to 1, and these go from 200 to 200"),
    ],
)
def test_arrays_that_are_no_images(shape: tuple[int, ...], dtype: type, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmenter()(np.full(shape, 200, dtype), MPP)


def test_wrong_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, said in (
        ([[1]], "list: give several images one after"),
        (b"PNG", r"bytes: open them with PIL.Image.open\(io.BytesIO"),
        (None, "NoneType$"),
        (slide_of_array(tissue(100, 120, 12), MPP), r"an open slide: .* segmenter.stream\(slide\)"),
    ):
        with pytest.raises(TypeError, match=said):
            segmenter()(wrong)
    with pytest.raises(UserError, match="https:/a.b/c.png: is an address, and only OME-Zarr and TIFF"):
        segmenter()("https://a.b/c.png")
    with pytest.raises(ValueError, match="taken from 0 to 1, and these go from nan"):
        segmenter()(np.full((9, 8, 3), np.nan), MPP)
    with pytest.raises(UserError, match="none.png: no such file"):
        segmenter()(tmp_path / "none.png")
    with pytest.raises(UserError, match="image: is greyscale"):
        segmenter()(Image.new("L", (9, 9)), MPP)
    grey = np.repeat(np.random.default_rng(0).integers(20, 240, (40, 40, 1)).astype(np.uint8), 3, axis=2)
    for same in (grey, Image.fromarray(grey)):
        with pytest.raises(UserError, match=r"this array|image.*greyscale or fluorescence stored as RGB"):
            segmenter()(same, MPP)
    with pytest.raises(TypeError, match=r"without masked pixels is needed: fill them first"):
        segmenter()(np.ma.masked_array(grey, grey > 200), MPP)
    for wrong in ("0.25", True):
        with pytest.raises(
            UserError, match=rf"mpp = {wrong!r}: must be a number of µm a pixel, such as 0.25"
        ):
            segmenter()(Image.new("RGB", (9, 9)), wrong)
    with pytest.raises(UserError, match=r"white = 4095\.5: must be a whole number, such as 4095"):
        segmenter()(tmp_path / "none.png", MPP, white=4095.5)
    with pytest.raises(ValueError, match="an image of 5 × 0 pixels"):
        segmenter()(Image.new("RGB", (0, 5)), MPP)
    monkeypatch.setattr("nucseg_jax.inference.opened.LARGEST_PX", 99)
    with pytest.raises(UserError, match="10×10 pixels are too many for one label map"):
        segmenter()(np.zeros((10, 10, 3), np.uint8), MPP)
    with pytest.raises(UserError, match=r"--mpp 3"):
        segmenter()(np.zeros((10, 10, 3), np.uint8), mpp=3.0)
