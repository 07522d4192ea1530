"""The losses and their gradients are those of PyTorch's functions, and of Lovász-softmax over its sort."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from nucseg_jax.training import losses  # noqa: E402

SHAPE = (2, 64, 96)


def case(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are mostly right, and labels: a background with squares of the other classes."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    for image in labels:
        for _ in range(20):
            y, x = rng.integers(0, SHAPE[1] - 8), rng.integers(0, SHAPE[2] - 8)
            image[y : y + 8, x : x + 8] = rng.integers(1, classes)
    labels[0][labels[0] == classes - 1] = 0  # absent from the first image
    logits = rng.normal(scale=2, size=(*SHAPE, classes)) + 2 * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


def channels_first(logits: Any) -> Any:
    return logits.movedim(-1, 1)


def balanced_cross_entropy(logits: Any, labels: Any) -> Any:
    positive = labels.double().mean()
    weight = torch.stack([positive, 1 - positive])
    return torch.nn.functional.cross_entropy(channels_first(logits), labels, weight=weight)


def kl_divergence(logits: Any, probabilities: Any) -> Any:
    pointwise = torch.nn.functional.kl_div(logits.log_softmax(-1), probabilities, reduction="none")
    return pointwise.sum(-1).mean()


def lovasz_softmax(logits: Any, labels: Any) -> Any:
    """Errors from the largest down, each times what it adds to 1 - IoU; float64."""
    images = []
    for probabilities, truth in zip(logits.softmax(-1), labels, strict=True):
        classes = []
        for c in truth.unique():
            is_class = (truth == c).flatten()
            errors = (is_class.double() - probabilities[..., c].flatten()).abs()
            errors, order = errors.sort(descending=True)
            wrong = is_class[order].double()
            intersection = wrong.sum() - wrong.cumsum(0)
            union = wrong.sum() + (1 - wrong).cumsum(0)
            jaccard_loss = 1 - intersection / union
            classes.append(errors @ jaccard_loss.diff(prepend=torch.zeros(1, dtype=torch.float64)))
        images.append(torch.stack(classes).mean())
    return torch.stack(images).mean()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("ours", "theirs", "classes"),
    [
        (losses.cross_entropy, lambda x, y: torch.nn.functional.cross_entropy(channels_first(x), y), 3),
        (losses.balanced_cross_entropy, balanced_cross_entropy, 2),
        (losses.kl_divergence, kl_divergence, 3),
        (losses.lovasz_softmax, lovasz_softmax, 3),
        (losses.lovasz_softmax, lovasz_softmax, 2),
    ],
    ids=["cross_entropy", "balanced_cross_entropy", "kl_divergence", "lovasz_3", "lovasz_2"],
)
def test_values_and_gradients(
    ours: Callable[..., jax.Array], theirs: Callable[..., Any], classes: int, seed: int
) -> None:
    logits, targets = case(seed, classes)
    if ours is losses.kl_divergence:
        one_hot = np.eye(classes, dtype=np.float32)[targets]
        targets = (0.75 * one_hot + 0.25 * np.eye(classes)[targets[:, ::-1]]).astype(np.float16)
    value, gradient = jax.jit(jax.value_and_grad(ours))(logits, targets)
    exact = torch.from_numpy(logits).double().requires_grad_()
    truth = torch.from_numpy(targets)
    expected = theirs(exact, truth.double() if truth.is_floating_point() else truth.long())
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5, atol=0)
    # Of the whole: two errors that float32 does not tell apart may have float64's weights the other way.
    difference = np.linalg.norm(np.asarray(gradient, np.float64) - exact.grad.numpy())
    assert difference <= 1e-5 * np.linalg.norm(exact.grad.numpy())


@pytest.mark.parametrize("name", ["cross_entropy", "balanced_cross_entropy"])
def test_ignored_pixels_are_those_of_ignore_index(name: str) -> None:
    classes = 2 if name == "balanced_cross_entropy" else 3
    logits, labels = case(3, classes)
    ignored = np.zeros(SHAPE, bool)
    ignored[0, :, 70:], ignored[1, 20:] = True, True
    value, gradient = jax.jit(jax.value_and_grad(getattr(losses, name)))(logits, labels, ignored=ignored)
    exact = torch.from_numpy(logits).double().requires_grad_()
    truth = torch.from_numpy(np.where(ignored, -100, labels)).long()
    weight = None
    if classes == 2:
        positive = truth[truth >= 0].double().mean()
        weight = torch.stack([positive, 1 - positive])
    expected = torch.nn.functional.cross_entropy(
        channels_first(exact), truth, weight=weight, ignore_index=-100
    )
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5, atol=0)
    np.testing.assert_allclose(gradient, exact.grad.numpy(), rtol=1e-4, atol=1e-9)
