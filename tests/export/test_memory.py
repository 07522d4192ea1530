"""What the exports hold in memory does not grow with the number of nuclei, but for their centroids."""

import tracemalloc
from pathlib import Path

import numpy as np

from benchmarks.drawn_slide import MPP, PITCH_PX, ragged
from nucseg_jax.export import FORMATS, Exports, Limits
from nucseg_jax.nuclei import Frame, Nucleus

FRAME = Frame((3072, 3072), MPP, MPP)


LIMITS = Limits(nuclei=128, rows=256, label_bytes=1 << 17)


def write(count: int, folder: Path) -> None:
    """Ragged nuclei row by row, as a slide's come."""
    masks, a_row = ragged(), FRAME.size[1] // PITCH_PX
    thumbnail = np.full((200, 200, 3), (225, 190, 215), np.uint8)
    with Exports(
        folder,
        FRAME,
        source=Path(__file__),
        thumbnail=thumbnail,
        config={},
        seconds={},
        formats=FORMATS.keys() - {"neighbours"},  # which look at all nuclei at once
        limits=LIMITS,
    ) as exports:
        for i in range(count):
            top, left = i // a_row * PITCH_PX, i % a_row * PITCH_PX
            exports.add(Nucleus(i + 1, top, left, masks[i % len(masks)], 0.9, 0.4))


def test_memory_does_not_grow_with_the_number_of_nuclei(tmp_path: Path) -> None:
    write(300, tmp_path / "warm")
    peaks = []
    for count in (1000, 2900):  # both more than may wait
        tracemalloc.start()
        write(count, tmp_path / str(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    centroids = 200 * (2900 - 1000)  # bytes, with what Ripley's L of them takes; a nucleus's text is 1,100
    assert peaks[1] < 1.15 * peaks[0] + centroids, peaks
