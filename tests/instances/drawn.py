"""Label maps and probabilities drawn for tests."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.instances import NucleusMap
from nucseg_jax.models.targets import class_map

Labels = NDArray[np.int32]


def discs(*centres_and_radii: tuple[float, float, float], shape: tuple[int, int] = (60, 80)) -> Labels:
    """Label map of discs (row, column, radius); where they overlap, the pixel is the nearer centre's."""
    rows, columns = np.indices(shape)
    depth = np.stack([r - np.hypot(rows - y, columns - x) for y, x, r in centres_and_radii])
    return np.where(depth.max(axis=0) > 0, depth.argmax(axis=0) + 1, 0).astype(np.int32)


TOUCHING = discs((30, 25, 14), (30, 48, 12), (12, 65, 9), (50, 70, 7))
"""Two discs that overlap, two that stand alone."""


def perfect(truth: Labels) -> NucleusMap:
    """Probabilities of 0 and 1 as a network that is never wrong gives them."""
    classes = class_map(jnp.asarray(truth)[None], 3)[0]
    return NucleusMap.of_classes(np.asarray(jax.nn.one_hot(classes, 3)))


def assert_sound(labels: Labels, mask: NDArray[np.bool_]) -> None:
    """The nuclei cover the mask, are numbered by first pixel, and each is one 4-connected piece."""
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, mask)
    ids, first = np.unique(labels[mask], return_index=True)
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    assert np.all(np.diff(first) > 0)
    for i in ids:
        assert ndimage.label(labels == i)[1] == 1, "one piece, so that it crosses no gap"
