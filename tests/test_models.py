"""What every network must do; the layers against NumPy written from their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nucseg_jax.errors import UserError
from nucseg_jax.models import NETWORKS, count_parameters, create_model, layers
from nucseg_jax.models.functional import network_input, split_network

PARAMETERS = {"psp_segnet": 122_925_064, "unet": 34_527_106}
MULTIPLE = {"psp_segnet": 32, "unet": 16}
WIDTH = 1 / 32


def narrow(name: str, **options: object) -> nnx.Module:
    return create_model(name, width=WIDTH, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_parameter_count(name: str) -> None:
    model = nnx.eval_shape(lambda: create_model(name, rngs=nnx.Rngs(0)))
    assert count_parameters(nnx.state(model, nnx.Param)) == PARAMETERS[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_have_the_images_size_and_every_parameter_a_gradient(name: str) -> None:
    network, start, statistics = split_network(narrow(name, num_classes=3))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3)).astype(np.uint8)

    def loss(params: nnx.State) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
        logits, batch_stats = network.train(params, statistics, images, jax.random.key(0))
        return (logits**2).mean(), (logits, batch_stats)

    gradients, (logits, batch_stats) = jax.jit(jax.grad(loss, has_aux=True))(start)
    assert logits.shape == (2, 64, 96, 3) and logits.dtype == jnp.float32
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.any(leaf), jax.tree_util.keystr(path)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), statistics, batch_stats)
    assert all(jax.tree.leaves(moved)), "training updates every batch statistic"


@pytest.mark.parametrize("name", NETWORKS)
def test_bfloat16_computes_in_bfloat16_and_keeps_float32_parameters(name: str) -> None:
    model = narrow(name, dtype=jnp.bfloat16)
    model.eval()
    logits = nnx.jit(lambda m, x: m(x))(model, jnp.zeros((1, 32, 32, 3)))
    assert logits.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", NETWORKS)
def test_other_sizes_are_refused_by_name(name: str) -> None:
    model = narrow(name)
    with pytest.raises(ValueError, match=f"{name} needs .* multiples of {MULTIPLE[name]}, got 64×72"):
        model(jnp.zeros((2, 64, 72, 3)))
    with pytest.raises(ValueError, match="float images"):
        model(jnp.zeros((2, 64, 64, 3), jnp.uint8))
    with pytest.raises(ValueError, match=r"\[batch, height, width, 3\]"):
        model(jnp.zeros((64, 64, 3)))


def test_pyramid_pooling_refuses_to_train_on_one_image() -> None:
    model = narrow("psp_segnet")
    model.train()
    with pytest.raises(ValueError, match="batch of at least 2"):
        nnx.eval_shape(lambda m: m(jnp.zeros((1, 32, 32, 3))), model)


def test_unknown_network_suggests_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'unet'"):
        create_model("u-net", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="num_classes"):
        create_model("unet", num_classes=1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="width"):
        create_model("unet", width=0, rngs=nnx.Rngs(0))
    for dtype in ("float23", "int8"):
        with pytest.raises(ValueError, match=f"dtype must be .* got '{dtype}'"):
            create_model("unet", dtype=dtype, rngs=nnx.Rngs(0))


def test_network_input_scales_and_orders_channels() -> None:
    image = np.array([[[[255, 51, 0]]]], np.uint8)
    np.testing.assert_allclose(network_input(image, "RGB"), [[[[1.0, 0.2, 0.0]]]], rtol=1e-6, atol=0)
    np.testing.assert_allclose(network_input(image, "BGR"), [[[[0.0, 0.2, 1.0]]]], rtol=1e-6, atol=0)
    with pytest.raises(UserError, match="channel_order must be .* got 'GRB'"):
        split_network(narrow("unet"), "GRB")


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
    masks = [network.train(params, statistics, images, jax.random.key(k))[0] for k in (1, 2, 1)]
    assert np.array_equal(masks[0], masks[2]) and not np.array_equal(masks[0], masks[1])
    assert np.array_equal(network.predict(params, statistics, images), images / 255.0)
    with pytest.raises(ValueError, match="dropout="):
        split_network(Dropped(nnx.Rngs(0)))


@pytest.mark.parametrize("size", [(3, 7), (9, 4), (1, 1), (5, 5)])
def test_resize_aligns_corners(size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).random((1, 5, 4, 2)).astype(np.float32)

    def at(length_in: int, length_out: int, i: int) -> tuple[int, int, float]:
        source = i * (length_in - 1) / (length_out - 1) if length_out > 1 else 0.0
        low = int(source)
        return low, min(low + 1, length_in - 1), source - low

    expected = np.empty((1, *size, 2))
    for i in range(size[0]):
        for j in range(size[1]):
            y0, y1, fy = at(5, size[0], i)
            x0, x1, fx = at(4, size[1], j)
            top = x[0, y0, x0] * (1 - fx) + x[0, y0, x1] * fx
            bottom = x[0, y1, x0] * (1 - fx) + x[0, y1, x1] * fx
            expected[0, i, j] = top * (1 - fy) + bottom * fy
    np.testing.assert_allclose(layers.resize_bilinear(x, size), expected, rtol=1e-5, atol=1e-6)


def test_resizing_rounds_once_in_bfloat16() -> None:
    x = np.random.default_rng(0).random((1, 16, 16, 4)).astype(np.float32)
    low = layers.resize_bilinear(jnp.asarray(x, jnp.bfloat16), (512, 512))
    exact = layers.resize_bilinear(np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32), (512, 512))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), exact, rtol=2**-8, atol=0)


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_pooling_bins_may_overlap(bins: int) -> None:
    x = np.random.default_rng(0).random((2, 8, 5, 3)).astype(np.float32)
    expected = np.empty((2, bins, bins, 3))
    for i in range(bins):
        for j in range(bins):
            rows = slice(i * 8 // bins, -(-(i + 1) * 8 // bins))
            columns = slice(j * 5 // bins, -(-(j + 1) * 5 // bins))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(layers.adaptive_average_pool(x, bins), expected, rtol=1e-5, atol=1e-6)


def test_pooling_and_upsampling() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype(np.float32)
    blocks = x.reshape(2, 3, 2, 4, 2, 3)
    np.testing.assert_array_equal(layers.max_pool_2x2(x), blocks.max((2, 4)))
    np.testing.assert_array_equal(layers.upsample_nearest(x), x.repeat(2, 1).repeat(2, 2))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = np.stack(
        [np.stack([padded[:, i : i + 3, j : j + 3].max((1, 2)) for j in (0, 2, 4, 6)], 1) for i in (0, 2, 4)],
        1,
    )
    np.testing.assert_array_equal(layers.max_pool(x, 3, stride=2, padding=1), expected)


def test_strided_convolution_pads_both_sides() -> None:
    conv = layers.conv(1, 1, 3, stride=2, bias=False, rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.ones((3, 3, 1, 1))
    y = conv(jnp.ones((1, 4, 4, 1)))[0, :, :, 0]
    np.testing.assert_array_equal(y, [[4, 6], [6, 9]])  # "SAME" would give [[9, 6], [6, 4]]
