"""Label maps: pyramids of slides, arrays of images."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax import label_maps
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.export import label_map, tiles
from nucseg_jax.export.tiles import TILE_PX, TileStore
from nucseg_jax.nuclei import Frame, Nucleus
from tests.test_export_nuclei import FRAME, SHAPES, label_map_of, leftovers, many, mask_of, nuclei_of
from tests.test_nuclei import sampled

NUCLEI = nuclei_of([mask_of(name) for name in SHAPES])
LARGE = Frame((1500, 2100), 0.5, 0.5)


def write(path, nuclei, frame):
    with label_map(path, frame) as sink:
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


@pytest.mark.parametrize("order", ["as found", "at random", "backwards"])
def test_memory_is_bounded_in_any_order(tmp_path, monkeypatch, order):
    """Little may wait, so that tiles are written and read back many times."""
    most = 40_000
    monkeypatch.setattr(tiles, "_MOST_WAITING_BYTES", most)
    nuclei = sorted(many(2000, LARGE), key=lambda nucleus: nucleus.top)
    if order == "at random":
        nuclei = [nuclei[i] for i in np.random.default_rng(0).permutation(len(nuclei))]
    elif order == "backwards":
        nuclei.reverse()
    waiting = []
    paint = TileStore.paint

    def watched(self, *arguments):
        paint(self, *arguments)
        waiting.append(self._waiting_bytes)
        assert self._waiting_bytes == sum(part.bytes for parts in self._waiting.values() for part in parts)

    monkeypatch.setattr(TileStore, "paint", watched)
    write(tmp_path / "a.ome.tif", nuclei, LARGE)
    check_pyramid(tmp_path / "a.ome.tif", nuclei, LARGE)
    assert max(waiting) <= most


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
