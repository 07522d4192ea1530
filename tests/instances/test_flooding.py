"""Markers that grow over a mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from skimage import measure, segmentation

from nucseg_jax.instances.flooding import flood, in_order

SHAPE = st.tuples(st.integers(1, 24), st.integers(1, 24))


@given(st.data(), SHAPE)
def test_what_no_two_markers_contest_is_not_flooded_and_all_is_as_if_it_were(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    surface = data.draw(arrays(np.float32, shape, elements=st.sampled_from(np.float32([0, 0.5, 1, 2, 7]))))
    mask = data.draw(arrays(bool, shape, elements=st.sampled_from([True, True, False])))
    seeds = data.draw(arrays(bool, shape, elements=st.sampled_from([True, False, False, False])))
    markers = ndimage.label(seeds, np.ones((3, 3)), output=np.int32)[0]
    pieces = segmentation.watershed(in_order(surface, markers, mask), markers, mask=mask, connectivity=1)
    pieces[mask & (pieces == 0)] = pieces.max() + 1
    expected = measure.label(pieces, connectivity=1)
    found = flood(surface, markers, mask)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found > 0, mask)
