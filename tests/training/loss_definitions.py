"""The definition of each loss, written out in NumPy at float64; its arguments; the loss, jitted once."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from nucseg_jax.models.targets import EDGE_PX
from nucseg_jax.training import losses

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


def weighted_cross_entropy(logits: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    logs = log_softmax(logits)
    each = [
        (weights[at[-1]] * t, -weights[at[-1]] * t * logs[at])
        for at, t in np.ndenumerate(truth.astype(np.float64))
    ]
    return float(sum(loss for _, loss in each) / sum(weight for weight, _ in each))


def dice(logits: np.ndarray, truth: np.ndarray) -> float:
    probabilities, truth = softmax(logits), truth.astype(np.float64)
    found = []
    for c in range(1, logits.shape[-1]):
        p, t = probabilities[..., c].ravel(), truth[..., c].ravel()
        found.append((2 * p @ t + 1) / (p @ p + t @ t + 1))
    return 1 - float(np.mean(found))


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
    if name == "dice":
        return logits, soft_labels(seed, shape, classes).astype(np.float32)
    if name == "weighted_cross_entropy":
        return logits, soft_labels(seed, shape, classes).astype(np.float32), np.float32([1.0, 0.5, 2.0])
    if name == "edge_consistency":
        return logits, random_case(seed + 1, shape, 2)[0], labels
    return logits, labels


# --- the losses ---

DEFINITIONS: dict[str, Callable[..., float]] = {
    "cross_entropy": cross_entropy,
    "weighted_cross_entropy": weighted_cross_entropy,
    "dice": dice,
    "kl_divergence": kl_divergence,
    "balanced_cross_entropy": balanced_cross_entropy,
    "lovasz_softmax": lovasz_softmax,
    "edge_consistency": edge_consistency,
}
HEADS = {name: 2 if name == "edge_consistency" else 1 for name in DEFINITIONS}
"""How many of a loss's arguments are logits."""

# Jitted once, and not anew in each of an example's calls.
JITTED = {
    name: jax.jit(jax.value_and_grad(getattr(losses, name), tuple(range(heads))))
    for name, heads in HEADS.items()
}


def value_and_gradients(name: str, *args: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Of a loss, and to each of its heads."""
    return JITTED[name](*args)
