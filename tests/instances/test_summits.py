"""Distances inside of a mask, and their summits, against SciPy and scikit-image."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from nucseg_jax.instances.summits import distance_inside, extended_maxima


@given(
    arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.0, 1.0]),
)
def test_extended_maxima_are_those_of_the_reconstruction(
    mask: NDArray[np.bool_], h: float, smoothing: float
) -> None:
    """Distances are taken clump by clump, and clumps of one summit take a short cut."""
    assume(not mask.all())  # without background there is no distance to it
    distance = ndimage.distance_transform_edt(mask).astype(np.float32)
    clumps, _ = ndimage.label(mask, np.ones((3, 3)), output=np.int32)
    places = ndimage.find_objects(clumps)
    np.testing.assert_array_equal(distance_inside(clumps, places), distance)
    distance = ndimage.gaussian_filter(distance, smoothing)
    height = np.where(mask, distance + np.float32(h + 1), np.float32(0))
    lowered = morphology.reconstruction(height - np.float32(h), height)
    expected = morphology.local_maxima(lowered) & mask
    np.testing.assert_array_equal(extended_maxima(height, h, clumps, places), expected)
