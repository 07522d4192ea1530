"""A slide of 20,000 × 20,000 pixels: every nucleus once, in bounded memory, its glass skipped."""

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]
SIDE, TILE, MPP = 20_000, 512, 0.25
GLASS, EOSIN, NUCLEUS = (244, 243, 245), (230, 160, 190), (70, 200, 140)
GRID_PX, RADIUS_PX = 45, 12
ISLANDS = ((700, 900), (9_000, 14_000), (17_400, 3_000), (18_300, 17_900))  # corners; they cross blocks
ISLAND_PX = 1_600
MOST_BYTES = 600 << 20  # over a process that has imported everything


def draw(top: int, left: int, height: int, width: int) -> NDArray[np.uint8]:
    """A part of the slide: islands of tissue, with a disc in each square of a grid."""
    part = np.empty((height, width, 3), np.uint8)
    part[:] = GLASS
    for y, x in ISLANDS:
        rows = slice(max(0, y - top), max(0, y + ISLAND_PX - top))
        columns = slice(max(0, x - left), max(0, x + ISLAND_PX - left))
        inside = part[rows, columns]
        if inside.size:
            inside[:] = EOSIN
            from_y = (np.arange(height)[rows] + top - y) % GRID_PX - GRID_PX // 2
            from_x = (np.arange(width)[columns] + left - x) % GRID_PX - GRID_PX // 2
            inside[from_y[:, None] ** 2 + from_x[None] ** 2 <= RADIUS_PX**2] = NUCLEUS
    return part


def tiles(level: int) -> Iterator[bytes]:
    """A level's tiles, compressed; nearly all are the same."""
    side, step = SIDE // 2**level, 2**level
    compressed_glass = zlib.compress(np.full((TILE, TILE, 3), GLASS, np.uint8).tobytes())

    def touches(start: int, island: int) -> bool:
        return start < island + ISLAND_PX and island < start + TILE * step

    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            height, width = min(TILE, side - top), min(TILE, side - left)
            if not any(touches(top * step, y) and touches(left * step, x) for y, x in ISLANDS):
                yield compressed_glass
                continue
            part = draw(top * step, left * step, height * step, width * step)
            small = np.asarray(Image.fromarray(part).reduce(step)) if level else part
            pixels = np.pad(small, ((0, TILE - height), (0, TILE - width), (0, 0)))
            yield zlib.compress(pixels.tobytes(), 1)


def write(path: Path) -> None:
    """A pyramid of four levels, as libvips writes them."""
    options = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib", "dtype": np.uint8}
    with tifffile.TiffWriter(path) as writer:
        for level in range(4):
            shape = (SIDE // 2**level, SIDE // 2**level, 3)
            resolution = {"resolution": (1e4 / MPP, 1e4 / MPP), "resolutionunit": "CENTIMETER"}
            page = resolution if level == 0 else {"subfiletype": 1}
            writer.write(tiles(level), shape=shape, **options, **page)


def segment(path: str) -> None:
    """In a process of its own: count nuclei, and print what that took."""
    from benchmarks.colour_network import RedIsNucleus
    from benchmarks.measure import held_bytes
    from nucseg_jax import Segmenter
    from nucseg_jax.config import get_config
    from nucseg_jax.inference.magnification import Magnification
    from nucseg_jax.slides import open_slide

    config = get_config().instances
    config.method = "watershed"
    config.masked = ()  # no tissue has these colours
    network = RedIsNucleus(tile=256, margin=16, batch_size=8)
    segmenter = Segmenter(network, config, Magnification(MPP, "test"))
    before = held_bytes("VmHWM")
    with open_slide(path) as slide:
        nuclei = segmenter.stream(slide, scratch=Path(path).parent)
        areas = np.array([nucleus.mask.sum() for nucleus in nuclei])
    found = {"count": len(areas), "areas": np.unique(areas).tolist(), "megapixels": nuclei.megapixels}
    print(json.dumps(found | {"before": before, "peak": held_bytes("VmHWM"), "seconds": dict(nuclei.times)}))


def test_every_nucleus_is_found_once_in_bounded_memory(tmp_path: Path) -> None:
    write(tmp_path / "slide.tif")
    code = f"from tests.inference.test_large_slide import segment; segment({str(tmp_path / 'slide.tif')!r})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    a_row = -(-(ISLAND_PX - GRID_PX // 2 + RADIUS_PX) // GRID_PX)
    assert found["count"] == len(ISLANDS) * a_row**2
    assert found["megapixels"] < 20  # of 400
    assert found["peak"] - found["before"] < MOST_BYTES, found
    assert [path.name for path in tmp_path.iterdir()] == ["slide.tif"]
