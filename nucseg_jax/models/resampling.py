"""Pooling and resizing, as in PyTorch: align-corners resizing, explicit padding.

All arrays are [batch, height, width, channels].
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def max_pool(x: jax.Array, window: int, *, stride: int, padding: int = 0) -> jax.Array:
    """Max pooling padded with minus infinity on both sides."""
    pads = ((padding, padding), (padding, padding))
    return nnx.max_pool(x, (window, window), strides=(stride, stride), padding=pads)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Max pooling over 2×2 windows that do not overlap; height and width even.

    Written as maxima of slices, whose gradient is ten times faster on a CPU than `max_pool`'s scatter.
    Equal values of a window share the gradient (in PyTorch the first takes it). Behind a ReLU or dropout
    ties are zeros without a gradient to share; elsewhere, in FC-DenseNet's transitions, they are chance.
    """
    x = jnp.maximum(x[:, ::2], x[:, 1::2])
    return jnp.maximum(x[:, :, ::2], x[:, :, 1::2])


def max_pool_2x2_with_positions(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`max_pool_2x2`, and where each window had its maximum.

    Returns:
      The maxima, and uint8 of the same shape: 0 ... 3, the first position in row-major order among equals.
    """
    pooled = max_pool_2x2(x)
    position = jnp.full(pooled.shape, 3, jnp.uint8)
    for i in (2, 1, 0):
        position = jnp.where(x[:, i // 2 :: 2, i % 2 :: 2] == pooled, jnp.uint8(i), position)
    return pooled, position


def unpool_2x2(x: jax.Array, position: jax.Array) -> jax.Array:
    """Each value at the remembered position of its 2×2 window, zeros elsewhere: twice the size."""
    batch, height, width, channels = x.shape
    corners = jnp.arange(4, dtype=jnp.uint8).reshape(1, 1, 2, 1, 2, 1)
    values, positions = x[:, :, None, :, None, :], position[:, :, None, :, None, :]
    spread = jnp.where(positions == corners, values, jnp.zeros((), x.dtype))
    return spread.reshape(batch, 2 * height, 2 * width, channels)


def upsample_nearest(x: jax.Array) -> jax.Array:
    """Repeat every pixel twice along height and width."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)


def double_bilinear(x: jax.Array) -> jax.Array:
    """Bilinear resizing to twice the size, between pixel centres: the same at every pixel but the border.

    As PyTorch's `interpolate(scale_factor=2, mode="bilinear", align_corners=False)`. Unlike
    `resize_bilinear`'s, whose corners are aligned, what it makes of a pixel does not depend on the size.

    Args:
      x: [B,H,W,C].

    Returns:
      [B,2H,2W,C].
    """
    for axis in (1, 2):
        size = x.shape[axis]
        first, last = (jax.lax.slice_in_dim(x, i, i + 1, axis=axis) for i in (0, size - 1))
        before = jnp.concatenate([first, jax.lax.slice_in_dim(x, 0, size - 1, axis=axis)], axis)
        after = jnp.concatenate([jax.lax.slice_in_dim(x, 1, size, axis=axis), last], axis)
        pair = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pair.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
    return x


FEW_PIXELS = 8
"""Values a row of a matrix up to which `_multiply_axis` adds pixels instead of multiplying."""


@lru_cache
def _bilinear_matrix(size_in: int, size_out: int) -> np.ndarray:
    """float64[size_out, size_in]: output i reads source coordinate i * (in - 1) / (out - 1)."""
    scale = (size_in - 1) / (size_out - 1) if size_out > 1 else 0.0
    source = np.arange(size_out) * scale
    low = np.minimum(np.floor(source).astype(int), size_in - 1)
    high = np.minimum(low + 1, size_in - 1)
    matrix = np.zeros((size_out, size_in))
    np.add.at(matrix, (np.arange(size_out), low), 1.0 - (source - low))
    np.add.at(matrix, (np.arange(size_out), high), source - low)
    return matrix


@lru_cache
def _pooling_matrix(size_in: int, bins: int) -> np.ndarray:
    """float64[bins, size_in]: bin i is the mean of floor(i * in / bins) ... ceil((i + 1) * in / bins) - 1."""
    matrix = np.zeros((bins, size_in))
    for i in range(bins):
        start, stop = (i * size_in) // bins, -((-(i + 1) * size_in) // bins)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


def resize_bilinear(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Bilinear resizing, corners aligned, to exactly `size` (height, width), up or down.

    In at least float32, rounded once at the end.
    """
    if x.shape[1:3] == tuple(size):
        return x
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return _interpolate(wide, (x.shape[1], x.shape[2]), (size[0], size[1])).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _interpolate(x: jax.Array, size_in: tuple[int, int], size_out: tuple[int, int]) -> jax.Array:
    """[B,*size_in,C] → [B,*size_out,C]; its gradient, too, sums a few pixels and is no scatter."""
    y = _multiply_axis(x, _bilinear_matrix(size_in[0], size_out[0]), 1)
    return _multiply_axis(y, _bilinear_matrix(size_in[1], size_out[1]), 2)


def _interpolate_gradient(
    size_in: tuple[int, int], size_out: tuple[int, int], _: None, dy: jax.Array
) -> tuple[jax.Array]:
    dy = _multiply_axis(dy, _bilinear_matrix(size_in[1], size_out[1]).T, 2)
    return (_multiply_axis(dy, _bilinear_matrix(size_in[0], size_out[0]).T, 1),)


_interpolate.defvjp(lambda x, *sizes: (_interpolate(x, *sizes), None), _interpolate_gradient)


def _multiply_axis(x: jax.Array, matrix: np.ndarray, axis: int) -> jax.Array:
    """Multiply the height (axis 1) or the width (axis 2) of [B,H,W,C] by a matrix [out, in].

    A sum of a few pixels where a row of the matrix has few values other than 0: on a CPU a fifth of the
    product's time, and less. The product is at the highest precision: it stands for interpolation and means,
    which bfloat16 weights or reduced-precision matrix units would coarsen.
    """
    nonzero = matrix != 0.0
    count = nonzero.sum(1).max()
    if count > FEW_PIXELS:
        equation = "oi,biwc->bowc" if axis == 1 else "oi,bhic->bhoc"
        return jnp.einsum(equation, matrix.astype(x.dtype), x, precision=jax.lax.Precision.HIGHEST)
    order = np.argsort(~nonzero, axis=1, kind="stable")[:, :count]
    weights = np.take_along_axis(matrix, order, axis=1).astype(x.dtype)
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    parts = [
        jnp.take(x, pixels, axis=axis, mode="clip") * weight.reshape(shape)
        for pixels, weight in zip(order.T, weights.T, strict=True)
    ]
    return sum(parts[1:], start=parts[0])


def adaptive_average_pool(x: jax.Array, bins: int) -> jax.Array:
    """Means over bins × bins regions that may overlap, each divided by its own count of pixels.

    In at least float32, rounded once at the end.
    """
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    for axis in (1, 2):
        y = _multiply_axis(y, _pooling_matrix(x.shape[axis], bins), axis)
    return y.astype(x.dtype)
