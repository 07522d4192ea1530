import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from nucseg_jax.errors import UserError
from nucseg_jax.models.targets import (
    EDGE_PX,
    check_classes,
    class_map,
    class_probabilities,
    edge_map,
    spread,
    unknown_classes,
    within_reach,
)


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
    size = 2 * EDGE_PX + 1
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


def test_edges_lie_on_both_sides_of_where_labels_change() -> None:
    labels = np.zeros((1, 20, 24), np.int32)
    labels[0, 4:16, 2:12], labels[0, 4:16, 12:22] = 5, 2
    row = np.asarray(edge_map(jnp.asarray(labels)))[0, 10]
    assert row.tolist() == [1] * 4 + [0] * 6 + [1] * 4 + [0] * 6 + [1] * 4


label_maps = arrays(np.int32, (2, 7, 6), elements=st.sampled_from([0, 0, 1, 2, 2**31 - 1]), fill=st.just(3))


@given(label_maps)
@settings(max_examples=50)
def test_an_edge_is_where_another_label_is_near(labels: np.ndarray) -> None:
    found = np.asarray(edge_map(jnp.asarray(labels)))
    assert found.dtype == np.int32
    for b, y, x in np.ndindex(labels.shape):
        rows = slice(max(y - EDGE_PX, 0), y + EDGE_PX + 1)
        columns = slice(max(x - EDGE_PX, 0), x + EDGE_PX + 1)
        assert found[b, y, x] == (labels[b, rows, columns] != labels[b, y, x]).any()
    expected = (labels > 0) * (1 + found)
    np.testing.assert_array_equal(class_map(jnp.asarray(labels), 3), expected)


@given(arrays(np.int32, (2, 7, 6), elements=st.integers(0, 2)))
@settings(max_examples=50)
def test_the_spread_of_one_hot_classes_is_their_edge_map(classes: np.ndarray) -> None:
    found = spread(jax.nn.one_hot(classes, 3)).max(-1)
    np.testing.assert_array_equal(found, edge_map(jnp.asarray(classes)))


@pytest.mark.parametrize("shape", [(2, 9, 8, 3), (1, 1, 1, 2), (1, 2, 7, 1), (3, 4, 1)])
def test_the_spread_is_of_a_window_cut_by_the_image(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    size = (1, 2 * EDGE_PX + 1, 2 * EDGE_PX + 1) + (1,) * (len(shape) - 3)
    expected = ndimage.maximum_filter(values, size, mode="nearest") - ndimage.minimum_filter(
        values, size, mode="nearest"
    )
    np.testing.assert_array_equal(spread(jnp.asarray(values)), expected)


def test_the_spreads_gradient_goes_to_the_extremes() -> None:
    gradient_of = jax.jit(jax.grad(lambda x, counted: (spread(x) * counted).sum()))
    values = jnp.arange(6.0)[None, None]
    gradient = gradient_of(values, jax.nn.one_hot(3, 6)[None, None])
    np.testing.assert_array_equal(gradient[0, 0], [0, -1, 0, 0, 0, 1])
    # One largest pixel in nine windows; of equally small ones, those that share what it gets.
    gradient = gradient_of(jnp.zeros((1, 4, 5)).at[0, 0, 0].set(1), jnp.ones((1, 4, 5)))
    assert gradient[0, 0, 0] == 9
    np.testing.assert_allclose(gradient.sum(), 0, rtol=0, atol=1e-5)


def test_class_probabilities_follow_the_depth() -> None:
    """A pixel is boundary for what it lacks to its nucleus's middle; without depths classes are hard."""
    labels = jnp.asarray([[[0, 1, 1, 2]]], jnp.int32)
    depth = jnp.asarray([[[7, 51, 255, 0]]], jnp.uint8)
    found = class_probabilities(labels, 3, depth)
    expected = [[[[1, 0, 0], [0, 0.2, 0.8], [0, 1, 0], [0, 0, 1]]]]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    for classes in (2, 3):
        hard = class_probabilities(labels, classes)
        np.testing.assert_array_equal(hard.argmax(-1), class_map(labels, classes))
        np.testing.assert_array_equal(hard.max(-1), 1)


@given(arrays(np.bool_, (1, 9, 11), elements=st.sampled_from([False] * 9 + [True])))
@settings(max_examples=50)
def test_a_pixel_is_within_reach_where_its_window_holds_an_unannotated_one(mask: np.ndarray) -> None:
    expected = ndimage.maximum_filter(mask[0], 2 * EDGE_PX + 1, mode="constant", cval=0)
    np.testing.assert_array_equal(within_reach(jnp.asarray(mask))[0], expected)


def test_what_lies_outside_changes_no_known_class() -> None:
    """Two nuclei that the border cuts off, and one that begins behind it: all that they change is unknown."""
    inside = np.zeros((1, 8, 16), np.int32)
    inside[0, 1:6, 4:9] = 3
    outside = inside.copy()
    outside[0, 1:6, 9:12], outside[0, 6:, 9:] = 3, 4
    mask = np.zeros(inside.shape, bool)
    mask[..., 9:] = True
    for classes in (2, 3):
        known = ~np.asarray(unknown_classes(jnp.asarray(mask), classes))
        pair = [np.asarray(class_map(jnp.asarray(m), classes)) for m in (inside, outside)]
        np.testing.assert_array_equal(pair[0][known], pair[1][known])
        columns = 9 if classes == 2 else 7
        assert known[..., :columns].all() and not known[..., columns:].any()
    assert (pair[0] != pair[1])[~mask].any(), "the boundary within reach"
