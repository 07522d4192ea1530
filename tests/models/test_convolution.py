"""The convolutions that CPUs take another way, against XLA's plain ones: values and both gradients."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from benchmarks.collectives import messages
from nucseg_jax import devices
from nucseg_jax.models import layers, resampling
from nucseg_jax.models.convolution import (
    Window,
    by_phase,
    convolve,
    convolve_depthwise,
    convolve_transposed,
    cpu,
)
from nucseg_jax.models.convolution.cpu_blocks import BlockSize

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def plain(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (window.stride,) * 2,
        (window.padding,) * 2,
        rhs_dilation=(window.dilation,) * 2,
        dimension_numbers=DIMENSIONS,
    )


def random(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def assert_same(
    ours: Callable[..., jax.Array], theirs: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array
) -> None:
    """Equal values and gradients, to the rounding of sums of up to a few thousand products."""
    dy = random(*jax.eval_shape(theirs, x, kernel).shape, seed=1)

    @jax.jit
    def both(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> list[tuple[jax.Array, ...]]:
        results = []
        for function in (ours, theirs):
            y, pull = jax.vjp(function, x, kernel)
            results.append((y, *pull(dy)))
        return results

    for a, b, name in zip(*both(x, kernel, dy), ("y", "dx", "dk"), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype, name
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * float(jnp.abs(b).max() + 1), err_msg=name)


# Each takes another way on a CPU: see the conditions in convolution/cpu.py.
CASES = {
    "1x1": ((2, 8, 6, 5), (1, 1, 5, 7), Window()),
    "1x1 strided": ((2, 9, 6, 5), (1, 1, 5, 7), Window(stride=2)),
    "3x3, as many channels out": ((1, 12, 10, 4), (3, 3, 4, 4), Window(padding=(1, 1))),
    "3x3, few channels in": ((1, 12, 10, 2), (3, 3, 2, 24), Window(padding=(1, 1))),
    "3x3, few channels out": ((1, 12, 10, 24), (3, 3, 24, 2), Window(padding=(1, 1))),
    "3x3, many channels": ((2, 6, 5, 130), (3, 3, 130, 8), Window(padding=(1, 1))),
    "5x5, more weights than pixels": ((1, 3, 4, 128), (5, 5, 128, 16), Window(padding=(2, 2))),
    "dilated": ((2, 9, 8, 3), (3, 3, 3, 3), Window(dilation=2, padding=(2, 2))),
    "strided": ((2, 10, 8, 4), (3, 3, 4, 6), Window(stride=2, padding=(1, 1))),
    "7x7 strided": ((1, 16, 12, 3), (7, 7, 3, 4), Window(stride=2, padding=(3, 3))),
    "2x2, wider": ((1, 6, 5, 3), (2, 2, 3, 8), Window(padding=(1, 1))),
    "2x2, before": ((1, 6, 5, 3), (2, 2, 3, 3), Window(padding=(1, 0))),
    "2x2, behind": ((1, 6, 5, 8), (2, 2, 8, 3), Window(padding=(0, 1))),
    "unpadded": ((1, 8, 7, 3), (3, 3, 3, 3), Window()),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_plain_convolutions(name: str) -> None:
    shape, kernel_shape, window = CASES[name]
    assert_same(
        lambda x, k: convolve(x, k, window),
        lambda x, k: plain(x, k, window),
        random(*shape),
        random(*kernel_shape, seed=2),
    )


def assert_kernel_gradient_is_the_plain_one(
    x: jax.Array, kernel: jax.Array, window: Window, blocks: BlockSize
) -> None:
    """On a CPU, in blocks of a given size, to the rounding of sums of up to a few thousand products."""
    y, pull = jax.vjp(lambda k: plain(x, k, window), kernel)
    dy = random(*y.shape, seed=1)
    gradient = partial(cpu.kernel_gradient, size=kernel.shape[0], window=window, blocks=blocks)
    np.testing.assert_allclose(jax.jit(gradient)(x, dy), pull(dy)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_kernel_gradient_in_blocks_of_one_row(name: str) -> None:
    shape, kernel_shape, window = CASES[name]
    one_row = BlockSize(pixels=1, values=1)
    assert_kernel_gradient_is_the_plain_one(random(*shape), random(*kernel_shape, seed=2), window, one_row)


@settings(max_examples=8, deadline=None)  # each compiles
@example(size=4, height=5, channels=(1, 1), before=0, after=0, values=1)  # a result of two rows
@given(
    size=st.integers(1, 4),
    height=st.integers(5, 12),
    channels=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
    values=st.sampled_from([1, 100]),
)
def test_kernel_gradient_of_any_window(
    size: int, height: int, channels: tuple[int, int], before: int, after: int, values: int
) -> None:
    window = Window(padding=(min(before, size - 1), min(after, size - 1)))
    x, kernel = random(2, height, 7, channels[0]), random(size, size, *channels, seed=2)
    assert_kernel_gradient_is_the_plain_one(x, kernel, window, BlockSize(pixels=1, values=values))


@pytest.mark.parametrize("zeros_before", [1, 2])
def test_transposed(zeros_before: int) -> None:
    padding = ((zeros_before, 3 - zeros_before),) * 2
    assert_same(
        lambda x, k: convolve_transposed(x, k, zeros_before),
        lambda x, k: lax.conv_transpose(x, k, (2, 2), padding, dimension_numbers=DIMENSIONS),
        random(2, 5, 4, 3),
        random(3, 3, 3, 6, seed=2),
    )


def test_convolution_of_the_upsampled_image() -> None:
    kernel, bias = random(3, 3, 3, 5, seed=2), random(5, seed=3)

    def ours(x: jax.Array, kernel: jax.Array) -> jax.Array:
        conv = layers.ConvOfUpsampled(3, 5, rngs=nnx.Rngs(0))
        conv.kernel[...], conv.bias[...] = kernel, bias
        return conv(x)

    def theirs(x: jax.Array, kernel: jax.Array) -> jax.Array:
        y = plain(resampling.upsample_nearest(x), kernel, Window(padding=(1, 1)))
        return y + bias.reshape(1, 1, 1, -1)

    assert_same(ours, theirs, random(2, 4, 6, 3), kernel)


def test_bfloat16_sums_in_float32() -> None:
    """A gradient over many pixels, in blocks: summed in bfloat16 it would stall at a few hundred ones."""
    x, dy = jnp.ones((1, 64, 64, 2), jnp.bfloat16), jnp.ones((1, 64, 64, 2), jnp.bfloat16)
    gradient = cpu.kernel_gradient(x, dy, size=3, window=Window(padding=(1, 1)))
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient[1, 1], 64 * 64)
    np.testing.assert_array_equal(gradient[0, 0], 63 * 63)  # bfloat16 has no such number


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_kernels_are_rounded_to_the_images_dtype(dtype: jnp.dtype) -> None:
    x, kernel = random(1, 6, 5, 3).astype(dtype), random(3, 3, 3, 4, seed=2)
    y = convolve(x, kernel, Window(padding=(1, 1)))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, convolve(x, kernel.astype(dtype), Window(padding=(1, 1))))


def test_other_backends_take_xlas_convolutions() -> None:
    """Lowered for CUDA, the forward and backward pass hold convolutions and not one matrix product."""

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve(x, kernel, Window(padding=(1, 1))).sum()

    step = jax.jit(jax.grad(loss, argnums=(0, 1)))
    operands = random(1, 8, 8, 4), random(3, 3, 4, 4)
    with devices.traced_for("cuda"):
        on_gpu = step.trace(*operands).lower(lowering_platforms=("cuda",)).as_text()
    assert on_gpu.count("stablehlo.convolution") == 2 and "stablehlo.dot_general" not in on_gpu
    assert "stablehlo.dot_general" in step.lower(*operands).as_text()


DEPTHWISE = [
    ((8, 10), 3, 2, (0, 1)),  # EfficientNet's
    ((7, 9), 5, 1, (2, 2)),
    ((17, 8), 3, 1, (1, 1)),  # two blocks of rows an image, and a row of zeros
    ((70, 8), 5, 2, (1, 2)),  # three of 12, of 35
]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), DEPTHWISE)
def test_depthwise_convolutions_are_xlas_grouped_ones(
    size: tuple[int, int], kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    assert_depthwise_is_grouped(size, kernel, stride, padding)


@pytest.mark.slow
@settings(max_examples=8, deadline=None)  # each compiles for seconds
@given(
    size=st.tuples(st.integers(6, 12), st.integers(6, 12)),  # of the kernel's gradient two images at once
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 3),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
@example(size=(8, 10), kernel=5, stride=2, padding=(1, 2))
@example(size=(16, 8), kernel=3, stride=1, padding=(1, 1))  # a block of rows an image
def test_depthwise_convolutions_of_any_window_are_xlas_grouped_ones(
    size: tuple[int, int], kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    assert_depthwise_is_grouped(size, kernel, stride, padding)


def assert_depthwise_is_grouped(
    size: tuple[int, int], kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    before, after = (min(side, kernel - 1) for side in padding)  # more would see nothing but zeros
    padding = before, after
    window = Window(stride, 1, padding)
    assert_same(
        lambda x, k: convolve_depthwise(x, k, window),
        lambda x, k: lax.conv_general_dilated(
            x, k, (stride,) * 2, (padding,) * 2, dimension_numbers=DIMENSIONS, feature_group_count=3
        ),
        random(2, *size, 3),
        random(kernel, kernel, 1, 3, seed=2),
    )


def test_bfloat16_depthwise_gradients_are_summed_in_float32() -> None:
    """512 products of 1: a bfloat16 sum would stop at 256."""
    x = jnp.ones((2, 16, 16, 1), jnp.bfloat16)
    kernel = jnp.ones((1, 1, 1, 1), jnp.float32)
    gradient = jax.grad(lambda k: convolve_depthwise(x, k, Window()).astype(jnp.float32).sum())(kernel)
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient, [[[[512]]]])


def test_kernels_by_phase_are_sums_of_taps() -> None:
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 3, 5, 4)).astype(np.float32))
    rows = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 0]]], bool)
    expected = np.einsum("pui,qvj,ijcd->uvcpqd", rows, rows, np.asarray(kernel)).reshape(2, 2, 5, 16)
    np.testing.assert_allclose(by_phase(kernel, rows), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("way", [convolve, convolve_depthwise])
def test_devices_exchange_a_kernels_gradient_once(way: Callable[..., jax.Array]) -> None:
    """And not in each round of the loop that adds it up."""
    rows, channels, window = len(jax.devices()), 32, Window(padding=(1, 1))
    x, dy = (random(rows, 96, 96, channels, seed=seed) for seed in range(2))
    kernel = random(3, 3, channels if way is convolve else 1, channels)

    def gradient(x: jax.Array, dy: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: way(x, kernel, window), kernel)[1](dy)[0]

    mesh = devices.make_mesh()
    split = devices.split_batch(mesh, (x, dy))
    compiled = devices.jit(mesh, gradient).lower(*split).compile()
    assert " while(" in compiled.as_text()
    sent = messages(compiled.as_text())
    assert [(message.kind, message.in_loop) for message in sent] == [("all-reduce", False)]
    assert sum(sent[0].sizes) == kernel.nbytes
    alone = jax.jit(gradient)(x, dy)
    np.testing.assert_allclose(compiled(*split), alone, rtol=0, atol=2e-6 * float(jnp.abs(alone).max()))
