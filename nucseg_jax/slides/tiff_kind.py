"""What pixels a TIFF may have: RGB, a palette, or three channels that are red, green and blue."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile

from nucseg_jax.errors import DataError
from nucseg_jax.slides import channels, colours
from nucseg_jax.slides.tiff_level import TiffLevel

_KINDS = {"C": "channels", "Z": "focal planes", "T": "points in time"}
_GREY = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)

UNNAMED = "its three samples are taken to be red, green and blue, though the file does not say what they are"


def check(file: tifffile.TiffFile, levels: Sequence[TiffLevel], name: str) -> tuple[str, ...]:
    """Refuse pixels that H&E cannot be read from.

    Args:
      file: open.
      levels: of its first image; they get the order of its colours.
      name: of the file.

    Returns:
      Notes about what its colours were taken to be.

    Raises:
      DataError: it has other axes than those of one picture, or pixels of another kind.
    """
    series, level, page = file.series[0], levels[0], levels[0].page
    axes = {axis: size for axis, size in zip(series.axes, series.shape, strict=True) if size > 1}
    extra = {axis: size for axis, size in axes.items() if axis not in "YXS"}
    if extra and (extra != {"C": 3} or level.samples != 3):
        found = " and ".join(f"{size} {_KINDS.get(axis, 'images')}" for axis, size in extra.items())
        raise colours.refuse(name, f"a TIFF with {found}")
    notes: tuple[str, ...] = ()
    if page.photometric == tifffile.PHOTOMETRIC.MINISBLACK and level.samples == 3:
        notes = _channels(file, levels, name)
    elif page.photometric in _GREY:
        raise colours.refuse(name, "greyscale")
    elif not _is_coloured(page):
        raise _other_kind(page, name)
    # Of 4 bits and less, a palette alone has the colours in a table.
    whole = page.bitspersample in (8, 16) or page.photometric == tifffile.PHOTOMETRIC.PALETTE
    if not whole or page.dtype not in (np.uint8, np.uint16):
        raise _other_kind(page, name)
    return notes


def refuse_scanners(file: tifffile.TiffFile, name: str) -> None:
    """Refuse a scanner's file at an address, which OpenSlide reads, from disks alone."""
    if file.is_svs or file.is_scn or file.is_bif or file.is_ndpi or file.is_philips:
        raise DataError(
            f"{name}: is a scanner's slide, which OpenSlide reads, from a disk only. Download the file, and "
            "give its path"
        )


def _channels(file: tifffile.TiffFile, levels: Sequence[TiffLevel], name: str) -> tuple[str, ...]:
    """Set the order of three channels, or of three samples without colours; notes about that."""
    labels = (file.imagej_metadata or {}).get("Labels") or ()
    found = channels.of_ome(file.ome_metadata) if file.is_ome else channels.of_names(labels)
    order = found.order()
    if order is not None:
        for level in levels:
            level.order = order
        return ()
    if len(levels[0].planes) > 1 or not found.is_unnamed:
        known = str(found) or " that are not named Red, Green and Blue"
        raise colours.refuse(name, f"a TIFF with 3 channels{known}")
    return (UNNAMED,)


def _is_coloured(page: Any) -> bool:
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        return page.samplesperpixel == 1 and page.colormap is not None
    jpeg = page.compression in (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
    known = page.photometric == tifffile.PHOTOMETRIC.RGB or (
        page.photometric == tifffile.PHOTOMETRIC.YCBCR and jpeg
    )
    return known and page.samplesperpixel in (3, 4)


def _other_kind(page: Any, name: str) -> DataError:
    kind = getattr(page.photometric, "name", str(page.photometric))
    return colours.refuse(
        name, f"a TIFF of {page.samplesperpixel} × {page.bitspersample}-bit {page.dtype} {kind}"
    )
