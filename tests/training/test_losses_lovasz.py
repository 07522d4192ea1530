"""Lovász-softmax against its definition: by hand, on any logits, where errors are equal, in large images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg_jax import devices
from nucseg_jax.training import losses
from tests.training.loss_definitions import (
    SHAPE,
    labels_of,
    logits_of,
    lovasz_softmax,
    random_case,
    tied_logits,
    value_and_gradients,
)


def test_lovasz_of_certain_predictions_is_the_mean_jaccard_loss() -> None:
    labels = jnp.array([[[0, 0, 0, 1]], [[2, 2, 2, 2]]])
    predicted = jnp.array([[[0, 0, 1, 1]], [[2, 2, 2, 0]]])
    loss, _ = value_and_gradients("lovasz_softmax", 200.0 * jax.nn.one_hot(predicted, 3), labels)
    # Image by image, and over the classes of its labels: 0 and 1 in the first, 2 in the second.
    np.testing.assert_allclose(loss, ((1 / 3 + 1 / 2) / 2 + 1 / 4) / 2, rtol=1e-6, atol=0)


def test_lovasz_of_two_pixels_by_hand() -> None:
    """A pixel of background is wrong by 0.4, one of a nucleus by 0.7."""
    p = np.array([0.4, 0.3])  # probability of the nucleus
    logits = np.log(np.stack([1 - p, p], -1)).astype(np.float32)[None, None]
    value, (gradient,) = value_and_gradients("lovasz_softmax", jnp.asarray(logits), jnp.array([[[0, 1]]]))
    # Nucleus: missing it costs all, so the other error nothing more. Background: the false one halves the
    # intersection over union, then missing the true one costs the other half.
    np.testing.assert_allclose(value, (0.7 + (0.7 / 2 + 0.4 / 2)) / 2, rtol=1e-6, atol=0)
    slope = p * (1 - p)
    to_nucleus = np.array([0.5 / 2 * slope[0], -(1 + 0.5) / 2 * slope[1]])
    np.testing.assert_allclose(gradient[0, 0], np.stack([-to_nucleus, to_nucleus], -1), rtol=1e-5, atol=0)


def test_lovasz_tells_errors_apart_to_float32s_precision() -> None:
    """The background's pixel is wrong by 5e-7 more than the nucleus's: it goes first, and so costs more."""
    logits = np.array([[[[0, 2e-6], [0, 0]]]], np.float32)
    _, (gradient,) = value_and_gradients("lovasz_softmax", logits, np.array([[[0, 1]]]))
    # Nucleus: 1/2 and 1/2; background: 1 and 0.
    np.testing.assert_allclose(gradient[0, 0, :, 1], [1.5 / 2 / 4, -0.5 / 2 / 4], rtol=1e-5, atol=0)


def test_lovasz_of_perfect_and_of_hopeless_predictions() -> None:
    labels = random_case(0, (2, 5, 7), 3)[1]
    for shift, expected in ((0, 0.0), (1, 1.0)):
        certain = 200.0 * np.eye(3, dtype=np.float32)[(labels + shift) % 3]
        value, (gradient,) = value_and_gradients("lovasz_softmax", certain, labels)
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6)
        assert np.isfinite(gradient).all()


@given(logits_of[3], labels_of[3])
@settings(max_examples=50)
def test_lovasz_is_its_definition(logits: np.ndarray, labels: np.ndarray) -> None:
    value, (gradient,) = value_and_gradients("lovasz_softmax", logits, labels)
    np.testing.assert_allclose(value, lovasz_softmax(logits, labels), rtol=1e-5, atol=1e-6)
    assert np.isfinite(gradient).all()


@given(tied_logits, labels_of[3], st.permutations(range(12)))
@settings(max_examples=50)
def test_equal_errors_do_not_matter_to_lovasz(
    logits: np.ndarray, labels: np.ndarray, order: list[int]
) -> None:
    value, (gradient,) = value_and_gradients("lovasz_softmax", logits, labels)
    np.testing.assert_allclose(value, lovasz_softmax(logits, labels), rtol=1e-6, atol=1e-7)
    moved = logits.reshape(2, 12, 3)[:, order].reshape(logits.shape)
    moved_labels = labels.reshape(2, 12)[:, order].reshape(labels.shape)
    moved_value, (moved_gradient,) = value_and_gradients("lovasz_softmax", moved, moved_labels)
    np.testing.assert_allclose(moved_value, value, rtol=1e-6, atol=1e-7)
    expected = gradient.reshape(2, 12, 3)[:, np.array(order)].reshape(logits.shape)
    np.testing.assert_allclose(moved_gradient, expected, rtol=1e-5, atol=1e-7)


@given(tied_logits, labels_of[3], arrays(np.int8, (*SHAPE, 3)))
@settings(max_examples=50)
def test_where_lovasz_has_a_kink_its_gradient_is_one_of_its_subgradients(
    logits: np.ndarray, labels: np.ndarray, towards: np.ndarray
) -> None:
    """In no direction does the loss rise more slowly than the gradient says."""
    direction = towards / 128
    _, (gradient,) = value_and_gradients("lovasz_softmax", logits, labels)
    step = 1e-6
    rise = lovasz_softmax(logits + step * direction, labels) - lovasz_softmax(logits, labels)
    assert rise / step >= (np.asarray(gradient) * direction).sum() - 1e-4


@given(labels_of[3])
@settings(max_examples=25)
def test_lovasz_of_even_predictions(labels: np.ndarray) -> None:
    """All of a class's pixels have an error of 2/3, all others 1/3: 2/3 · 1 + 1/3 · 0."""
    value, (gradient,) = value_and_gradients("lovasz_softmax", np.zeros((*SHAPE, 3), np.float32), labels)
    np.testing.assert_allclose(value, 2 / 3, rtol=1e-6, atol=0)
    assert np.isfinite(gradient).all()


