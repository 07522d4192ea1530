"""The overlay and the density map."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.drawing import PREDICTION
from nucseg_jax.export import density
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.density import CELL_UM, DensityMap
from nucseg_jax.export.overlay import Coverage, Grid, Overlay
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, label_map_of, leftovers, many
from tests.small_disk import run_on_small_disk

TISSUE = (200, 150, 180)


def overlay(path, nuclei, thumbnail, frame=FRAME):
    with Overlay(path, frame, thumbnail=thumbnail) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    with Image.open(path) as image:
        return np.asarray(image)


def plain(height, width):
    return np.full((height, width, 3), TISSUE, dtype=np.uint8)


def test_outlines_at_full_resolution(tmp_path):
    nuclei = [
        Nucleus(1, 20, 30, np.ones((10, 12), bool), 0.5),
        Nucleus(2, 20, 42, np.ones((10, 9), bool), 0.5),
    ]
    thumbnail = plain(300, 400)
    drawn = overlay(tmp_path / "a.png", nuclei, thumbnail)
    expected = thumbnail.copy()
    expected[20:30, 30:51] = PREDICTION
    expected[21:29, 31:41] = expected[21:29, 43:50] = TISSUE
    np.testing.assert_array_equal(drawn, expected)
    assert leftovers(tmp_path) == ["a.png"]
    assert (thumbnail == TISSUE).all()


def test_small_nuclei_are_filled_by_how_much_they_cover(tmp_path):
    """Four network pixels a thumbnail pixel: a nucleus of 8 by 8 has no inside."""
    nuclei = [
        Nucleus(1, 40, 80, np.ones((8, 8), bool), 0.5),
        Nucleus(2, 102, 201, np.ones((4, 4), bool), 0.5),
    ]
    drawn = overlay(tmp_path / "a.png", nuclei, plain(75, 100)).astype(int)
    alpha = (drawn[..., 0] - TISSUE[0]) / (PREDICTION[0] - TISSUE[0])
    expected = np.zeros((75, 100))
    expected[10:12, 20:22] = 1
    expected[25:27, 50:52] = np.outer([0.5, 0.5], [0.75, 0.25])
    np.testing.assert_allclose(alpha, expected, atol=0.01)


def test_a_thumbnail_finer_than_the_network_is_made_coarser(tmp_path):
    nuclei = [Nucleus(1, 20, 30, np.ones((10, 12), bool), 0.5)]
    fine = overlay(tmp_path / "a.png", nuclei, plain(600, 800), Frame((600, 800), 0.125, 0.25))
    np.testing.assert_array_equal(fine, overlay(tmp_path / "b.png", nuclei, plain(300, 400)))


@pytest.mark.parametrize("thumbnail", [np.zeros((3, 3), np.uint8), np.zeros((3, 3, 3), np.float32)])
def test_what_is_no_thumbnail_is_refused(tmp_path, thumbnail):
    with pytest.raises(ValueError, match="uint8"):
        Overlay(tmp_path / "a.png", FRAME, thumbnail=thumbnail)


@pytest.mark.parametrize("coarse", [(300, 400), (100, 200), (37, 61), (1, 1)])
def test_coverage_is_the_mean_of_the_pixels(coarse):
    nuclei = many(120, FRAME)
    grid = Grid(FRAME.network_size, coarse)
    coverage = Coverage(grid)
    coverage.add(grid.changes(Batch(nuclei, FRAME).canvas.runs))
    truth = label_map_of(nuclei, FRAME) > 0
    # Every coarse pixel as many fine ones that divide both grids.
    repeat = [np.lcm(fine, few) for fine, few in zip(truth.shape, coarse, strict=True)]
    rows = np.arange(repeat[0]) * truth.shape[0] // repeat[0]
    expected = np.add.reduceat(
        truth[rows], np.arange(0, repeat[0], repeat[0] // coarse[0]), axis=0, dtype=float
    )
    columns = np.arange(repeat[1]) * truth.shape[1] // repeat[1]
    starts = np.arange(0, repeat[1], repeat[1] // coarse[1])
    expected = np.add.reduceat(expected[:, columns], starts, axis=1)
    expected /= (repeat[0] // coarse[0]) * (repeat[1] // coarse[1])
    np.testing.assert_allclose(coverage.total(), expected, atol=2e-5)


def density_of(tmp_path, nuclei, frame, tissue=None):
    with DensityMap(tmp_path / "d.tif", tmp_path / "d.png", frame, tissue=tissue) as sink:
        for nucleus in nuclei:
            sink.add(nucleus)
    assert leftovers(tmp_path) == ["d.png", "d.tif"]
    return tifffile.imread(tmp_path / "d.tif")


def regular(frame, pitch):
    height, width = frame.network_size
    places = [(y, x) for y in range(2, height - 4, pitch) for x in range(2, width - 4, pitch)]
    return [Nucleus(i + 1, *place, np.ones((4, 4), bool), 0.5) for i, place in enumerate(places)]


def test_density_is_even_up_to_the_edge(tmp_path):
    """A nucleus every 10 µm: 10,000 per mm², on a slide that ends within a square."""
    frame = Frame((1840, 2240), 0.25, 0.25)
    found = density_of(tmp_path, regular(frame, 40), frame)
    assert found.shape == (10, 12)
    np.testing.assert_allclose(found, 10_000, rtol=0.001)


def test_density_is_of_the_tissue(tmp_path):
    """All nuclei are in the left half, which is all the tissue: as dense as a full slide."""
    frame = Frame((1600, 1600), 0.25, 0.25)
    nuclei = [n for n in regular(frame, 40) if n.left < 800]
    tissue = np.zeros((16, 16), dtype=bool)
    tissue[:, :8] = True
    found = density_of(tmp_path, nuclei, frame, tissue)
    np.testing.assert_allclose(found[:, :4], 10_000, rtol=0.001)
    assert np.isnan(found[:, 4:]).all()


def test_density_without_nuclei_or_tissue(tmp_path):
    frame = Frame((800, 800), 0.25, 0.25)
    assert (density_of(tmp_path, [], frame) == 0).all()
    assert np.isnan(density_of(tmp_path, [], frame, np.zeros((3, 3), bool))).all()


def test_density_tiff_says_the_size_of_its_squares(tmp_path):
    density_of(tmp_path, [], FRAME)
    with tifffile.TiffFile(tmp_path / "d.tif") as file:
        page = file.pages[0]
        pixels, cm = page.tags["XResolution"].value
        assert cm / pixels * 10_000 == pytest.approx(CELL_UM)
        assert "square millimetre" in page.description


def test_density_picture(tmp_path):
    frame = Frame((1600, 3200), 0.25, 0.25)
    tissue = np.ones((8, 16), dtype=bool)
    tissue[:, 8:] = False
    density_of(tmp_path, regular(frame, 40), frame, tissue)
    with Image.open(tmp_path / "d.png") as image:
        picture = np.asarray(image)
    heat = picture[38 : 38 + 8 * 48, 16 : 16 + 16 * 48]
    assert (heat[:, : 8 * 48] == density.COLOURS[-1]).all()  # 10,000 is the end of the scale
    assert (heat[:, 8 * 48 :] == density.NO_TISSUE).all()


@pytest.mark.parametrize(
    ("largest", "top"), [(0, 100), (100, 100), (101, 150), (5039, 6000), (8001, 10_000), (12_345, 15_000)]
)
def test_scale_ends_at_a_round_number(largest, top):
    assert density.nice_top(largest) == top


@pytest.mark.parametrize("shape", [(1, 1), (1, 2000), (3, 3), (1600, 10)])
def test_pictures_of_any_size(shape):
    picture = density.draw(np.ones(shape, dtype=np.float32), extent=(shape[0] - 0.7, shape[1] - 0.3))
    assert max(picture.size) < 1800


def test_tissue_must_be_a_mask(tmp_path):
    with pytest.raises(ValueError, match="tissue must be bool"):
        DensityMap(tmp_path / "d.tif", tmp_path / "d.png", FRAME, tissue=np.ones((2, 2)))


ON_FULL_DISK = """
import sys
from pathlib import Path
import numpy as np
from nucseg_jax.errors import DiskFullError
from nucseg_jax.export.density import DensityMap
from nucseg_jax.export.label_map import label_map
from nucseg_jax.export.overlay import Overlay
from nucseg_jax.nuclei import Frame, Nucleus
folder = Path(sys.argv[1])
slide, image = Frame((60_000, 60_000), 0.25, 0.25), Frame((200, 200), 0.25, 0.25)
noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)

