"""Each loss against its definition in NumPy at float64; gradients against finite differences.

Lovász-softmax has more tests, in test_losses_lovasz.py.
"""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from nucseg_jax import devices
from nucseg_jax.training import losses
from tests.training.loss_definitions import (
    DEFINITIONS,
    JITTED,
    SHAPE,
    arguments,
    balanced_cross_entropy,
    cross_entropy,
    kl_divergence,
    labels_of,
    logits_of,
    soft_labels,
    softmax,
    value_and_gradients,
)


def slopes(f: Callable[[np.ndarray], float], x: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central finite differences of f at x, in float64."""
    found = np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            moved = x.astype(np.float64)
            moved[at] += sign * step
            values.append(f(moved))
        found[at] = (values[0] - values[1]) / (2 * step)
    return found


every_loss = pytest.mark.parametrize("name", DEFINITIONS)


# --- all of them ---


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_the_definitions(name: str, seed: int) -> None:
    args = arguments(name, seed, (2, 5, 7))
    definition = DEFINITIONS[name]
    value, gradients = value_and_gradients(name, *args)
    np.testing.assert_allclose(value, definition(*args), rtol=2e-6, atol=0)
    for i, gradient in enumerate(gradients):
        expected = slopes(lambda x, i=i: definition(*args[:i], x, *args[i + 1 :]), args[i])
        assert np.abs(expected).max() > 1e-4  # gradient reaches every head
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)


@every_loss
def test_jit_changes_nothing(name: str) -> None:
    args = arguments(name, 5, (2, 5, 7))
    plain = getattr(losses, name)(*(jnp.asarray(a) for a in args))
    np.testing.assert_allclose(value_and_gradients(name, *args)[0], plain, rtol=1e-6, atol=0)


@every_loss
@pytest.mark.parametrize("scale", [0, 1e4])
def test_extreme_logits_have_finite_losses_and_gradients(name: str, scale: float) -> None:
    logits, *others = arguments(name, 0, (2, 5, 7))
    value, gradients = value_and_gradients(name, scale * logits, *others)
    assert np.isfinite(value)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


@every_loss
def test_devices_exchange_nothing_but_sums(name: str) -> None:
    """Of a batch split over eight devices each works on its own images."""
    split = NamedSharding(devices.make_mesh(), PartitionSpec("data"))
    args = arguments(name, 0, (8, 7, 9))
    placed = [jax.device_put(a, split) if a.ndim > 1 else a for a in args]
    compiled = JITTED[name].lower(*placed).compile()
    exchanges = set(
        re.findall(r"\b(all-gather|all-reduce|all-to-all|collective-permute)\b", compiled.as_text())
    )
    assert exchanges == {"all-reduce"}
    assert "[8,7,9" not in compiled.as_text() and "[8,3,63" not in compiled.as_text()
    value, gradients = compiled(*placed)
    expected, expected_gradients = value_and_gradients(name, *args)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=0)
    for gradient, one_device in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, one_device, rtol=1e-5, atol=1e-9)


# --- cross-entropy ---


def test_cross_entropy_by_hand() -> None:
    logits = jnp.array([[[[0.0, 0.0], [2.0, 0.0]]]])
    loss = losses.cross_entropy(logits, jnp.array([[[1, 0]]]))
    np.testing.assert_allclose(loss, (np.log(2) + np.log(1 + np.exp(-2))) / 2, rtol=1e-6, atol=0)


# --- Dice and weighted cross-entropy ---


def test_dice_is_least_where_the_probabilities_are_the_truths() -> None:
    """Soft ones, too: a step to either side is worse."""
    truth = soft_labels(0, SHAPE, 3).astype(np.float32).clip(0.05, 0.9)
    truth /= truth.sum(-1, keepdims=True)
    value, (gradient,) = value_and_gradients("dice", np.log(truth), truth)
    np.testing.assert_allclose(value, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_equal_weights_are_the_plain_cross_entropy() -> None:
    logits, labels = arguments("cross_entropy", 0, SHAPE)
    one_hot = np.eye(3, dtype=np.float32)[labels]
    weighted, _ = value_and_gradients("weighted_cross_entropy", logits, one_hot, np.float32([2, 2, 2]))
    plain, _ = value_and_gradients("cross_entropy", logits, labels)
    np.testing.assert_allclose(weighted, plain, rtol=1e-6, atol=0)


# --- KL divergence ---


@given(logits_of[3], labels_of[3])
@settings(max_examples=50)
def test_kl_from_one_hot_labels_is_the_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> None:
    one_hot = np.eye(3, dtype=np.float16)[labels]
    value, (gradient,) = value_and_gradients("kl_divergence", logits, one_hot)
    expected, (expected_gradient,) = value_and_gradients("cross_entropy", logits, labels)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6, atol=1e-7)


@given(logits_of[3], st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_kl_of_soft_labels(logits: np.ndarray, seed: int) -> None:
    probabilities = soft_labels(seed, SHAPE, 3)
    value, (gradient,) = value_and_gradients("kl_divergence", logits, probabilities)
    np.testing.assert_allclose(value, kl_divergence(logits, probabilities), rtol=1e-5, atol=1e-6)
    p = probabilities.astype(np.float64)
    expected = (p.sum(-1, keepdims=True) * softmax(logits) - p) / np.prod(SHAPE)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@given(logits_of[3])
@settings(max_examples=50)
def test_kl_from_the_prediction_itself_is_zero(logits: np.ndarray) -> None:
    value, (gradient,) = value_and_gradients("kl_divergence", logits, np.asarray(jax.nn.softmax(logits)))
    np.testing.assert_allclose(value, 0, rtol=0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, rtol=0, atol=1e-7)


def test_soft_labels_are_constants_with_the_smallest_numbers_allowed() -> None:
    probabilities = np.array([[[[0, 1e-40, 1]]]], np.float32)  # 1e-40 is subnormal
    found = jax.grad(losses.kl_divergence, (0, 1))(jnp.zeros((1, 1, 1, 3)), jnp.asarray(probabilities))
    np.testing.assert_allclose(found[0], [[[[1 / 3, 1 / 3, -2 / 3]]]], rtol=1e-6, atol=0)
    np.testing.assert_array_equal(found[1], 0)


# --- balanced cross-entropy ---


def test_balanced_cross_entropy_by_hand() -> None:
    """Three pixels of class 0 weigh 1/4 each, one of class 1 weighs 3/4: half of the loss each."""
    logits = jnp.array([[[[2.0, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]]])
    loss = losses.balanced_cross_entropy(logits, jnp.array([[[0, 0, 0, 1]]]))
    certain, even = np.log(1 + np.exp(-2)), np.log(2)
    expected = (0.25 * (2 * certain + even) + 0.75 * even) / 1.5
    np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=0)


@given(logits_of[2], labels_of[2])
@settings(max_examples=50)
def test_balanced_cross_entropy_is_a_weighted_one(logits: np.ndarray, labels: np.ndarray) -> None:
    """And of one class only, which would weigh nothing, it is the plain cross-entropy."""
    definition = balanced_cross_entropy if 0 < labels.mean() < 1 else cross_entropy
    value, (gradient,) = value_and_gradients("balanced_cross_entropy", logits, labels)
    np.testing.assert_allclose(value, definition(logits, labels), rtol=1e-5, atol=1e-6)
    counts = np.bincount(labels.ravel(), minlength=2)
    share = 1 / (counts[labels] * (counts > 0).sum())
    expected = share[..., None] * (softmax(logits) - np.eye(2)[labels])
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


# --- consistency of edges ---


def certain(classes: np.ndarray, count: int) -> np.ndarray:
    return 200 * np.eye(count, dtype=np.float32)[classes]


def test_consistency_of_certain_predictions_counts_pixels() -> None:
    labels = np.zeros((1, 6, 12), np.int32)
    labels[..., 6:] = 1
    shifted = np.roll(labels, 1, axis=-1)
    shifted[..., 0] = 0
    no_edge, edge = (certain(np.full(labels.shape, e), 2) for e in (0, 1))
    # The truth's edge pixels are columns 4 to 7; the edges of the shifted classes are 5 to 8.
    for logits, edge_logits, expected in (
        (certain(labels, 2), edge, 0),
        (certain(labels, 2), no_edge, 1),
        (certain(shifted, 2), edge, 0.25),
        (certain(shifted, 2), no_edge, 0.75),
    ):
        assert value_and_gradients("edge_consistency", logits, edge_logits, labels)[0] == expected


def test_without_edges_there_is_no_inconsistency() -> None:
    logits, edge_logits, _ = arguments("edge_consistency", 0, (2, 5, 7))
    value, gradients = value_and_gradients(
        "edge_consistency", logits, edge_logits, np.ones((2, 5, 7), np.int32)
    )
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


def test_an_edge_missing_from_the_classes_is_learnt_by_both_heads() -> None:
    """Descent raises the classes' difference across the edge and lowers the edge's probability."""
    labels = np.zeros((1, 6, 12), np.int32)
    labels[..., 6:] = 1
    logits = jnp.asarray(0.1 * certain(labels, 2) / 200)
    edge_logits = jnp.asarray(certain(np.ones_like(labels), 2) / 100)
    _, (to_classes, to_edge) = value_and_gradients("edge_consistency", logits, edge_logits, labels)
    assert (to_classes[..., 4:8, 1] * jnp.array([1, 1, -1, -1])[None, None] >= 0).all()
    assert (to_classes != 0).any()
    assert (to_edge[..., 4:8, 1] > 0).all()
    assert (to_edge[..., :4, :] == 0).all() and (to_edge[..., 8:, :] == 0).all()
