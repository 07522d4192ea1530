"""From the network's pixels to those of the slide."""

import pickle

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from nucseg_jax.export.canvas import Canvas
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import label_map_of, many, sampled

SIDES = st.integers(30, 120)


@given(st.tuples(SIDES, SIDES), st.floats(0.1, 1.0), st.floats(0.15, 0.6), st.integers(0, 1000))
def test_base_pixels_of_nuclei(size: tuple[int, int], mpp: float, network_mpp: float, seed: int) -> None:
    frame = Frame(size, mpp, network_mpp)
    assume(min(frame.network_size) >= 20)
    nuclei = many(int(np.prod(frame.network_size)) // 1500, frame, seed=seed)
    painted = np.zeros(size, np.int32)
    for nucleus in nuclei:
        top, left, mask = frame.on_slide(nucleus)
        part = painted[top : top + mask.shape[0], left : left + mask.shape[1]]
        assert part.shape == mask.shape and not part[mask].any()
        part[mask] = nucleus.id
    np.testing.assert_array_equal(painted, sampled(frame, label_map_of(nuclei, frame)))
    if nuclei:
        canvas = Canvas(nuclei, frame)
        runs = canvas.runs
        by_runs = np.zeros(size, np.int32)
        for index, row, start, stop in zip(*frame.runs_on_slide(runs.y, runs.start, runs.stop), strict=True):
            assert stop > start and not by_runs[row, start:stop].any()
            by_runs[row, start:stop] = canvas.ids[runs.nucleus[index]]
        np.testing.assert_array_equal(by_runs, painted)


def test_a_frame_is_sent_without_what_is_as_long_as_the_slide() -> None:
    frame = Frame((90_000, 70_000), 0.25, 0.25, (1_000, 20_000))
    frame.on_slide(Nucleus(1, 5, 5, np.ones((2, 2), bool), 0.5))
    sent = pickle.dumps(frame)
    assert len(sent) < 200 and pickle.loads(sent) == frame


def test_the_same_pixels_where_nothing_is_scaled() -> None:
    frame = Frame((90, 70), 0.25, 0.25)
    for nucleus in many(5, frame):
        top, left, mask = frame.on_slide(nucleus)
        assert (top, left) == (nucleus.top, nucleus.left)
        np.testing.assert_array_equal(mask, nucleus.mask)


def test_the_last_digit_of_a_resolution_moves_no_nucleus() -> None:
    """What a TIFF says of 0.25 µm is 0.24999999999999997; every 125th centre lies between two pixels."""
    of_network = np.arange(1024 * 2, dtype=np.int32).reshape(1024, 2)
    exact, read = (Frame((1000, 2), mpp, 0.25 * 1000 / 1024) for mpp in (0.25, 0.24999999999999997))
    np.testing.assert_array_equal(exact.label_map(of_network), read.label_map(of_network))
    nucleus = Nucleus(1, 60, 0, np.ones((8, 1), bool), 0.5)
    np.testing.assert_equal(exact.on_slide(nucleus), read.on_slide(nucleus))


def test_a_frame_of_fewer_pixels_cuts_what_lies_outside() -> None:
    """An image that was prepared a little smaller than the field that the nucleus was found in."""
    frame = Frame((995, 995), 0.25, 0.25 * 1000 / 512)
    assert frame.network_size == (509, 509)
    nucleus = Nucleus(1, 505, 500, np.ones((6, 4), bool), 0.5)
    top, left, mask = frame.on_slide(nucleus)
    assert top + mask.shape[0] == 995 and mask.all() and 6 < mask.shape[0] < 10
    assert frame.on_slide(Nucleus(1, 510, 0, np.ones((2, 2), bool), 0.5))[2].size == 0
