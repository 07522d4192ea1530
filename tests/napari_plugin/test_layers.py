"""What image layers hold, and which are refused."""

from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from nucseg_jax import UserError

napari_layers = pytest.importorskip(
    "napari.layers", reason="the extra `napari` is not installed: make napari"
)
layers = pytest.importorskip("nucseg_jax.napari_plugin.layers")

RGB = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.mark.parametrize(
    "placed",
    [
        {"scale": (0.25, 0.25), "units": "um"},
        {"scale": (250, 250), "units": "nm"},
        {"scale": (0.25, 0.00025), "units": ("um", "mm")},
        {"scale": (0.25, 0.25), "units": "um", "rotate": 30, "translate": (7, 8)},
        {"scale": (0.125, 0.125), "units": "um", "affine": np.diag([2, 2, 1])},
    ],
)
def test_the_resolution_is_what_scale_and_units_say(placed: dict[str, Any]) -> None:
    assert layers.microns_a_pixel(_image(RGB, **placed)) == 0.25


@pytest.mark.parametrize(
    ("placed", "said"),
    [
        ({}, r"skin: does not say its µm a pixel: its scale, 1 × 1, has no unit of length"),
        ({"scale": (0.5, 0.5)}, r"its scale, 0.5 × 0.5, has no unit of length. Type in the number"),
        ({"scale": (0.5, 0.5), "units": ("s", "um")}, "has no unit of length"),
        ({"scale": (0.25, 0.5), "units": "um"}, r"its pixels are not square \(0.5 × 0.25 µm\)"),
        ({"scale": (0.5, 0.5), "units": "um", "shear": [1]}, "its pixels are not square"),
        ({"scale": (5, 5), "units": "um"}, "skin: its resolution 5: is not within 0.05 … 1 µm a pixel"),
    ],
)
def test_a_resolution_that_cannot_be(placed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        layers.microns_a_pixel(_image(RGB, **placed))
    assert "\n" not in str(refused.value)


def test_layers_that_are_refused() -> None:
    stack = np.zeros((2, 40, 50, 3), np.uint8)
    for layer, said in (
        (None, "^no layer is chosen"),
        (
            napari_layers.Labels(np.zeros((4, 4), int), name="skin"),
            "^skin: is no image. Choose an image layer",
        ),
        (_image(RGB[..., 0]), "^skin: has one colour channel"),
        (_image(stack), "^skin: has 3 dimensions"),
        (_image([RGB, RGB[::2, ::2]], multiscale=True), "^skin: has several levels of resolution"),
    ):
        with pytest.raises(UserError, match=said):
            layers.image_layer(layer)
    layer = _image(RGB)
    assert layers.image_layer(layer) is layer


def test_the_pixels_of_arrays_in_memory_and_of_dask() -> None:
    dask = pytest.importorskip("dask.array")
    np.testing.assert_array_equal(layers.pixels(_image(RGB)), RGB)
    np.testing.assert_array_equal(layers.pixels(_image(dask.from_array(RGB, chunks=16))), RGB)


def test_transparency_is_pillows() -> None:
    transparent = np.concatenate([RGB, np.full((40, 50, 1), 255, np.uint8)], axis=2)
    image = layers.pixels(_image(transparent))
    assert isinstance(image, Pillow.Image) and image.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(image), transparent)
    with pytest.raises(UserError, match="skin: is RGBA of float64. Give uint8, or RGB"):
        layers.pixels(_image(transparent / 255))


def test_a_layer_of_the_same_pixels_lies_on_it() -> None:
    placed = {"scale": (0.5, 0.5), "translate": (3, 4), "rotate": 20, "affine": np.diag([2, 3, 1])}
    image = _image(RGB, units="um", axis_labels=("y", "x"), **placed)
    labels = napari_layers.Labels(np.zeros((40, 50), np.int32), **layers.placement(image))
    for point in ((0, 0), (40, 0), (0, 50)):
        np.testing.assert_allclose(labels.data_to_world(point), image.data_to_world(point))
    assert labels.units == image.units and labels.axis_labels == ("y", "x")


def _image(data: Any, **options: Any) -> Any:
    return napari_layers.Image(data, name="skin", **options)
