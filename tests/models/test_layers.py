"""The layers against NumPy written from their definitions."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nucseg_jax import devices
from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm
from tests.networks import ONE_BY_ONE, QUICK, summed_over_devices


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
    np.testing.assert_allclose(resampling.resize_bilinear(x, size), expected, rtol=1e-5, atol=1e-6)


def test_resizing_rounds_once_in_bfloat16() -> None:
    x = np.random.default_rng(0).random((1, 16, 16, 4)).astype(np.float32)
    low = resampling.resize_bilinear(jnp.asarray(x, jnp.bfloat16), (512, 512))
    exact = resampling.resize_bilinear(np.asarray(jnp.asarray(x, jnp.bfloat16), np.float32), (512, 512))
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
    np.testing.assert_allclose(resampling.adaptive_average_pool(x, bins), expected, rtol=1e-5, atol=1e-6)


def test_pooling_and_upsampling() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype(np.float32)
    blocks = x.reshape(2, 3, 2, 4, 2, 3)
    np.testing.assert_array_equal(resampling.max_pool_2x2(x), blocks.max((2, 4)))
    np.testing.assert_array_equal(resampling.upsample_nearest(x), x.repeat(2, 1).repeat(2, 2))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    expected = np.stack(
        [np.stack([padded[:, i : i + 3, j : j + 3].max((1, 2)) for j in (0, 2, 4, 6)], 1) for i in (0, 2, 4)],
        1,
    )
    np.testing.assert_array_equal(resampling.max_pool(x, 3, stride=2, padding=1), expected)


def test_strided_convolution_pads_both_sides() -> None:
    conv = layers.Conv(1, 1, 3, stride=2, bias=False, rngs=nnx.Rngs(0))
    conv.kernel[...] = jnp.ones((3, 3, 1, 1))
    y = conv(jnp.ones((1, 4, 4, 1)))[0, :, :, 0]
    np.testing.assert_array_equal(y, [[4, 6], [6, 9]])  # "SAME" would give [[9, 6], [6, 4]]


def correlate(x: np.ndarray, kernel: np.ndarray, dilation: int = 1) -> np.ndarray:
    """[B,H,W,i] and [k,k,i,o] → [B,h,w,o]: the kernel's products at every place where it fits."""
    reach = dilation * (len(kernel) - 1)
    height, width = x.shape[1] - reach, x.shape[2] - reach
    out = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    for i, row in enumerate(kernel):
        for j, weights in enumerate(row):
            top, left = dilation * i, dilation * j
            out += x[:, top : top + height, left : left + width] @ weights
    return out


def random_weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def test_dilated_convolution_keeps_the_size() -> None:
    conv = layers.Conv(3, 4, dilation=2, rngs=nnx.Rngs(0))
    kernel, bias, x = random_weights(3, 3, 3, 4), random_weights(4), random_weights(2, 6, 5, 3)
    conv.kernel[...], conv.bias[...] = kernel, bias
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    expected = correlate(padded, kernel, dilation=2) + bias
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("zeros_before", [1, 2])
def test_upsampling_convolution_is_a_convolution_of_spread_samples(zeros_before: int) -> None:
    padding = (zeros_before, 3 - zeros_before)
    conv = layers.TransposedConv(3, 4, zeros_before=zeros_before, rngs=nnx.Rngs(0))
    kernel, bias, x = random_weights(3, 3, 3, 4), random_weights(4), random_weights(2, 5, 4, 3)
    conv.kernel[...], conv.bias[...] = kernel, bias
    spread = np.zeros((2, 9, 7, 3), np.float32)
    spread[:, ::2, ::2] = x
    expected = correlate(np.pad(spread, ((0, 0), padding, padding, (0, 0))), kernel) + bias
    assert expected.shape == (2, 10, 8, 4), "twice the size"
    np.testing.assert_allclose(conv(x), expected, rtol=1e-5, atol=1e-5)


