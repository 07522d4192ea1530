"""Layers that every network shares: NHWC, explicit padding, align-corners resizing, as in PyTorch.

All arrays are [batch, height, width, channels]. `dtype` is the compute dtype; parameters, their gradients
and batch statistics are float32.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.errors import UserError
from nucseg_jax.models.convolution import Window, convolve, convolve_transposed

he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He et al. (ICCV 2015) for ReLU networks, by outgoing connections, as torchvision's ResNet and VGG."""

he_uniform = nnx.initializers.variance_scaling(2.0, "fan_in", "uniform")
"""The same paper's, uniform and by incoming connections, as FC-DenseNet's (Jégou et al., CVPRW 2017)."""

torch_uniform = nnx.initializers.variance_scaling(1.0 / 3.0, "fan_in", "uniform")
"""PyTorch's default for convolutions: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""


def scaled(channels: int, width: float) -> int:
    """Channel count at a width multiplier: at least 1, `channels` itself at width 1."""
    return max(1, round(channels * width))


def _uniform(bound: float) -> nnx.Initializer:
    """U(-bound, bound)."""

    def init(key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, tuple(shape), dtype, -bound, bound)

    return init


class Conv(nnx.Conv):
    """A square convolution padded by dilation · (kernel // 2) zeros on both sides, by `convolution.convolve`.

    "SAME" would pad strided convolutions on even sizes on one side only, unlike PyTorch. The bias starts
    as in PyTorch, U(-1/sqrt(fan_in), 1/sqrt(fan_in)), unless `bias_init` says otherwise.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        bias: bool = True,
        kernel_init: nnx.Initializer = torch_uniform,
        bias_init: nnx.Initializer | None = None,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        pad = dilation * (kernel // 2)
        self.window = Window(stride, dilation, (pad, pad))
        super().__init__(
            in_channels,
            out_channels,
            (kernel, kernel),
            strides=(stride, stride),
            kernel_dilation=(dilation, dilation),
            padding=((pad, pad), (pad, pad)),
            use_bias=bias,
            kernel_init=kernel_init,
            bias_init=bias_init or _uniform(1.0 / math.sqrt(in_channels * kernel * kernel)),
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array, out_sharding: None = None) -> jax.Array:
        """inputs: [B,H,W,in] → [B,h,w,out] in the compute dtype."""
        y = convolve(jnp.asarray(inputs, self.dtype), self.kernel[...], self.window)
        return y if self.bias is None else _add_bias(y, self.bias[...])


@jax.custom_vjp
def _add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """[B,H,W,C] + [C], in the dtype of `y`; the bias's gradient is summed in at least float32."""
    return y + _per_channel(bias.astype(y.dtype))


def _bias_gradients(bias: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    wide = jnp.promote_types(dy.dtype, jnp.float32)
    return dy, dy.sum((0, 1, 2), dtype=wide).astype(bias.dtype)


_add_bias.defvjp(lambda y, bias: (_add_bias(y, bias), bias), _bias_gradients)


class Classifier(Conv):
    """The convolution that makes logits: in at least float32, whatever the network computes in.

    bfloat16 has 8 bits: logits of two classes that are nearly as likely would be equal, and those of a sure
    decision would be off by several hundredths.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        *,
        kernel_init: nnx.Initializer = torch_uniform,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        wide = jnp.promote_types(dtype, jnp.float32)
        super().__init__(in_channels, out_channels, kernel, kernel_init=kernel_init, dtype=wide, rngs=rngs)


class ConvOfUpsampled(Conv):
    """A 3×3 convolution of `upsample_nearest(x)`, without making it: 4/9 of the products.

    Of three neighbouring rows of the upsampled image, two are the same row of x. So each of the four output
    pixels (p, q) above one pixel of x sees 2×2 pixels of x, with kernels that are sums of the 3×3 one's taps:
    one 2×2 convolution with four times the channels gives them all.
    """

    def __call__(self, inputs: jax.Array, out_sharding: None = None) -> jax.Array:
        """inputs: [B,h,w,in] → [B,2h,2w,out] in the compute dtype."""
        batch, height, width, _ = inputs.shape
        # The highest precision: GPUs would round the taps, and in the gradient their sums, to TF32.
        kernel = jnp.einsum(
            "pui,qvj,ijcd->uvcpqd",
            _ROW_OF_TAP,
            _ROW_OF_TAP,
            self.kernel[...],
            precision=jax.lax.Precision.HIGHEST,
        )
        x = jnp.asarray(inputs, self.dtype)
        y = convolve(x, kernel.reshape(2, 2, kernel.shape[2], -1), Window(padding=(1, 1)))
        y = y.reshape(batch, height + 1, width + 1, 2, 2, self.out_features)
        rows = [
            jnp.stack([y[:, p : p + height, q : q + width, p, q] for q in (0, 1)], axis=3) for p in (0, 1)
        ]
        y = jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)
        return y if self.bias is None else _add_bias(y, self.bias[...])


_ROW_OF_TAP = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
"""[p,u,i]: whether tap i of output row 2·a + p meets row a + p - 1 + u of the image before upsampling."""


class TransposedConv(nnx.ConvTranspose):
    """A transposed 3×3 convolution of stride 2: a zero between samples, then a convolution; twice the size.

    Args:
      zeros_before: 1 or 2 zeros before the first sample, and 2 or 1 behind the last one, on each axis;
        PyTorch's padding is 2 - zeros_before.
      kernel_init: None: PyTorch's default, which counts the outgoing connections as the incoming ones.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        zeros_before: int,
        kernel_init: nnx.Initializer | None = None,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.zeros_before = zeros_before
        super().__init__(
            in_channels,
            out_channels,
            (3, 3),
            strides=(2, 2),
            padding=((zeros_before, 3 - zeros_before),) * 2,
            kernel_init=kernel_init or nnx.initializers.variance_scaling(1.0 / 3.0, "fan_out", "uniform"),
            bias_init=_uniform(1.0 / math.sqrt(out_channels * 9)),
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """inputs: [B,h,w,in] → [B,2h,2w,out] in the compute dtype."""
        assert self.bias is not None
        y = convolve_transposed(jnp.asarray(inputs, self.dtype), self.kernel[...], self.zeros_before)
        return _add_bias(y, self.bias[...])


class Moments(NamedTuple):
    """Mean and biased variance of each channel over a batch, float32[C]."""

    mean: jax.Array
    variance: jax.Array


def _per_channel(values: jax.Array) -> jax.Array:
    """[C] → [1,1,1,C]."""
    return values.reshape(1, 1, 1, -1)


class BatchNorm(nnx.BatchNorm):
    """Batch norm with PyTorch's eps and momentum (its 0.1 is Flax's 0.9), computed in at least float32.

    PyTorch stores the unbiased running variance and Flax the biased one, so inference with converted
    statistics agrees exactly, the running variance of a training run does not.
    """

    def __init__(self, channels: int, *, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        super().__init__(channels, momentum=0.9, epsilon=1e-5, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, moments: Moments | None = None) -> jax.Array:  # type: ignore[override]
        """x: [B,H,W,C] → the same in the compute dtype.

        Args:
          x: images.
          moments: of the channels of `x`, where they are known already; ignored in inference.
        """
        if self.use_running_average:
            moments = Moments(self.mean[...], self.var[...])
        else:
            moments = moments or self.moments(x)
            for running, value in ((self.mean, moments.mean), (self.var, moments.variance)):
                value = value.astype(running.dtype)  # float32, also where the network computes in float64
                running[...] = self.momentum * running[...] + (1 - self.momentum) * value
        assert self.scale is not None and self.bias is not None
        deviation = jnp.sqrt(moments.variance + self.epsilon)
        y = _normalise(x, moments.mean, deviation, self.scale[...], self.bias[...])
        return y.astype(self.dtype)

    def moments(self, x: jax.Array) -> Moments:
        """Of [B,H,W,C], over all devices of `axis_name` where there is one (`pmap`; `jit` needs none).

        The variance is taken about the mean: Flax's default, E[x²] − E[x]², loses digits wherever the mean is
        large beside the deviation.
        """

        def mean(values: jax.Array) -> jax.Array:
            local = values.mean((0, 1, 2))
            return local if self.axis_name is None else jax.lax.pmean(local, self.axis_name)

        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        center = mean(x)
        # Deviations from the mean sum up to 0: the variance has no gradient through the mean.
        deviations = x - _per_channel(jax.lax.stop_gradient(center))
        return Moments(center, mean(jnp.square(deviations)))


@jax.custom_vjp
def _normalise(
    x: jax.Array, mean: jax.Array, deviation: jax.Array, scale: jax.Array, bias: jax.Array
) -> jax.Array:
    """(x - mean) / deviation · scale + bias; `x` is [B,H,W,C], the others are float32[C]."""
    return (x - _per_channel(mean)) * _per_channel(scale / deviation) + _per_channel(bias)


def _normalise_gradients(operands: tuple[jax.Array, ...], dy: jax.Array) -> tuple[jax.Array, ...]:
    """Two sums over the pixels give them all. JAX would keep x - mean for them; here it is made again."""
    x, mean, deviation, scale, bias = operands
    total = dy.sum((0, 1, 2))
    projection = (dy * (x - _per_channel(mean))).sum((0, 1, 2)) / deviation
    factor = scale / deviation
    dx = (dy * _per_channel(factor)).astype(x.dtype)
    return dx, -factor * total, -factor * projection, projection, total


_normalise.defvjp(lambda *operands: (_normalise(*operands), operands), _normalise_gradients)


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


def check_images(images: jax.Array, multiple: int, network: str) -> None:
    """Raise UserError unless `images` is a [B,H,W,3] float batch with H and W multiples of `multiple`."""
    if images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(
            f"{network} takes images of shape [batch, height, width, 3], got {tuple(images.shape)}"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(
            f"{network} takes float images in [0, 1], got {images.dtype}; divide uint8 images by 255"
        )
    height, width = images.shape[1:3]
    if height % multiple or width % multiple or 0 in (height, width):
        raise UserError(
            f"{network} needs height and width to be multiples of {multiple}, got {height}×{width}; "
            "crop or pad the images, or set another data.crop_size"
        )
