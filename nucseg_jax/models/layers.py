"""Layers that every network shares: NHWC, explicit padding, as in PyTorch.

All arrays are [batch, height, width, channels]. `dtype` is the compute dtype; parameters, their gradients
and batch statistics are float32.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.errors import UserError
from nucseg_jax.models import initial
from nucseg_jax.models.convolution import Window, by_phase, convolve, convolve_transposed
from nucseg_jax.models.initial import Initializer

he_normal = initial.variance_scaling(2.0, "fan_out", "normal")
"""He et al. (ICCV 2015) for ReLU networks, by outgoing connections, as torchvision's ResNet and VGG."""

he_uniform = initial.variance_scaling(2.0, "fan_in", "uniform")
"""The same paper's, uniform and by incoming connections, as FC-DenseNet's (Jégou et al., CVPRW 2017)."""

torch_uniform = initial.variance_scaling(1.0 / 3.0, "fan_in", "uniform")
"""PyTorch's default for convolutions: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""


def scaled(channels: int, width: float) -> int:
    """Channel count at a width multiplier: at least 1, `channels` itself at width 1."""
    return max(1, round(channels * width))


class Conv(nnx.Conv):
    """A square convolution, by `convolution.convolve`.

    Padded by dilation · (kernel // 2) zeros on both sides, or by `padding` (before, after).

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
        padding: tuple[int, int] | None = None,
        bias: bool = True,
        kernel_init: Initializer = torch_uniform,
        bias_init: Initializer | None = None,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        before, after = padding or (dilation * (kernel // 2),) * 2
        self.window = Window(stride, dilation, (before, after))
        super().__init__(
            in_channels,
            out_channels,
            (kernel, kernel),
            strides=(stride, stride),
            kernel_dilation=(dilation, dilation),
            padding=((before, after), (before, after)),
            use_bias=bias,
            kernel_init=kernel_init,
            bias_init=bias_init or initial.uniform(1.0 / math.sqrt(in_channels * kernel * kernel)),
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array, out_sharding: None = None) -> jax.Array:
        """inputs: [B,H,W,in] → [B,h,w,out] in the compute dtype."""
        bias = None if self.bias is None else self.bias[...]
        return convolve_and_add(jnp.asarray(inputs, self.dtype), self.kernel[...], bias, self.window)


def convolve_and_add(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, window: Window) -> jax.Array:
    """`convolve`, plus the bias where there is one: [B,H,W,in] → [B,h,w,out] in the dtype of `x`."""
    y = convolve(x, kernel, window)
    return y if bias is None else _add_bias(y, bias)


@jax.custom_vjp
def _add_bias(y: jax.Array, bias: jax.Array) -> jax.Array:
    """[B,H,W,C] + [C], in the dtype of `y`; the bias's gradient is summed in at least float32."""
    return y + bias.astype(y.dtype).reshape(1, 1, 1, -1)


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
        kernel_init: Initializer = torch_uniform,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        wide = jnp.promote_types(dtype, jnp.float32)
        super().__init__(in_channels, out_channels, kernel, kernel_init=kernel_init, dtype=wide, rngs=rngs)


class ConvOfUpsampled(Conv):
    """A 3×3 convolution of `resampling.upsample_nearest(x)`, without making it: 4/9 of the products.

    Of three neighbouring rows of the upsampled image, two are the same row of x. So each of the four output
    pixels (p, q) above one pixel of x sees 2×2 pixels of x, with kernels that are sums of the 3×3 one's taps:
    one 2×2 convolution with four times the channels gives them all.
    """

    def __call__(self, inputs: jax.Array, out_sharding: None = None) -> jax.Array:
        """inputs: [B,h,w,in] → [B,2h,2w,out] in the compute dtype."""
        batch, height, width, _ = inputs.shape
        kernel = by_phase(self.kernel[...], _ROW_OF_TAP)
        x = jnp.asarray(inputs, self.dtype)
        y = convolve(x, kernel, Window(padding=(1, 1)))
        y = y.reshape(batch, height + 1, width + 1, 2, 2, self.out_features)
        rows = [
            jnp.stack([y[:, p : p + height, q : q + width, p, q] for q in (0, 1)], axis=3) for p in (0, 1)
        ]
        y = jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)
        return y if self.bias is None else _add_bias(y, self.bias[...])


_ROW_OF_TAP = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], bool)
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
        kernel_init: Initializer | None = None,
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
            kernel_init=kernel_init or initial.variance_scaling(1.0 / 3.0, "fan_out", "uniform"),
            bias_init=initial.uniform(1.0 / math.sqrt(out_channels * 9)),
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """inputs: [B,h,w,in] → [B,2h,2w,out] in the compute dtype."""
        assert self.bias is not None
        y = convolve_transposed(jnp.asarray(inputs, self.dtype), self.kernel[...], self.zeros_before)
        return _add_bias(y, self.bias[...])


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
