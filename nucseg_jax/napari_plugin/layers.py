"""What an image layer of napari holds, for the engine: its pixels, its resolution, where it lies."""

from typing import Any

import numpy as np
from napari.layers import Image, Layer
from numpy.typing import NDArray
from PIL import Image as Pillow

from nucseg_jax.errors import UserError
from nucseg_jax.slides.resolution import are_same, check_given

_SQUARE = 0.05  # of the cosine between rows and columns: pixels that are sheared by less count as square
_DIGITS = 9  # of µm: those after them are of the computation


def image_layer(layer: Layer | None) -> Image:
    """The layer, if nuclei can be looked for on it.

    Args:
      layer: the active one; None where there is none.

    Raises:
      UserError: there is none, or it is no single RGB or RGBA image; the message names it.
    """
    if layer is None:
        raise UserError("no layer is chosen, or several are: choose one image layer")
    if not isinstance(layer, Image):
        raise UserError(f"{layer.name}: is no image. Choose an image layer")
    if not layer.rgb:
        raise UserError(
            f"{layer.name}: has one colour channel, and an image of H&E is RGB. Open it as RGB, or choose "
            "its three channels and Merge to RGB"
        )
    if layer.multiscale:
        raise UserError(
            f"{layer.name}: has several levels of resolution. Add one of them as a layer of its own, or give "
            "the file to nucseg predict"
        )
    if layer.ndim != 2:
        raise UserError(
            f"{layer.name}: has {layer.ndim} dimensions. Add one plane of it as a layer of its own"
        )
    return layer


def pixels(layer: Image) -> NDArray[Any] | Pillow.Image:
    """The pixels of a layer that `image_layer` takes.

    Returns:
      What a `Segmenter` takes: an array [H, W, 3], or an image of Pillow where there is transparency.

    Raises:
      UserError: it is RGBA, but not uint8.
    """
    array = np.asarray(layer.data)  # Dask computes here
    if array.shape[2] == 3:
        return array
    if array.dtype != np.uint8:
        raise UserError(f"{layer.name}: is RGBA of {array.dtype}. Give uint8, or RGB")
    return Pillow.fromarray(array)


def microns_a_pixel(layer: Image) -> float:
    """µm a pixel of a layer, by its scale and units, and all else that places it.

    Raises:
      UserError: its units are no lengths; its pixels are not square; or no nuclei can be seen at it.
    """
    if not all(unit.is_compatible_with("um") for unit in layer.units):
        scale = " × ".join(f"{side:g}" for side in layer.scale)
        raise UserError(
            f"{layer.name}: does not say its µm a pixel: its scale, {scale}, has no unit of length. Type in "
            "the number, or choose the model's own"
        )
    um = np.array([(1.0 * unit).to("um").magnitude for unit in layer.units])
    origin = np.array(layer.data_to_world((0, 0)))
    down, across = ((np.array(layer.data_to_world(step)) - origin) * um for step in ((1, 0), (0, 1)))
    height, width = (float(np.linalg.norm(side)) for side in (down, across))
    if not are_same(width, height) or abs(down @ across) > _SQUARE * width * height:
        raise UserError(
            f"{layer.name}: its pixels are not square ({width:g} × {height:g} µm). Resample the image first; "
            "or, if its scale is wrong, type in the right number"
        )
    mpp = round((width * height) ** 0.5, _DIGITS)
    return check_given(mpp, f"{layer.name}: its resolution")


def placement(layer: Image) -> dict[str, Any]:
    """What lays another layer of the same pixels onto this one, as arguments of napari's `add_…`."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine.affine_matrix,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }
