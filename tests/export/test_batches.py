"""Batches of nuclei."""

import numpy as np
import pytest

from nucseg_jax.export import Limits
from nucseg_jax.export.batches import Batch, Gathering
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, many, nuclei_of


@pytest.mark.parametrize(
    ("nucleus", "message"),
    [
        (Nucleus(0, 0, 0, np.ones((1, 1), bool), 0.5), "id .* got 0"),
        (Nucleus(2**31, 0, 0, np.ones((1, 1), bool), 0.5), "id .* got 2147483648"),
        (Nucleus(7, 0, 0, np.ones((1, 1), np.uint8), 0.5), "nucleus 7 must be bool"),
        (Nucleus(7, 0, 0, np.ones(3, bool), 0.5), r"nucleus 7 must be bool \[h, w\]"),
        (Nucleus(7, 0, 0, np.zeros((2, 2), bool), 0.5), "nucleus 7 has no pixel"),
        (Nucleus(7, 299, 0, np.ones((2, 2), bool), 0.5), "nucleus 7.* row 299.* 300 x 400"),
        (Nucleus(7, 0, -1, np.ones((2, 2), bool), 0.5), "nucleus 7.* column -1"),
    ],
)
def test_what_is_no_nucleus_is_refused(nucleus, message):
    with pytest.raises(ValueError, match=message):
        Batch([*nuclei_of([np.ones((1, 1), dtype=bool)]), nucleus], FRAME)


def test_runs_are_the_pixels():
    nuclei = many(50, FRAME)
    batch = Batch(nuclei, FRAME)
    found = [set() for _ in nuclei]
    for nucleus, y, start, stop in zip(*(column.tolist() for column in batch.canvas.runs), strict=True):
        found[nucleus] |= {(y, x) for x in range(start, stop)}
    for pixels, nucleus in zip(found, nuclei, strict=True):
        rows, columns = np.nonzero(nucleus.mask)
        assert pixels == set(
            zip((rows + nucleus.top).tolist(), (columns + nucleus.left).tolist(), strict=True)
        )


def test_gathering_keeps_order_and_bounds_the_canvas():
    frame = Frame((400, 400), 0.25, 0.25)
    sides = [10] * 35 + [390] + [10] * 3 + [100] * 6
    gathering = Gathering(frame, Limits(nuclei=30, canvas_px=40_000))
    batches = []
    for index, side in enumerate(sides):
        full = gathering.add(Nucleus(index + 1, 0, 0, np.ones((side, side), dtype=bool), 0.5))
        batches += [full] if full else []
    batches.append(gathering.rest())
    assert gathering.rest() is None
    assert [int(i) for batch in batches for i in batch.ids] == list(range(1, len(sides) + 1))
    assert max(len(batch) for batch in batches) == 30
    # The canvas's last, empty row is not counted.
    assert all(batch.canvas.pixels.size <= 40_000 + 400 or len(batch) == 1 for batch in batches)
