"""Each loss against its definition, written out in NumPy at float64; gradients against finite differences."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax.sharding import NamedSharding, PartitionSpec
from scipy import ndimage

from nucseg_jax import losses, sharding
from nucseg_jax.targets import EDGE_PX

SHAPE = (2, 3, 4)
"""[B, H, W] of the hypothesis tests: one shape, compiled once."""

logits_of = {
    classes: arrays(np.float32, (*SHAPE, classes), elements=st.floats(-30, 30, width=32))
    for classes in (2, 3)
}
labels_of = {classes: arrays(np.int32, SHAPE, elements=st.integers(0, classes - 1)) for classes in (2, 3)}
# A few values only: most errors then equal others.
tied_logits = arrays(np.float32, (*SHAPE, 3), elements=st.sampled_from([0.0, 1.0, 2.0]))


# --- definitions ---


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    logs = log_softmax(logits)
    return float(np.mean([-logs[at][label] for at, label in np.ndenumerate(labels)]))


def kl_divergence(logits: np.ndarray, probabilities: np.ndarray) -> float:
    logs = log_softmax(logits)
    total = 0.0
    for at, p in np.ndenumerate(probabilities.astype(np.float64)):
        total += p * (np.log(p) - logs[at]) if p > 0 else 0.0
    return total / logs[..., 0].size


def balanced_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    logs = log_softmax(logits)
    weight = {0: np.mean(labels == 1), 1: np.mean(labels == 0)}
    each = [(weight[label], -logs[at][label]) for at, label in np.ndenumerate(labels)]
    return float(sum(w * loss for w, loss in each) / sum(w for w, _ in each))


def jaccard_loss(wrong: set[int], foreground: set[int]) -> float:
    """1 - intersection over union, of a truth and a prediction that is wrong on these pixels."""
    predicted = foreground ^ wrong
    return 1 - len(foreground & predicted) / len(foreground | predicted) if foreground | predicted else 0.0


def lovasz_softmax(logits: np.ndarray, labels: np.ndarray) -> float:
    """The Lovász extension of `jaccard_loss`: its integral over the thresholds that make errors wrong.

    As equal errors pass the threshold together, their order is nowhere in it.
    """
    images = []
    for probabilities, truth in zip(softmax(logits), labels, strict=True):
        classes = []
        for c in np.unique(truth):
            foreground = {int(i) for i in np.flatnonzero(truth == c)}
            errors = np.abs((truth == c) - probabilities[..., c]).ravel()
            thresholds = np.unique([0.0, *errors])
            total = 0.0
            for below, threshold in zip(thresholds[:-1], thresholds[1:], strict=True):
                wrong = {int(i) for i in np.flatnonzero(errors >= threshold)}
                total += (threshold - below) * jaccard_loss(wrong, foreground)
            classes.append(total)
        images.append(np.mean(classes))
    return float(np.mean(images))


def edge_consistency(logits: np.ndarray, edge_logits: np.ndarray, labels: np.ndarray) -> float:
    def spread(image: np.ndarray) -> np.ndarray:
        size = 2 * EDGE_PX + 1
        # Beyond the image lies the nearest pixel, which is in the window already.
        return ndimage.maximum_filter(image, size, mode="nearest") - ndimage.minimum_filter(
            image, size, mode="nearest"
        )

    edges = softmax(edge_logits)[..., 1]
    differences = []
    for i, probabilities in enumerate(softmax(logits)):
        of_classes = np.max([spread(probabilities[..., c]) for c in range(logits.shape[-1])], axis=0)
        differences.append(np.abs(of_classes - edges[i])[spread(labels[i]) > 0])
    return float(np.concatenate(differences).mean())


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


# --- cases ---


def random_case(seed: int, shape: tuple[int, int, int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels in blocks of 4 pixels, so that there are edges and insides."""
    rng = np.random.default_rng(seed)
    batch, height, width = shape
    blocks = rng.integers(0, classes, (batch, -(-height // 4), -(-width // 4)))
    labels = blocks.repeat(4, 1).repeat(4, 2)[:, :height, :width].astype(np.int32)
    logits = rng.normal(scale=2, size=(*shape, classes)).astype(np.float32)
    return logits, labels


def soft_labels(seed: int, shape: tuple[int, int, int], classes: int) -> np.ndarray:
    """float16, a third of the pixels one-hot, another third certain that it is not the last class."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), shape)
    kind = rng.integers(0, 3, shape)
    probabilities[kind == 0] = np.eye(classes)[rng.integers(0, classes, (kind == 0).sum())]
    probabilities[kind == 1, -1] = 0
    return (probabilities / probabilities.sum(-1, keepdims=True)).astype(np.float16)


def arguments(name: str, seed: int, shape: tuple[int, int, int]) -> tuple[np.ndarray, ...]:
    """Of a loss, by its name: the logits first."""
    classes = 2 if name == "balanced_cross_entropy" else 3
    logits, labels = random_case(seed, shape, classes)
    if name == "kl_divergence":
        return logits, soft_labels(seed, shape, classes)
    if name == "edge_consistency":
        return logits, random_case(seed + 1, shape, 2)[0], labels
    return logits, labels


DEFINITIONS: dict[str, Callable[..., float]] = {
    "cross_entropy": cross_entropy,
    "kl_divergence": kl_divergence,
    "balanced_cross_entropy": balanced_cross_entropy,
    "lovasz_softmax": lovasz_softmax,
    "edge_consistency": edge_consistency,
}
HEADS = {name: 2 if name == "edge_consistency" else 1 for name in DEFINITIONS}
"""How many of a loss's arguments are logits."""

every_loss = pytest.mark.parametrize("name", DEFINITIONS)

# Jitted once, and not anew in each of an example's calls.
JITTED = {
    name: jax.jit(jax.value_and_grad(getattr(losses, name), tuple(range(heads))))
    for name, heads in HEADS.items()
}


def value_and_gradients(name: str, *args: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Of a loss, and to each of its heads."""
    return JITTED[name](*args)


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
    split = NamedSharding(sharding.make_mesh(), PartitionSpec("data"))
    args = arguments(name, 0, (8, 7, 9))
    compiled = JITTED[name].lower(*(jax.device_put(a, split) for a in args)).compile()
    exchanges = set(
        re.findall(r"\b(all-gather|all-reduce|all-to-all|collective-permute)\b", compiled.as_text())
    )
    assert exchanges == {"all-reduce"}
    assert "[8,7,9" not in compiled.as_text() and "[8,3,63" not in compiled.as_text()
    value, gradients = compiled(*(jax.device_put(a, split) for a in args))
    expected, expected_gradients = value_and_gradients(name, *args)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=0)
    for gradient, one_device in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, one_device, rtol=1e-5, atol=1e-9)


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


# --- Lovász-softmax ---


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


# --- edges' consistency ---


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
