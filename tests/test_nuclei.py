"""From the network's pixels to those of the slide."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from nucseg_jax.nuclei import Frame
from tests.test_export_nuclei import label_map_of, many

SIDES = st.integers(30, 120)


def sampled(frame: Frame, labels: np.ndarray) -> np.ndarray:
    """What a label map of the network's level shows at the centre of each base pixel."""
    rows, columns = (np.floor((np.arange(side) + 0.5) / frame.scale).astype(int) for side in frame.size)
    labels = np.pad(labels, ((0, len(rows)), (0, len(columns))))  # by rounding, the last one may be beyond
    return labels[np.ix_(rows, columns)]


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


def test_the_same_pixels_where_nothing_is_scaled() -> None:
    frame = Frame((90, 70), 0.25, 0.25)
    for nucleus in many(5, frame):
        top, left, mask = frame.on_slide(nucleus)
        assert (top, left) == (nucleus.top, nucleus.left)
        np.testing.assert_array_equal(mask, nucleus.mask)