# Few different values, so that most windows have ties.
@given(arrays(np.int8, (2, 4, 6, 2), elements=st.integers(-1, 1)))
def test_unpooling_puts_each_maximum_back_where_it_first_was(values: np.ndarray) -> None:
    x = values.astype(np.float32)
    windows = x.reshape(2, 2, 2, 3, 2, 2).transpose(0, 1, 3, 5, 2, 4).reshape(2, 2, 3, 2, 4)
    first = windows.argmax(-1)  # NumPy's, too, is the first in row-major order
    pooled, position = resampling.max_pool_2x2_with_positions(x)
    np.testing.assert_array_equal(pooled, windows.max(-1))
    np.testing.assert_array_equal(position, first)
    assert position.dtype == jnp.uint8
    kept = np.where(np.arange(4) == first[..., None], windows, 0)
    expected = kept.reshape(2, 2, 3, 2, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(x.shape)
    np.testing.assert_array_equal(resampling.unpool_2x2(pooled, position), expected)


# From 4 channels to 6.
LAYERS = {
    "3x3": lambda **options: layers.Conv(4, 6, **options),
    "1x1": lambda **options: layers.Conv(4, 6, 1, **options),
    "strided": lambda **options: layers.Conv(4, 6, stride=2, **options),
    "dilated": lambda **options: layers.Conv(4, 6, dilation=2, **options),
    "of upsampled": lambda **options: layers.ConvOfUpsampled(4, 6, **options),
    "transposed": lambda **options: layers.TransposedConv(4, 6, zeros_before=1, **options),
    "classifier": lambda **options: layers.Classifier(4, 6, **options),
    "batch norm": lambda **options: BatchNorm(4, **options),
}


@pytest.fixture(params=["cpu", "default"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The layers as CPUs compute them, and, compiled for this CPU too, as all other backends do."""
    with devices.traced_for("cpu" if request.param == "cpu" else "cuda"):
        yield request.param


def parameter_gradients(kind: str, dtype: Any) -> tuple[Any, nnx.State, jax.Array, jax.Array]:
    """(function, parameters, images, gradient of the result): `function(*rest)` is that of the parameters."""
    graph, params, rest = nnx.split(LAYERS[kind](dtype=dtype, rngs=nnx.Rngs(0)), nnx.Param, ...)

    def forward(params: nnx.State, x: jax.Array) -> jax.Array:
        return nnx.merge(graph, params, rest, copy=True)(x)

    def gradients(params: nnx.State, x: jax.Array, dy: jax.Array) -> nnx.State:
        y, pull = jax.vjp(lambda params: forward(params, x), params)
        return pull(dy.astype(y.dtype))[0]

    # Positive, so that a sum grows beyond what bfloat16 can add to it.
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.random((8, 32, 32, 4)), jnp.bfloat16)
    shape = jax.eval_shape(forward, params, x).shape
    return gradients, params, x, jnp.asarray(generator.random(shape), jnp.bfloat16)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_of_parameters_are_float32_sums_of_bfloat16_values(kind: str, backend: str) -> None:
    """Those of the float32 layer for the same images. Rounded to bfloat16 anywhere, they would be 2⁻⁹ off."""
    found, expected = (
        jax.jit(gradients)(*arguments)
        for gradients, *arguments in (parameter_gradients(kind, dtype) for dtype in ("bfloat16", "float32"))
    )
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert a.dtype == jnp.float32, name
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(jnp.abs(b).max()), err_msg=name)


@pytest.mark.parametrize("kind", LAYERS)
def test_devices_add_up_gradients_of_bfloat16_layers_in_float32(kind: str, backend: str) -> None:
    mesh = devices.make_mesh()
    gradients, params, *images = parameter_gradients(kind, "bfloat16")
    arguments = devices.replicate(mesh, params), *devices.split_batch(mesh, images)
    step = jax.jit(
        gradients,
        out_shardings=devices.replicated(mesh),
        compiler_options=QUICK | {"xla_disable_hlo_passes": ONE_BY_ONE},
    )
    compiled = step.lower(*arguments).compile()
    assert summed_over_devices(compiled) == {"f32"}
    if kind != "batch norm":
        assert (" convolution(" in compiled.as_text()) == (backend == "default")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_classifiers_compute_in_at_least_float32(dtype: str) -> None:
    """Their float32 weights are not rounded, their logits neither."""
    with jax.enable_x64(dtype == "float64"):
        classifier = layers.Classifier(4, 2, 1, dtype=dtype, rngs=nnx.Rngs(0))
        x = jnp.asarray(np.random.default_rng(0).random((1, 5, 6, 4)), dtype)
        kernel, bias = np.asarray(classifier.kernel[...])[0, 0], np.asarray(classifier.bias[...])
        y = classifier(x)
        assert y.dtype == ("float64" if dtype == "float64" else "float32")
        np.testing.assert_allclose(y, np.asarray(x, np.float64) @ kernel + bias, rtol=1e-6, atol=1e-6)
