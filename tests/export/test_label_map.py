"""Label maps: pyramids of slides, arrays of images."""

import io
import tempfile
import xml.etree.ElementTree as ElementTree
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.errors import DataError, UserError
from nucseg_jax.export import Limits, label_map
from nucseg_jax.export.canvas import Canvas
from nucseg_jax.export.label_pyramid import TILE_PX, LabelPyramid
from nucseg_jax.io import label_maps
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import (
    FRAME,
    SHAPES,
    label_map_of,
    leftovers,
    many,
    mask_of,
    nuclei_of,
    sampled,
)

NUCLEI = nuclei_of([mask_of(name) for name in SHAPES])
LARGE = Frame((1500, 2100), 0.5, 0.5)


def write(path, nuclei, frame, **options):
    with label_map(path, frame, **options) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)


def check_pyramid(path, nuclei, frame):
    truth = label_map_of(nuclei, frame)
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        for level, found in enumerate(series.levels):
            np.testing.assert_array_equal(found.asarray(), truth[:: 2**level, :: 2**level])
    return truth


def test_pyramid(tmp_path):
    nuclei = many(3000, LARGE)
    path = tmp_path / "labels.ome.tif"
    write(path, nuclei, LARGE)
    assert leftovers(tmp_path) == ["labels.ome.tif"]
    check_pyramid(path, nuclei, LARGE)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome and file.is_bigtiff and len(file.pages) == 1
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(1500, 2100), (750, 1050), (375, 525), (188, 263)]
        for index, level in enumerate(levels):
            page = level.pages[0]
            assert level.dtype == np.int32
            assert page.is_tiled and page.tile == (TILE_PX, TILE_PX)
            assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
            assert page.tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
            pixels, cm = page.tags["XResolution"].value
            assert pixels / cm == pytest.approx(10_000 / (0.5 * 2**index))
        assert all(page.is_reduced for page in file.pages[0].pages)


def test_ome_metadata(tmp_path):
    write(tmp_path / "labels.ome.tif", NUCLEI, FRAME)
    with tifffile.TiffFile(tmp_path / "labels.ome.tif") as file:
        tree = ElementTree.parse(io.StringIO(file.ome_metadata.partition("?>")[2]))
    pixels = tree.find(".//{*}Pixels")
    expected = {
        "SizeX": "400",
        "SizeY": "300",
        "Type": "int32",
        "PhysicalSizeX": "0.25",
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": "0.25",
        "PhysicalSizeYUnit": "µm",
    }
    assert expected.items() <= pixels.attrib.items()


def in_order(nuclei, order):
    """Row by row, as a slide's come; backwards; or at random."""
    nuclei = sorted(nuclei, key=lambda nucleus: nucleus.top)
    if order == "at random":
        return [nuclei[i] for i in np.random.default_rng(0).permutation(len(nuclei))]
    return nuclei[::-1] if order == "backwards" else nuclei


