"""The encoder EfficientNet-Lite0 (Tan and Le, ICML 2019, without squeeze-and-excitation and with ReLU6).

As TensorFlow has it: strided convolutions are padded at the bottom and the right, and batch norm has an
epsilon of 1e-3.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.convolution import Window, convolve_depthwise
from nucseg_jax.models.recompute import Recomputing

EPSILON, MOMENTUM = 1e-3, 0.99
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images in [0, 1], by which the published weights' images were normalised."""


class Stage(NamedTuple):
    """Blocks of one size.

    Attributes:
      blocks: how many; the first one has the stride.
      kernel: side of the depthwise kernels.
      stride: of the first block.
      expansion: channels inside of a block, as a multiple of those that come in.
      channels: that come out.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM = 32
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
FEATURES = (0, 1, 2, 4, 6)
"""Stages whose results a decoder takes: the last ones at 1/2, 1/4, 1/8, 1/16 and 1/32 of the size."""


class ConvNorm(nnx.Module):
    """Convolution without bias and batch norm, then ReLU6 where `active`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        active: bool = True,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.active = active
        self.conv = layers.Conv(
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=same_padding(kernel, stride),
            bias=False,
            kernel_init=layers.he_normal,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn = BatchNorm(out_channels, epsilon=EPSILON, momentum=MOMENTUM, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.bn(self.conv(x))
        return nnx.relu6(x) if self.active else x


class DepthwiseConv(nnx.Conv):
    """A square convolution of each channel with a kernel of its own, without bias.

    Args:
      channels: that come in, and out.
      kernel: side of the kernels.
      stride: step of the window in pixels.
      padding: zeros (before, after) each axis.
      dtype: compute dtype.
      rngs: of the weights.
    """

    def __init__(
        self,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: tuple[int, int],
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.window = Window(stride, 1, padding)
        super().__init__(
            channels,
            channels,
            (kernel, kernel),
            strides=(stride, stride),
            padding=(padding, padding),
            feature_group_count=channels,
            use_bias=False,
            kernel_init=layers.he_normal,
            dtype=dtype,
            rngs=rngs,
        )

    def __call__(self, inputs: jax.Array, out_sharding: None = None) -> jax.Array:
        """inputs: [B,H,W,C] → [B,h,w,C] in the compute dtype."""
        return convolve_depthwise(jnp.asarray(inputs, self.dtype), self.kernel[...], self.window)


class DepthwiseNorm(nnx.Module):
    """Depthwise convolution, batch norm, ReLU6."""

    def __init__(self, channels: int, kernel: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = DepthwiseConv(
            channels, kernel, stride=stride, padding=same_padding(kernel, stride), dtype=dtype, rngs=rngs
        )
        self.bn = BatchNorm(channels, epsilon=EPSILON, momentum=MOMENTUM, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu6(self.bn(self.conv(x)))


class InvertedResidual(nnx.Module):
    """1×1 convolution to more channels, depthwise one, 1×1 one to few; plus what came in where it fits."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int,
        expansion: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        inside = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self.expand = (
            ConvNorm(in_channels, inside, dtype=dtype, rngs=rngs) if expansion > 1 else nnx.data(None)
        )
        self.depthwise = DepthwiseNorm(inside, kernel, stride=stride, dtype=dtype, rngs=rngs)
        self.project = ConvNorm(inside, out_channels, active=False, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.residual else y


class EfficientNetLite0(Recomputing):
    """2,958,848 parameters at width 1 (without ImageNet's head); height and width multiples of 32."""

    def __init__(self, *, width: float = 1.0, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        channels = layers.scaled(STEM, width)
        self.stem = ConvNorm(3, channels, 3, stride=2, dtype=dtype, rngs=rngs)
        self.stages: nnx.List[nnx.List[InvertedResidual]] = nnx.List()
        for stage in STAGES:
            out = layers.scaled(stage.channels, width)
            blocks: nnx.List[InvertedResidual] = nnx.List()
            for i in range(stage.blocks):
                blocks.append(
                    InvertedResidual(
                        channels,
                        out,
                        kernel=stage.kernel,
                        stride=stage.stride if i == 0 else 1,
                        expansion=stage.expansion,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                channels = out
            self.stages.append(blocks)

    def __call__(self, images: jax.Array) -> list[jax.Array]:
        """Normalised images float[B,H,W,3] → features at 1/2, 1/4, 1/8, 1/16, 1/32 of the size."""
        x, features = self.block(ConvNorm.__call__, self.stem, images), []
        for i, blocks in enumerate(self.stages):
            for block in blocks:
                x = self.block(InvertedResidual.__call__, block, x)
            if i in FEATURES:
                features.append(x)
        return features


def normalise(images: jax.Array) -> jax.Array:
    """float[B,H,W,3] in [0, 1] → as ImageNet's weights expect them."""
    mean, deviation = (jnp.asarray(v, images.dtype).reshape(1, 1, 1, 3) for v in (MEAN, DEVIATION))
    return (images - mean) / deviation


def same_padding(kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding of even sizes: (before, after)."""
    total = kernel - stride
    return total // 2, total - total // 2
