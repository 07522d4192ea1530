"""What arrays must be to be scored: label maps, masks, all of one shape."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nucseg_jax.errors import in_short


def check_label_map(name: str, label_map: ArrayLike) -> NDArray[np.integer]:
    """A label map as NumPy's array; raises a ValueError, which calls the map `name`, if it is none.

    A label map is an array `[H, W]` of integers that are not negative: of NumPy, of a library whose arrays
    become NumPy's (JAX, PyTorch on a CPU), or nested lists. Boolean masks do not pass: read as labels, all
    their nuclei would be one.
    """
    array = as_array(name, label_map)
    if array.ndim != 2:
        hint = ". Score one image at a time" if array.ndim in (3, 4) else ""
        raise ValueError(f"{name} must be a label map [H, W], got shape {array.shape}{hint}")
    if not np.issubdtype(array.dtype, np.integer):
        hint = "; label its components first" if array.dtype == bool else ""
        raise ValueError(f"{name} must hold integer ids, got {array.dtype}{hint}")
    if array.size and array.min() < 0:
        raise ValueError(f"{name} must not hold negative ids, got {array.min()}")
    return array


def as_array(name: str, values: ArrayLike, of: str = "integers") -> NDArray:
    """NumPy's array of an array or of nested lists; a ValueError, which calls it `name`, for the rest."""
    is_array = hasattr(values, "__array__") or hasattr(values, "__array_interface__")  # Pillow has the latter
    if not (is_array or isinstance(values, (list, tuple))):
        found = f"{type(values).__name__}: {in_short(repr(values))}"
        raise ValueError(f"{name} must be an array [H, W] of {of}, got {found}")
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError(f"{name} has masked pixels: fill them first, with {name}.filled(0)")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, tensors on a GPU
        raise ValueError(
            f"{name} must be an array [H, W] of {of}; this {type(values).__name__} cannot become one "
            f"({in_short(error)})"
        ) from error


def check_same_shape(truth: NDArray, prediction: NDArray) -> None:
    if truth.shape != prediction.shape:
        raise ValueError(f"truth and prediction differ in shape: {truth.shape} and {prediction.shape}")


def check_ignore(ignore: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """A mask as NumPy's array; raises a ValueError unless it is boolean and of the label maps' shape."""
    array = as_array("ignore", ignore, of="booleans")
    if array.dtype != bool:
        raise ValueError(f"ignore must be boolean, True where a pixel does not count, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"ignore and the label maps differ in shape: {array.shape} and {shape}")
    return array