def tiles_of(labels):
    """A label map cut into tiles, row by row."""
    rows, columns = (-(-side // TILE_PX) for side in labels.shape)
    padded = np.zeros((rows * TILE_PX, columns * TILE_PX), np.int32)
    padded[: labels.shape[0], : labels.shape[1]] = labels
    return padded.reshape(rows, TILE_PX, columns, TILE_PX).swapaxes(1, 2).reshape(-1, TILE_PX, TILE_PX)


@pytest.mark.parametrize("order", ["as found", "at random", "backwards"])
def test_memory_is_bounded_in_any_order(order):
    """Little may wait, so that tiles are written and read back many times."""
    nuclei, most = in_order(many(2000, LARGE), order), 40_000
    with tempfile.TemporaryFile() as scratch:
        pyramid = LabelPyramid(LARGE.size, scratch, most_waiting_bytes=most)
        waiting = []
        for nucleus in nuclei:
            runs = Canvas([nucleus], LARGE).runs
            pyramid.paint(runs.y, runs.start, runs.stop, np.full(len(runs.y), nucleus.id))
            waiting.append(pyramid.waiting_bytes)
        assert most / 2 < max(waiting) <= most
        truth = label_map_of(nuclei, LARGE)
        for level, shape in enumerate(pyramid.levels()):
            expected = tiles_of(truth[:: 2**level, :: 2**level])
            assert truth[:: 2**level, :: 2**level].shape == shape
            for tile, data in zip(expected, pyramid.compressed(level), strict=True):
                found = np.frombuffer(zlib.decompress(data), "<i4").reshape(TILE_PX, TILE_PX)
                np.testing.assert_array_equal(found, tile)
        assert pyramid.waiting_bytes == 0


def test_a_file_whose_memory_is_bounded(tmp_path):
    nuclei = in_order(many(1000, LARGE), "at random")
    write(tmp_path / "a.ome.tif", nuclei, LARGE, limits=Limits(nuclei=100, label_bytes=40_000))
    check_pyramid(tmp_path / "a.ome.tif", nuclei, LARGE)


def test_a_nucleus_over_many_tiles(tmp_path):
    mask = np.zeros((1400, 1200), dtype=bool)
    mask[:, :5] = mask[700, :] = mask[:, -5:] = True
    mask[0, :] = mask[-1, :] = True
    nuclei = [Nucleus(2_000_000_000, 50, 700, mask, 0.5)]
    write(tmp_path / "a.ome.tif", nuclei, LARGE)
    check_pyramid(tmp_path / "a.ome.tif", nuclei, LARGE)


@pytest.mark.parametrize("shape", [(1, 1), (512, 512), (513, 512), (30, 1100), (1025, 700)])
def test_sizes_around_whole_tiles(tmp_path, shape):
    frame = Frame(shape, 0.25, 0.25)
    nuclei = [Nucleus(3, shape[0] - 1, shape[1] - 1, np.ones((1, 1), bool), 0.5)]
    write(tmp_path / "a.ome.tif", nuclei, frame)
    check_pyramid(tmp_path / "a.ome.tif", nuclei, frame)


def test_no_nuclei(tmp_path):
    write(tmp_path / "a.ome.tif", [], LARGE)
    check_pyramid(tmp_path / "a.ome.tif", [], LARGE)


@pytest.mark.parametrize("name", ["labels.tif", "labels.TIFF", "labels.png"])
def test_image(tmp_path, name):
    """What `label_maps.read_label_map` reads."""
    write(tmp_path / name, NUCLEI, FRAME)
    found = label_maps.read_label_map(tmp_path / name, FRAME.network_size)
    np.testing.assert_array_equal(found, label_map_of(NUCLEI, FRAME))
    assert leftovers(tmp_path) == [name]


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.png"])
@pytest.mark.parametrize("mpp", [0.25 * 1024 / 1000, 0.5, 0.11])
def test_pixels_are_those_of_the_slide(tmp_path, name, mpp):
    frame = Frame((600, 700), mpp, 0.25)
    nuclei = many(40, frame)
    write(tmp_path / name, nuclei, frame)
    found = np.asarray(
        Image.open(tmp_path / name) if name.endswith("png") else tifffile.imread(tmp_path / name)
    )
    assert found.shape == frame.size
    np.testing.assert_array_equal(found, sampled(frame, label_map_of(nuclei, frame)))
    if not name.endswith("png"):
        with tifffile.TiffFile(tmp_path / name) as file:
            pixels, cm = file.pages[0].tags["XResolution"].value
        assert pixels / cm == pytest.approx(10_000 / mpp, rel=1e-6)


def test_image_tiff_is_int32_with_a_resolution(tmp_path):
    write(tmp_path / "a.tif", NUCLEI, FRAME)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages[0]
        assert page.dtype == np.int32
        assert page.tags["XResolution"].value[0] / page.tags["XResolution"].value[1] == 40_000


def test_png_refuses_what_it_cannot_hold(tmp_path):
    nuclei = [Nucleus(65_536, 0, 0, np.ones((2, 2), bool), 0.5)]
    with pytest.raises(DataError, match=r"a\.png.*65536.*\.tif"):
        write(tmp_path / "a.png", nuclei, FRAME)
    assert leftovers(tmp_path) == []


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.jpg.*'\.jpg'"):
        label_map(tmp_path / "a.jpg", FRAME)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif", "a.png"])
def test_a_block_that_raises_leaves_nothing(tmp_path, name):
    with pytest.raises(RuntimeError), label_map(tmp_path / name, FRAME) as sink:
        sink.add(NUCLEI[0])
        raise RuntimeError
    assert leftovers(tmp_path) == []
