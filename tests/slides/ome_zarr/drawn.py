"""OME-Zarr of any kind, drawn with zarr alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from PIL import Image

TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
RGB = [
    {"label": name, "color": c} for name, c in (("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF"))
]


def metadata(
    axes: str = "cyx", *, version: str = "0.5", levels: int = 1, um: float = 0.5, unit: str = "micrometer"
) -> dict[str, Any]:
    """Attributes of the group of an image, each level half of the one before; without `ome` around them."""
    described: list[dict[str, Any]] = [{"name": axis, "type": TYPES[axis]} for axis in axes]
    for axis in described:
        if axis["type"] == "space" and unit:
            axis["unit"] = unit
    datasets = []
    for level in range(levels):
        scale = [um * 2**level if axis in "yx" else 1.0 for axis in axes]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    return {"version": version, "multiscales": [{"axes": described, "datasets": datasets}]}


def write(
    path: Path,
    image: NDArray[Any],
    axes: str = "cyx",
    *,
    version: str = "0.5",
    levels: int = 1,
    chunk: int = 32,
    more: Mapping[str, Any] | None = None,
    **options: Any,
) -> Path:
    """An image [H, W, channels] of uint8 or uint16.

    Args:
      path: of the folder.
      image: of which coarser levels take every second pixel, or are scaled if it is uint8 RGB.
      axes: of the arrays.
      version: of NGFF.
      levels: of the pyramid.
      chunk: side of a chunk, which has one channel.
      more: attributes beside those of `metadata`.
      **options: of `metadata`, or of zarr's `create_array`.
    """
    described = {key: options.pop(key) for key in ("um", "unit") if key in options}
    said = {**metadata(axes, version=version, levels=levels, **described), **(more or {})}
    old = version == "0.4"
    group = zarr.create_group(
        path, zarr_format=2 if old else 3, attributes=said if old else {"ome": said}, overwrite=True
    )
    for level in range(levels):
        small = image
        if level:
            small = (
                np.asarray(Image.fromarray(image).reduce(2**level))
                if image.dtype == np.uint8
                else image[:: 2**level, :: 2**level]
            )
        shaped = small.transpose(["yxc".index(axis) for axis in axes if axis in "yxc"])
        shaped = shaped.reshape([1 if a in "tz" else small.shape["yxc".index(a)] for a in axes])
        chunks = tuple(chunk if axis in "yx" else 1 for axis in axes)
        keys = {"chunk_key_encoding": {"name": "v2", "separator": "/"}} if old else {}
        group.create_array(str(level), data=shaped, chunks=chunks, **keys, **options)
    return path
