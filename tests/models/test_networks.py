"""What every network must do."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nucseg_jax.errors import UserError
from nucseg_jax.models import NETWORKS, REACH_PX, count_parameters, create_model
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.network import InputFormat, network_input, split_network
from nucseg_jax.models.pyramid_pooling import PyramidPooling
from tests.networks import QUICK, all_logits, by_weight, empty_network, filled_network

PARAMETERS = {
    "fcn8": 18_643_746,
    "fcn16": 18_643_746,
    "fcn32": 18_643_746,
    "fc_densenet": 9_319_778,
    "unet": 34_527_106,
    "segnet": 18_819_650,
    "psp_segnet": 122_925_064,
    "self_correction": 66_714_676,
    "efficient_unet": 3_832_098,
    "efficient_unet_half": 3_825_154,
}
MULTIPLE = dict.fromkeys(PARAMETERS, 32) | {"unet": 16, "self_correction": 16}
WIDTH = 1 / 32


def narrow(name: str, **options: Any) -> nnx.Module:
    # So narrow, a network may begin with dead channels, which have no gradient: with seed 1 none does.
    return create_model(name, width=WIDTH, rngs=nnx.Rngs(1), **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_parameter_count(name: str) -> None:
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    assert count_parameters(nnx.state(model, nnx.Param)) == PARAMETERS[name]


# The largest compile for long: test_train.py sees their gradients in the one step that it takes.
@pytest.mark.parametrize(
    "name", by_weight(NETWORKS.keys() - {"fc_densenet", "psp_segnet", "efficient_unet_half"})
)
def test_every_parameter_has_a_gradient(name: str) -> None:
    """In training on images that are not square; of `self_correction` by all three branches together.

    A bias before a batch norm has one by rounding alone: more than "not exactly zero" cannot be asked.
    """
    images = np.random.default_rng(0).random((2, 64, 96, 3), np.float32)
    model = narrow(name, num_classes=3)
    model.train()
    graph, start, statistics, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)

    def loss(params: nnx.State) -> tuple[jax.Array, tuple[dict[str, jax.Array], nnx.State]]:
        network = nnx.merge(graph, params, statistics, rest, copy=True)
        logits = all_logits(network, images)
        return sum((y**2).mean() for y in logits.values()), (logits, nnx.state(network, nnx.BatchStat))

    gradients, (logits, batch_stats) = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICK)(start)
    for branch, values in logits.items():
        assert values.shape == (2, 64, 96, 2 if branch == "edge" else 3) and values.dtype == jnp.float32
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.any(leaf), jax.tree_util.keystr(path)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), statistics, batch_stats)
    assert all(jax.tree.leaves(moved)), "training updates every batch statistic"


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_networks_have_float32_logits_of_the_images_size_and_float32_parameters(name: str) -> None:
    model = empty_network(name, width=WIDTH, dtype=jnp.bfloat16, num_classes=3)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {jnp.dtype("float32")}
    model.eval()
    for size in ((512, 512), (256, 256), (96, 160)):
        found = nnx.eval_shape(lambda m, size=size: all_logits(m, jnp.zeros((2, *size, 3))), model)
        for branch, logits in found.items():
            assert logits.shape == (2, *size, 2 if branch == "edge" else 3)
            assert logits.dtype == jnp.float32, branch


@pytest.mark.parametrize("name", NETWORKS)
def test_other_sizes_are_refused_by_name(name: str) -> None:
    model = empty_network(name, width=WIDTH)
    with pytest.raises(ValueError, match=f"{name} needs .* multiples of {MULTIPLE[name]}, got 64×72"):
        model(jnp.zeros((2, 64, 72, 3)))
    with pytest.raises(ValueError, match="float images"):
        model(jnp.zeros((2, 64, 64, 3), jnp.uint8))
    with pytest.raises(ValueError, match=r"\[batch, height, width, 3\]"):
        model(jnp.zeros((64, 64, 3)))


def test_pyramid_pooling_refuses_to_train_on_one_image() -> None:
    pooling = PyramidPooling(4, 2, dtype=jnp.float32, rngs=nnx.Rngs(0))
    pooling.train()
    with pytest.raises(ValueError, match="batch of at least 2"):
        pooling(jnp.zeros((1, 8, 8, 4)))


def test_unknown_network_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'unet'"):
        create_model("u-net", rngs=nnx.Rngs(0))
    for num_classes in (1, 1001, 10**20):
        with pytest.raises(ValueError, match=f"num_classes must be .* at most 1,000, got {num_classes}"):
            create_model("unet", num_classes=num_classes, rngs=nnx.Rngs(0))
    for width in (0, 65, 1e20, float("inf"), float("nan")):
        with pytest.raises(
            ValueError, match=re.escape(f"width must be positive and at most 64, got {width}")
        ):
            create_model("unet", width=width, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="recompute must be one of auto, none, blocks, got 'all'"):
        create_model("fcn32", width=1 / 32, recompute="all", rngs=nnx.Rngs(0))
    for dtype in ("float23", "int8"):
        with pytest.raises(ValueError, match=f"dtype must be .* got '{dtype}'"):
            create_model("unet", dtype=dtype, rngs=nnx.Rngs(0))


def test_network_input_scales_and_orders_channels() -> None:
    image = np.array([[[[255, 51, 0]]]], np.uint8)
    for order, expected in (("RGB", [1.0, 0.2, 0.0]), ("BGR", [0.0, 0.2, 1.0])):
        found = network_input(image, InputFormat(order))
        np.testing.assert_allclose(found, [[[expected]]], rtol=1e-6, atol=0)
    with pytest.raises(UserError, match="channel_order must be .* got 'GRB'"):
        InputFormat("GRB")


def test_a_network_may_see_images_at_another_scale() -> None:
    """At half the size each pixel is the mean of four; logits come back at the images' size."""
    half = InputFormat(scale=0.5)
    images = np.random.default_rng(0).integers(0, 256, (1, 8, 4, 3)).astype(np.uint8)
    means = images.reshape(1, 4, 2, 2, 2, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(network_input(images, half), means, rtol=1e-5, atol=0)
    network, params, statistics = split_network(Dropped(nnx.Rngs(params=0, dropout=0)), half)
    assert network.predict(params, statistics, images).shape == images.shape
    for scale in (0.0, float("inf"), float("nan")):
        with pytest.raises(UserError, match=rf"input_scale must be from 1/16 to 16, got {scale}"):
            InputFormat(scale=scale)


class Dropped(nnx.Module):
    """A network of dropout alone, whose logits show the mask."""

    def __init__(self, rngs: nnx.Rngs):
        self.weight = nnx.Param(jnp.ones(()))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.weight[...] * self.dropout(images)


def test_dropout_is_a_function_of_the_key() -> None:
    network, params, statistics = split_network(Dropped(nnx.Rngs(params=0, dropout=0)))
    images = np.full((1, 8, 8, 3), 255, np.uint8)
    masks = [network.train(params, statistics, images, jax.random.key(k))[0].classes for k in (1, 2, 1)]
    assert np.array_equal(masks[0], masks[2]) and not np.array_equal(masks[0], masks[1])
    assert np.array_equal(network.predict(params, statistics, images), images / 255.0)
    with pytest.raises(ValueError, match="dropout="):
        split_network(Dropped(nnx.Rngs(0)))


class Normalised(nnx.Module):
    """A network of batch norm alone."""

    def __init__(self) -> None:
        self.bn = BatchNorm(3, rngs=nnx.Rngs(0))

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.bn(images)


def test_training_with_frozen_statistics_normalises_as_inference_does() -> None:
    images, key = np.full((1, 8, 8, 3), 255, np.uint8), jax.random.key(0)
    moving, params, statistics = split_network(Normalised())
    frozen, *_ = split_network(Normalised(), freeze_statistics=True)
    expected = moving.predict(params, statistics, images)
    logits, after = frozen.train(params, statistics, images, key)
    np.testing.assert_array_equal(logits.classes, expected)
    jax.tree.map(np.testing.assert_array_equal, after, statistics)
    logits, after = moving.train(params, statistics, images, key)
    assert np.all(logits.classes == 0) and np.all(expected > 0.9)
    np.testing.assert_allclose(jax.tree.leaves(after)[0], 0.1, rtol=1e-6)


@pytest.mark.parametrize("name", REACH_PX)
def test_how_far_a_network_sees(name: str) -> None:
    """A pixel that is no number makes all that see it no numbers."""
    draw, side = np.random.default_rng(0), 384
    model = filled_network(name, lambda shape: draw.uniform(0.1, 1.0, shape).astype(np.float32), width=WIDTH)
    model.eval()
    predict = jax.jit(model, compiler_options=QUICK)
    reached = 0
    for phase in (0, 1, 7, 8, 15):  # of the pooling windows
        place = side // 2 + phase
        image = np.full((1, side, side, 3), 0.5, np.float32)
        image[0, place, place, 0] = np.nan
        seen = np.argwhere(np.isnan(np.asarray(predict(image))[0, ..., 0]))
        reached = max(reached, int(np.abs(seen - place).max()))
    assert reached == REACH_PX[name]
