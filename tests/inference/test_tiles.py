"""Tiles that blend: every pixel is covered, and its value is a function of its place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nucseg_jax.inference.tile_store import TilesInMemory, TilesOnDisk, TileStore
from nucseg_jax.inference.tiles import TISSUE_PX, TileGrid, Tiling, cheapest_grid, squares_with_tissue
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import slide_of_array

TILINGS = st.builds(
    lambda kept, margin, blend: Tiling(kept + 2 * margin, margin, min(blend, kept // 2)),
    st.integers(4, 20),
    st.integers(0, 9),
    st.integers(0, 10),
)


def store_of(image: NDArray[np.uint8], tiling: Tiling) -> TileStore:
    """What tiles of an image keep of it, as its one plane."""
    frame = Frame(image.shape[:2], 1.0, 1.0)
    squares = np.ones([-(-side // TISSUE_PX) for side in frame.size], bool)
    grid, places = cheapest_grid(frame, [tiling], squares, lambda _: 1)
    tiles = TilesInMemory()
    keep = slice(tiling.margin, tiling.tile - tiling.margin)
    with slide_of_array(image, 1.0) as slide:
        for place in places:
            tiles.put(*place, grid.read(slide, place)[None, keep, keep, 0])
    return TileStore(tiles, tiling, frame.size, 1, squares)


@settings(max_examples=60)
@given(st.integers(1, 50), st.integers(1, 50), TILINGS, st.data())
def test_tiles_give_the_image_again_in_any_rectangle(
    height: int, width: int, tiling: Tiling, draw: st.DataObject
) -> None:
    image = np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)
    store = store_of(image, tiling)
    top, left = draw.draw(st.integers(0, height - 1)), draw.draw(st.integers(0, width - 1))
    rows, columns = draw.draw(st.integers(1, height - top)), draw.draw(st.integers(1, width - left))
    found = store.read(top, left, rows, columns)
    np.testing.assert_array_equal(found[0], image[top : top + rows, left : left + columns, 0])


def test_overlaps_are_blended_and_rounded_once() -> None:
    """Two tiles of one row: 0 and 255, which share four pixels."""
    tiling = Tiling(12, blend=4)
    tiles = TilesInMemory()
    tiles.put(0, 0, np.zeros((1, 12, 12), np.uint8))
    tiles.put(0, 1, np.full((1, 12, 12), 255, np.uint8))
    store = TileStore(tiles, tiling, (6, 18), 1, np.ones((1, 1), bool))
    row = store.read(2, 0, 1, 18)[0, 0]
    assert row.tolist() == [0] * 6 + [51, 102, 153, 204] + [255] * 8
    floats = TilesInMemory()
    for place, value in (((0, 0), 0.0), ((0, 1), 1.0)):
        floats.put(*place, np.full((1, 12, 12), value, np.float32))
    blended = TileStore(floats, tiling, (6, 18), 1, np.ones((1, 1), bool)).read(2, 5, 1, 6)
    np.testing.assert_allclose(blended[0, 0], [0, 0.2, 0.4, 0.6, 0.8, 1], rtol=1e-6, atol=0)


def test_tiles_on_disk_are_those_in_memory(tmp_path) -> None:
    generator, tiling = np.random.default_rng(0), Tiling(16, 2, 4)
    written = np.array([[True, False, True], [False, True, True]])
    disk = TilesOnDisk(tmp_path, 2, tiling.kept, written)
    memory = TilesInMemory()
    for place in np.argwhere(written).tolist():
        values = generator.integers(0, 256, (2, 12, 12)).astype(np.uint8)
        disk.put(*place, values)
        memory.put(*place, values)
    squares = np.ones((1, 1), bool)
    both = [TileStore(tiles, tiling, (16, 24), 2, squares) for tiles in (disk, memory)]
    np.testing.assert_array_equal(*(store.read(0, 0, 16, 24) for store in both))
    np.testing.assert_array_equal(*(store.read(9, 3, 5, 20, planes=1) for store in both))
    disk.drop_rows(1)
    assert [path.name for path in tmp_path.iterdir()] == ["1.planes"]


def test_squares_without_tissue_are_not_looked_at() -> None:
    tissue = np.zeros((20, 30), bool)
    tissue[3, 4] = tissue[15, 28] = True
    frame = Frame((1000, 1500), 1.0, 1.0)
    squares = squares_with_tissue(tissue, frame.network_size)
    assert np.argwhere(squares).tolist() == [[0, 0], [2, 5], [3, 5]]
    large, small = Tiling(1024 + 256, 128), Tiling(256 + 256, 128)
    grid, places = cheapest_grid(frame, [large, small], squares, lambda _: 1)
    assert grid == TileGrid(frame, small) and places == [(0, 0), (2, 5), (3, 5)]
    everywhere = np.ones_like(squares)
    assert cheapest_grid(frame, [small, large], everywhere, lambda _: 1)[0].tiling == large
    assert cheapest_grid(frame, [small, large], squares, lambda t: 8 if t == small else 1)[0].tiling == small
    assert cheapest_grid(frame, [small, large], squares, lambda t: 99 if t == small else 1)[0].tiling == large
    tiles = TilesInMemory()
    for place in places:
        tiles.put(*place, np.full((1, 256, 256), 7, np.uint8))
    whole = TileStore(tiles, small, frame.network_size, 1, squares).read(0, 0, 1000, 1500)[0]
    assert (whole[:256, :256] == 7).all() and (whole[512:, 1280:] == 7).all()
    assert whole.sum() == 7 * (256 * 256 + 488 * 220)


@pytest.mark.parametrize(("tile", "margin", "blend"), [(8, 4, 0), (8, 0, 5), (8, -1, 0)])
def test_tilings_that_cannot_be(tile: int, margin: int, blend: int) -> None:
    with pytest.raises(ValueError, match=f"tiles of {tile} px cannot have a margin of {margin} px"):
        Tiling(tile, margin, blend)