def mixed(sink):
    random = np.random.default_rng(0)
    for number in range(1, 20_001):
        row, column = (int(x) for x in random.integers(0, 200, 2))
        sink.add(Nucleus(number, row, column, np.ones((1, 1), bool), 0.5, 0.5))

def nothing(sink):
    pass

for sink, fill in (
    (DensityMap(folder / "density.tif", folder / "density.png", slide), nothing),
    (Overlay(folder / "overlay.png", image, thumbnail=noise), nothing),
    (label_map(folder / "labels.tif", image), mixed),
    (label_map(folder / "labels.png", image), mixed),
):
    try:
        with sink:
            fill(sink)
        print("written")
    except DiskFullError as error:
        print(error)
"""


def test_pictures_and_maps_on_a_full_disk(tmp_path: Path) -> None:
    """Whatever library writes them: of the density map NumPy does, which hides that the disk is full."""
    status, printed, left = run_on_small_disk(tmp_path, 20, [sys.executable, "-c", ON_FULL_DISK, tmp_path])
    assert status == 0, printed
    names = ("density.tif", "overlay.png", "labels.tif", "labels.png")
    why = "cannot be written, because the disk (or your quota on it) is full"
    assert [line.partition(". Make room")[0] for line in printed.splitlines()] == [
        f"{tmp_path / name}: {why}" for name in names
    ]
    assert left == []