def test_lovasz_is_a_mean_over_images() -> None:
    logits, labels = random_case(3, (4, 7, 9), 3)
    labels[0] = 0  # two classes absent
    one_by_one = [
        value_and_gradients("lovasz_softmax", x[None], y[None])[0]
        for x, y in zip(logits, labels, strict=True)
    ]
    value, _ = value_and_gradients("lovasz_softmax", logits, labels)
    np.testing.assert_allclose(value, np.mean(one_by_one), rtol=1e-6, atol=0)


def test_lovasz_of_an_absent_class_teaches_nothing_about_it_but_through_the_others() -> None:
    """An image of background only: the loss is 1 - the background's probability, its mean over pixels."""
    logits = random_case(0, (1, 5, 6), 3)[0]
    labels = np.zeros((1, 5, 6), np.int32)
    value, (gradient,) = value_and_gradients("lovasz_softmax", logits, labels)
    expected, expected_gradient = jax.value_and_grad(lambda x: (1 - jax.nn.softmax(x)[..., 0]).mean())(logits)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=0)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (3, 1, 3), (1, 4, 4), (1, 1, 17)])
def test_lovasz_of_images_of_any_size(shape: tuple[int, int, int]) -> None:
    logits, labels = random_case(1, shape, 3)
    found, _ = value_and_gradients("lovasz_softmax", logits, labels)
    np.testing.assert_allclose(found, lovasz_softmax(logits, labels), rtol=1e-6, atol=0)


def test_lovasz_weighs_the_pixels_of_a_large_image_exactly() -> None:
    """All of 2¹⁸ pixels but one are one class: a step of 1/2¹⁸ drowns if it is a difference of two IoUs."""
    rng = np.random.default_rng(0)
    labels = np.zeros((1, 512, 512), np.int32)
    labels[0, 100, 200] = 1
    # The odd one is wrong: it alone is in the union before the first of the others.
    p = rng.uniform(0.01, 0.4, labels.shape)
    p[0, 100, 200] = 0.1
    logits = np.log(np.stack([1 - p, p], -1)).astype(np.float32)
    value, (gradient,) = value_and_gradients("lovasz_softmax", logits, labels)
    # Of the background every pixel weighs 1/2¹⁸; of the nucleus, after its own error of 0.9, none weighs.
    background = (0.9 + np.delete(p.ravel(), 100 * 512 + 200).sum()) / 2**18
    np.testing.assert_allclose(value, (background + 0.9) / 2, rtol=1e-5, atol=0)
    weights = np.full(labels.shape, 1 / 2**18)
    weights[0, 100, 200] = -(1 / 2**18 + 1)
    np.testing.assert_allclose(gradient[..., 1], weights / 2 * p * (1 - p), rtol=1e-4, atol=0)


@pytest.mark.parametrize("tied", [False, True])
def test_lovasz_as_accelerators_compute_it_is_the_same_and_reads_no_single_values(tied: bool) -> None:
    """Every gather of one value at a time is a round trip to a TPU's memory: sorting brings weights back."""
    logits, labels = random_case(4, (2, 24, 31), 3)
    logits = np.round(logits) if tied else logits
    ignored = np.random.default_rng(5).random(labels.shape) < 0.1
    operands = (jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(ignored))
    found = []
    for platform in ("cpu", "tpu"):
        with devices.traced_for(platform):
            step = jax.jit(jax.value_and_grad(losses.lovasz_softmax))
            text = step.lower(*operands).as_text()
            assert ("gather" in text or "while" in text) == (platform == "cpu")
            found.append(step(*operands))
    (value, gradient), (other, other_gradient) = found
    np.testing.assert_allclose(other, value, rtol=1e-6, atol=0)
    np.testing.assert_allclose(other_gradient, gradient, rtol=1e-5, atol=1e-9)
