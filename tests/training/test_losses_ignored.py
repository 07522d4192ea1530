"""Pixels without a label change nothing: each loss against its definition on the other pixels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from nucseg_jax import devices
from nucseg_jax.training import losses
from tests.training.loss_definitions import DEFINITIONS, HEADS, arguments, value_and_gradients

SHAPE = (2, 8, 14)

# As JITTED of the definitions, with the mask as one more argument.
MASKED = {
    name: jax.jit(
        lambda ignored, *args, name=name, heads=heads: jax.value_and_grad(
            lambda *heads_and_rest: getattr(losses, name)(*heads_and_rest, ignored=ignored),
            tuple(range(heads)),
        )(*args)
    )
    for name, heads in HEADS.items()
}
every_loss = pytest.mark.parametrize("name", DEFINITIONS)


def mask(kind: str) -> np.ndarray:
    """More of the second image than of the first."""
    ignored = np.zeros(SHAPE, bool)
    if kind == "part":
        ignored[0, :, 10:], ignored[1, :, 8:], ignored[1, 6:] = True, True, True
    elif kind == "all":
        ignored[:] = True
    elif kind == "one image":
        ignored[1] = True
    return ignored


def by_definition(name: str, args: tuple[np.ndarray, ...], ignored: np.ndarray) -> float:
    """The definition of the pixels that are left, in a row."""
    arrays = [a for a in args if a.ndim > 1]
    others = [a for a in args if a.ndim <= 1]

    def of(images: slice) -> float:
        kept = ~ignored[images]
        return DEFINITIONS[name](*(a[images][kept][None, None] for a in arrays), *others)

    if name == "lovasz_softmax":  # image by image
        return float(np.mean([of(slice(i, i + 1)) for i in range(len(ignored)) if not ignored[i].all()]))
    return of(slice(None))


@pytest.mark.parametrize("kind", ["part", "one image"])
@pytest.mark.parametrize("name", [name for name in DEFINITIONS if name != "edge_consistency"])
def test_the_loss_is_that_of_the_other_pixels(name: str, kind: str) -> None:
    args, ignored = arguments(name, 3, SHAPE), mask(kind)
    value, _ = MASKED[name](ignored, *args)
    np.testing.assert_allclose(value, by_definition(name, args, ignored), rtol=3e-6, atol=0)


def changed(name: str, args: tuple[np.ndarray, ...], ignored: np.ndarray) -> list[np.ndarray]:
    """Other logits and labels where they are ignored."""
    others = arguments(name, 4, SHAPE)
    return [
        np.where(ignored.reshape(ignored.shape + (1,) * (a.ndim - 3)), b, a) if a.ndim > 1 else a
        for a, b in zip(args, others, strict=True)
    ]


@every_loss
def test_ignored_pixels_change_nothing_and_get_no_gradient(name: str) -> None:
    args, ignored = arguments(name, 3, SHAPE), mask("part")
    value, gradients = MASKED[name](ignored, *args)
    assert value > 0
    other_value, other_gradients = MASKED[name](ignored, *changed(name, args, ignored))
    assert value == other_value
    for gradient, other in zip(gradients, other_gradients, strict=True):
        np.testing.assert_array_equal(gradient, other)
        assert (np.asarray(gradient)[ignored] == 0).all()
        assert np.abs(gradient).max() > 1e-4


@every_loss
def test_where_all_is_ignored_the_loss_is_zero(name: str) -> None:
    value, gradients = MASKED[name](mask("all"), *arguments(name, 3, SHAPE))
    assert value == 0
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0)


@every_loss
def test_a_mask_of_nothing_changes_nothing(name: str) -> None:
    args = arguments(name, 3, SHAPE)
    value, gradients = MASKED[name](mask("nothing"), *args)
    expected, expected_gradients = value_and_gradients(name, *args)
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=0)
    for gradient, plain in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, plain, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", ["cross_entropy", "lovasz_softmax"])
def test_the_mean_is_of_the_whole_batch_on_any_number_of_devices(name: str) -> None:
    """Eight devices with an image each, of which some have few labels or none."""
    shape = (8, 7, 9)
    args = arguments(name, 0, shape)
    ignored = np.zeros(shape, bool)
    for i in range(8):
        ignored[i, :i] = True  # of the last image all
    split = NamedSharding(devices.make_mesh(), PartitionSpec("data"))
    placed: list[Any] = [jax.device_put(a, split) for a in (ignored, *args)]
    value, gradients = MASKED[name](*placed)
    expected, expected_gradients = MASKED[name](*(jnp.asarray(a) for a in (ignored, *args)))
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=0)
    np.testing.assert_allclose(value, by_definition(name, args, ignored), rtol=3e-6, atol=0)
    for gradient, one_device in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, one_device, rtol=1e-5, atol=1e-9)


def test_consistency_counts_the_edge_pixels_that_do_not_reach_what_is_ignored() -> None:
    """Of the four columns of an edge, 4 to 7, the mask from column 8 on leaves 4 and 5."""
    labels = np.zeros((1, 6, 12), np.int32)
    labels[..., 6:] = 1
    classes = 200 * np.eye(2, dtype=np.float32)[labels]
    edges = 200 * np.eye(2, dtype=np.float32)[(np.arange(12) == 4).astype(int) * np.ones_like(labels)]
    ignored = np.zeros(labels.shape, bool)
    for first, expected in ((12, 0.75), (8, 0.5), (7, 0.0), (6, 0.0)):
        ignored[..., first:] = True
        value, _ = MASKED["edge_consistency"](ignored, classes, edges, labels)
        assert value == expected, first
