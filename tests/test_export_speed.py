"""Time and memory of all formats; of how many nuclei is given to the command that prints them.

    python -m tests.test_export_speed [--nuclei 100000] [--out DIR]

Ragged nuclei of about 40×40 pixels, a mask like `benchmarks` draws none: an ellipse with noise on its edge,
on a slide with 5,000 a mm². They come block by block of 1024² pixels, and in each block row by row, as a
slide's do. Post-processing is `instances.watershed` of the block's mask and cutting the nuclei out. Seconds
of both, and what the process ever held in memory.
"""

import argparse
import math
import resource
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax import instances
from nucseg_jax.export import Exports, tiles
from nucseg_jax.nuclei import Frame, Nucleus
from tests.test_export_nuclei import cropped

BLOCK_PX, PITCH_PX = 1024, 56


def ragged(count: int = 50) -> list[NDArray[np.bool_]]:
    generator = np.random.default_rng(0)
    y, x = np.mgrid[-26:27, -26:27]
    masks = []
    for _ in range(count):
        a, b = generator.uniform((16, 12), (24, 20))
        angle = generator.uniform(0, np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        noise = ndimage.gaussian_filter(generator.normal(0, 1, x.shape), 2)
        labels, _ = ndimage.label((along / a) ** 2 + (across / b) ** 2 + noise < 1)
        masks.append(cropped(labels == labels[26, 26]))
    return masks


def frame_for(count: int) -> Frame:
    """A square slide of whole blocks."""
    side = BLOCK_PX * math.ceil(math.sqrt(count / (BLOCK_PX // PITCH_PX) ** 2))
    return Frame((side, side), 0.25, 0.25)


def blocks(count: int, frame: Frame) -> Iterator[tuple[int, int, NDArray[np.bool_]]]:
    """Top, left and mask of the blocks that have `count` nuclei, none of which touch."""
    masks, generator = ragged(), np.random.default_rng(1)
    drawn = 0
    for top in range(0, frame.size[0], BLOCK_PX):
        for left in range(0, frame.size[1], BLOCK_PX):
            block = np.zeros((BLOCK_PX, BLOCK_PX), dtype=bool)
            for y in range(0, BLOCK_PX - PITCH_PX, PITCH_PX):
                for x in range(0, BLOCK_PX - PITCH_PX, PITCH_PX):
                    if drawn < count:
                        mask = masks[drawn % len(masks)]
                        row, column = generator.integers(0, PITCH_PX - np.array(mask.shape))
                        height, width = mask.shape
                        block[y + row : y + row + height, x + column : x + column + width] = mask
                        drawn += 1
            yield top, left, block


def cut(top: int, left: int, block: NDArray[np.bool_], first_id: int) -> list[Nucleus]:
    labels = instances.watershed(block, h_px=2.0, smoothing_px=1.0, min_area_px=30)
    return [
        Nucleus(
            first_id + i, top + rows.start, left + columns.start, labels[rows, columns] == i + 1, 0.9, 0.4
        )
        for i, (rows, columns) in enumerate(ndimage.find_objects(labels))
    ]


def write(count: int, folder: Path, *, thumbnail_px: int = 2048) -> dict[str, float]:
    """Seconds by stage."""
    frame = frame_for(count)
    side = min(frame.size[0], thumbnail_px)
    seconds = {"drawing": 0.0, "post-processing": 0.0, "export": 0.0}
    written = 0

    def lap(stage: str) -> None:
        nonlocal before
        seconds[stage] += time.perf_counter() - before
        before = time.perf_counter()

    before = time.perf_counter()
    thumbnail = np.full((side, side, 3), (225, 190, 215), np.uint8)
    with Exports(folder, frame, source=Path(__file__), thumbnail=thumbnail, config={}, seconds={}) as exports:
        lap("export")
        for top, left, block in blocks(count, frame):
            lap("drawing")
            nuclei = cut(top, left, block, written + 1)
            written += len(nuclei)
            lap("post-processing")
            for nucleus in nuclei:
                exports.add(nucleus)
            lap("export")
    lap("export")
    return seconds | {"nuclei": written}


def test_memory_does_not_grow_with_the_number_of_nuclei(tmp_path, monkeypatch):
    monkeypatch.setattr(tiles, "_MOST_WAITING_BYTES", 1 << 20)
    monkeypatch.setattr("nucseg_jax.export.batches.MOST_NUCLEI", 128)
    monkeypatch.setattr("tests.test_export_speed.frame_for", lambda count: Frame((3072, 3072), 0.25, 0.25))
    write(300, tmp_path / "warm", thumbnail_px=200)
    peaks = []
    for count in (600, 2400):
        tracemalloc.start()
        write(count, tmp_path / str(count), thumbnail_px=200)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.15 * peaks[0], peaks


def test_all_nuclei_are_written(tmp_path):
    assert write(500, tmp_path / "out")["nuclei"] == pytest.approx(500, rel=0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nuclei", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=None, help="keep the folder of exports here")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = write(flags.nuclei, flags.out or Path(scratch) / "out")
    print({name: round(value, 1) for name, value in found.items()})
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"CPU {usage.ru_utime + usage.ru_stime:.1f} s, at most {usage.ru_maxrss / 1024:.0f} MiB in memory")


if __name__ == "__main__":
    main()
