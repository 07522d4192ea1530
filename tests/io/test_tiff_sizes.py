"""Sizes in a TIFF that a library of C would take memory for."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from nucseg_jax.io.tiff_sizes import check_memory

IMAGE = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)


def write(path: Path, *, bigtiff: bool, byteorder: str, tile: tuple[int, int] | None) -> Path:
    """Two images of one kind."""
    options = {"photometric": "rgb", "compression": "zlib", "metadata": None, "tile": tile}
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as writer:
        for image in (IMAGE, IMAGE[::2, ::2]):
            writer.write(image, rowsperstrip=None if tile else 16, **options)
    return path


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("page", [0, 1])
def test_sizes_in_every_layout(bigtiff: bool, byteorder: str, page: int, tmp_path: Path) -> None:
    for tile, tag, value, message in (
        ((32, 32), "TileLength", 2**28, "its tiles have 268,435,456 × 32 pixels"),
        ((32, 32), "TileByteCounts", 10**9, r"a tile has 1,000,000,000 bytes, the file [\d,]+"),
        (None, "StripByteCounts", 10**9, r"a strip has 1,000,000,000 bytes, the file [\d,]+"),
    ):
        path = write(tmp_path / "a.tif", bigtiff=bigtiff, byteorder=byteorder, tile=tile)
        check_memory(path)
        with tifffile.TiffFile(path, mode="r+b") as file:
            found = file.pages[page].tags[tag]
            count = found.count
            found.overwrite([value] * count if count > 1 else value, dtype="I")
        with pytest.raises(tifffile.TiffFileError, match=f"^{message}$"):
            check_memory(path)


@given(place=st.integers(0, 2**16), byte=st.integers(0, 255), cut=st.integers(0, 2**16))
def test_it_raises_nothing_else(
    place: int, byte: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.tif"
    content = bytearray(write(path, bigtiff=False, byteorder="<", tile=(32, 32)).read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content[: len(content) - cut % 200])
    try:
        check_memory(path)
    except tifffile.TiffFileError:
        pass


@pytest.mark.parametrize("content", [b"", b"II", b"II*\0", b"\x89PNG\r\n\x1a\n" + bytes(40), bytes(100)])
def test_what_is_no_tiff_passes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    check_memory(tmp_path / "a.tif")
