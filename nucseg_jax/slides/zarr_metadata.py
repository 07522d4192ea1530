"""What OME-Zarr's metadata say (NGFF 0.4 and 0.5): the axes, the levels of a pyramid, their pixels' sizes.

https://ngff.openmicroscopy.org/0.5/ has the format. Metadata of both versions are alike; from 0.5 on they lie
under the key `ome`. What is refused is named with its value.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import DataError, in_short, listed
from nucseg_jax.slides import colours
from nucseg_jax.slides.channels import Channels, of_omero

VERSIONS = ("0.4", "0.5")

MARKERS = (".zattrs", ".zgroup", "zarr.json", ".zarray")
"""Files of which a folder of zarr has one."""

_REMEDY = "Export it again"

_NO_IMAGES = {
    "plate": ("a plate", "Give the folder of an image in it, such as A/1/0"),
    "well": ("a well of a plate", "Give the folder of an image in it, such as 0"),
    "image-label": ("a label map", "Give the folder of the image that it is of"),
}


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder of zarr, by its name or by what is in it."""
    if not path.is_dir():
        return False
    return path.suffix.lower() == ".zarr" or any((path / name).is_file() for name in MARKERS)


class Dataset(NamedTuple):
    """A level of a pyramid.

    Attributes:
      path: of its array, from the group of the image.
      scale: size of a pixel along each axis, in the units of the axes.
    """

    path: str
    scale: tuple[float, ...]


class ZarrImage(NamedTuple):
    """An image of OME-Zarr.

    Attributes:
      axes: names in the order of the arrays, such as "cyx"; letters other than x, y and c have one entry.
      units: of each axis; empty where the file does not say.
      datasets: the finest first.
      channels: what is said of them.
      others: further images of the group, which are left out.
    """

    axes: str
    units: tuple[str, ...]
    datasets: tuple[Dataset, ...]
    channels: Channels
    others: int


def ome_part(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of a group that are OME's."""
    ome = attributes.get("ome")
    return ome if isinstance(ome, dict) else attributes


def refuse_others(ome: Mapping[str, Any], name: str) -> None:
    """Refuse groups of OME-Zarr that hold no image: plates, wells and label maps."""
    for key, (what, remedy) in _NO_IMAGES.items():
        if key in ome:
            raise DataError(f"{name}: is {what} of OME-Zarr, not an image. {remedy}")


def image_of(ome: Mapping[str, Any], name: str) -> ZarrImage:
    """The first image of a group.

    Args:
      ome: its attributes, as `ome_part` gives them.
      name: of the folder, for messages.

    Raises:
      DataError: there is none, it is of another version, or its metadata are damaged or of no picture.
    """
    found = ome.get("multiscales")
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        raise _damaged(name, "multiscales", found)
    first = found[0]
    version = first.get("version", ome.get("version", "0.4"))
    if version not in VERSIONS:
        raise DataError(
            f"{name}: is OME-Zarr of version {in_short(repr(version), 40)}, and {' and '.join(VERSIONS)} are "
            f"read. {_REMEDY} in one of them"
        )
    axes, units = _axes(first.get("axes"), name)
    datasets = first.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise _damaged(name, "datasets", datasets)
    of_all = _scale(first.get("coordinateTransformations", []), len(axes), name)
    return ZarrImage(
        axes,
        units,
        tuple(_dataset(entry, of_all, len(axes), name) for entry in datasets),
        of_omero(ome.get("omero")),
        len(found) - 1,
    )


def check_shape(image: ZarrImage, shape: Sequence[int], name: str) -> None:
    """Refuse an array that is no picture of three channels."""
    if len(shape) != len(image.axes):
        raise _damaged(name, "axes", f"{image.axes} of an array {list(shape)}")
    sizes = dict(zip(image.axes, shape, strict=True))
    kinds = {"z": "focal planes", "t": "points in time"}
    if extra := [
        f"{n} {kinds.get(axis, 'images')}" for axis, n in sizes.items() if axis not in "cyx" and n != 1
    ]:
        raise colours.refuse(name, f"OME-Zarr with {' and '.join(extra)}")
    if sizes.get("c", 1) == 1:
        raise colours.refuse(name, "greyscale")
    if sizes["c"] != 3:
        raise colours.refuse(name, f"OME-Zarr with {sizes['c']} channels{image.channels}")
    if image.channels.order() is None and not image.channels.is_unnamed:
        raise colours.refuse(name, f"OME-Zarr with 3 channels{image.channels}")


def _axes(found: Any, name: str) -> tuple[str, tuple[str, ...]]:
    known = found if isinstance(found, list) else []
    entries = [e for e in known if isinstance(e, dict) and isinstance(e.get("name"), str)]
    names = [e["name"].lower() for e in entries]
    if len(entries) != len(known) or not {"x", "y"} <= set(names) or len(set(names)) < len(names):
        raise _damaged(name, "axes", found)
    if other := [n for n in names if n not in ("t", "c", "z", "y", "x")]:
        raise DataError(
            f"{name}: has the axes {listed(names)}, of which {listed(other)} are none of t, c, z, y and x. "
            f"{_REMEDY} with those alone"
        )
    return "".join(names), tuple(str(e.get("unit") or "") for e in entries)


def _dataset(entry: Any, of_all: Sequence[float], count: int, name: str) -> Dataset:
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str) or not path.strip("/") or {".", ".."} & set(path.split("/")):
        raise _damaged(name, "datasets", entry)
    scale = _scale(entry.get("coordinateTransformations"), count, name)
    return Dataset(path.strip("/"), tuple(a * b for a, b in zip(scale, of_all, strict=True)))


def _scale(found: Any, count: int, name: str) -> list[float]:
    """The product of all scales among transformations; translations only say that levels' pixels differ."""
    product = [1.0] * count
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise _damaged(name, "coordinateTransformations", found)
    for entry in found:
        if entry.get("type") != "scale":
            continue
        values = entry.get("scale")
        if not isinstance(values, list) or len(values) != count or not all(map(_is_size, values)):
            raise _damaged(name, "scale", values)
        product = [a * b for a, b in zip(product, values, strict=True)]
    return product


def _is_size(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _damaged(name: str, key: str, value: Any) -> DataError:
    said = f"no {key}" if value is None else f"{key}: {in_short(repr(value), 80)}"
    return DataError(f"{name}: its metadata are not those of an image of OME-Zarr ({said}). {_REMEDY}")
