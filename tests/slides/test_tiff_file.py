"""Tiled TIFFs: read piece by piece, by many threads; channels that are red, green and blue."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.slides import open_slide, read_image, tiff_kind
from nucseg_jax.slides.tiff_file import TiffReader
from tests.slides.pictures import opened, picture, tiled
from tests.slides.test_white import deep, tissue_and_glass

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


RGB = {"Name": ["Red", "Green", "Blue"], "Color": [-16776961, 16711935, 65535]}


def planes(path: Path, image: np.ndarray, *, levels: int = 1, channel: dict | None = None, **options) -> Path:
    """An OME-TIFF with a page a channel, as programs write it that know no RGB."""
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "Channel": channel or {}}
    options = {"photometric": "minisblack", "tile": (32, 48), **options}
    stack = np.moveaxis(image, 2, 0)
    with tifffile.TiffWriter(path) as writer:
        writer.write(stack, subifds=levels - 1, metadata=metadata, **options)
        for level in range(1, levels):
            small = np.moveaxis(np.asarray(Image.fromarray(image).reduce(2**level)), 2, 0)
            writer.write(small, subfiletype=1, **options)
    return path


@pytest.mark.parametrize("channel", [RGB, {"Name": RGB["Name"]}, {"Color": RGB["Color"]}])
def test_three_channels_that_are_red_green_and_blue_are_read(tmp_path: Path, channel: dict) -> None:
    path = planes(tmp_path / "a.ome.tif", picture(), levels=3, channel=channel, compression="zlib")
    with open_slide(path) as slide:
        assert slide.is_slide and slide.mpp == 0.5 and slide.notes == ()
        np.testing.assert_array_equal(slide.region(0, 0, 90, 130, 0.5), picture())
        half = np.asarray(Image.fromarray(picture()).reduce(2))
        np.testing.assert_array_equal(slide.region(0, 0, 45, 65, 1.0), half)


def test_channels_in_another_order_are_sorted_by_name(tmp_path: Path) -> None:
    image = np.ascontiguousarray(picture()[..., ::-1])
    path = planes(tmp_path / "a.ome.tif", image, channel={"Name": ["Blue", "Green", "Red"]})
    np.testing.assert_array_equal(opened(path), picture())


def test_a_stack_of_imagej_whose_slices_are_colours_is_read(tmp_path: Path) -> None:
    metadata = {"axes": "CYX", "Labels": ["Red", "Green", "Blue"], "unit": "um"}
    stack = np.moveaxis(picture(), 2, 0)
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(2, 2), metadata=metadata)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.mpp == pytest.approx(0.5)
    np.testing.assert_array_equal(opened(tmp_path / "a.tif"), picture())


def test_planes_of_sixteen_bits_follow_the_rules_of_white(tmp_path: Path) -> None:
    path = planes(tmp_path / "a.ome.tif", deep(tissue_and_glass(), 4095), channel=RGB)
    image = read_image(path)
    assert np.abs(image.pixels.astype(int) - tissue_and_glass()).max() <= 5
    assert "white is 4,095" in image.notes[0]


def test_three_samples_without_colours_are_taken_for_rgb_and_that_is_said(tmp_path: Path) -> None:
    options = {"photometric": "minisblack", "planarconfig": "separate", "metadata": {"axes": "CYX"}}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.moveaxis(picture(), 2, 0), **options)
    image = read_image(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(image.pixels, picture())
    assert image.notes == (tiff_kind.UNNAMED,)


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({"Name": ["DAPI", "FITC", "TRITC"]}, r" \(DAPI, FITC, TRITC\),"),
        ({**RGB, "Name": ["DAPI", "FITC", "TRITC"]}, r" \(DAPI, FITC, TRITC\),"),
        ({"Name": ["Red", "Green", "Red"]}, r" \(Red, Green, Red\),"),
        ({"Name": ["Channel 0", "1", ""]}, " that are not named Red, Green and Blue,"),
    ],
)
def test_other_channels_are_refused_by_their_names(tmp_path: Path, channel: dict, said: str) -> None:
    path = planes(tmp_path / "a.ome.tif", picture(), channel=channel)
    with pytest.raises(
        DataError, match=rf"a\.ome\.tif: is a TIFF with 3 channels{said} but networks for H&E"
    ):
        open_slide(path)


def test_a_plane_that_is_cut_off_is_damage(tmp_path: Path) -> None:
    path = planes(tmp_path / "a.ome.tif", picture(), channel=RGB)
    with tifffile.TiffFile(path) as file:
        tag = file.pages[2].aspage().tags["TileOffsets"]
        place, size = tag.valueoffset, path.stat().st_size
    with path.open("r+b") as file:
        file.seek(place)
        file.write((size - 9).to_bytes(4, "little"))
    with pytest.raises(DataError, match=r"a\.ome\.tif: cannot be read as a TIFF \(.*it ends at byte"):
        open_slide(path)
