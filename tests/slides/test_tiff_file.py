"""Tiled TIFFs: read piece by piece, by many threads."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide
from nucseg_jax.slides.tiff_file import TiffReader
from tests.slides.pictures import picture, tiled

PIECE_BYTES = 32 * 48 * 3


def damage(path: Path, *pieces: int) -> None:
    """Overwrite some pieces of a TIFF, so that decoding them fails."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        places = [(page.dataoffsets[i], page.databytecounts[i]) for i in pieces]
    with path.open("r+b") as file:
        for offset, length in places:
            file.seek(offset)
            file.write(bytes(length))


def test_large_tiffs_are_read_piece_by_piece(tmp_path: Path) -> None:
    """What needs one piece comes out right though all others are damaged."""
    image = picture(320, 480)
    path = tiled(tmp_path / "a.tif", image, compression="zlib")  # 10 × 10 pieces
    with closing(TiffReader(path)) as reader:
        damage(path, *(i for i in range(100) if i != 11))
        np.testing.assert_array_equal(reader.read(0, 40, 60, 10, 10), image[40:50, 60:70])
        with pytest.raises(DataError, match="cannot be read as a TIFF"):
            reader.read(0, 270, 60, 10, 10)


@pytest.mark.parametrize("kept", [1, 2])
def test_the_last_pieces_of_a_tiff_are_kept(tmp_path: Path, kept: int) -> None:
    image = picture(320, 480)
    path = tiled(tmp_path / "a.tif", image, compression="zlib")
    with closing(TiffReader(path, cache_bytes=kept * PIECE_BYTES)) as reader:
        reader.read(0, 40, 60, 10, 10)
        reader.read(0, 270, 60, 10, 10)
        damage(path, *range(100))
        np.testing.assert_array_equal(reader.read(0, 276, 65, 10, 10), image[276:286, 65:75])
        if kept == 2:
            np.testing.assert_array_equal(reader.read(0, 41, 61, 10, 10), image[41:51, 61:71])
        else:
            with pytest.raises(DataError, match="cannot be read as a TIFF"):
                reader.read(0, 41, 61, 10, 10)


def test_many_threads_read_the_same_file(tmp_path: Path) -> None:
    image = picture(320, 480)
    barrier = threading.Barrier(4)
    with open_slide(tiled(tmp_path / "a.tif", image, compression="zlib")) as slide:

        def read(k: int) -> bool:
            if k < 4:
                barrier.wait()
            top, left = (37 * k) % 300, (91 * k) % 460
            return np.array_equal(
                slide.region(top, left, 20, 20, 0.5), image[top : top + 20, left : left + 20]
            )

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(60)))
