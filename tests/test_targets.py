import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from nucseg_jax.errors import UserError
from nucseg_jax.targets import BOUNDARY_PX, check_classes, class_map


def test_touching_nuclei_have_a_boundary_on_both_sides() -> None:
    labels = np.zeros((1, 20, 24), np.int32)
    labels[0, 4:16, 2:12], labels[0, 4:16, 12:22] = 5, 2
    found = np.asarray(class_map(jnp.asarray(labels), 3))[0]
    row = found[10]
    assert row.tolist() == [0] * 2 + [2] * 2 + [1] * 6 + [2] * 4 + [1] * 6 + [2] * 2 + [0] * 2
    np.testing.assert_array_equal(class_map(jnp.asarray(labels), 2)[0], labels[0] > 0)


def test_the_boundary_is_what_a_minimum_and_a_maximum_differ_on() -> None:
    rng = np.random.default_rng(0)
    labels = ndimage.label(ndimage.gaussian_filter(rng.random((40, 40)), 2) > 0.5)[0].astype(np.int32)
    size = 2 * BOUNDARY_PX + 1
    # Beyond the image lies the nearest pixel, so that its edge is no boundary.
    differ = ndimage.maximum_filter(labels, size, mode="nearest") != ndimage.minimum_filter(
        labels, size, mode="nearest"
    )
    expected = (labels > 0) * (1 + differ)
    np.testing.assert_array_equal(class_map(jnp.asarray(labels[None]), 3)[0], expected)


def test_a_nucleus_cut_by_the_image_has_no_boundary_there() -> None:
    labels = np.ones((1, 8, 8), np.int32)
    assert (np.asarray(class_map(jnp.asarray(labels), 3)) == 1).all()


def test_other_numbers_of_classes_cannot_be_trained() -> None:
    for known in (2, 3):
        check_classes(known)
    with pytest.raises(UserError, match="model.num_classes must be 2 .* got 4"):
        check_classes(4)
