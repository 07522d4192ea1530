"""ResNet with bottlenecks (He et al., CVPR 2016), the stride in the 3×3 convolution ("v1.5")."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.convolution import settle
from nucseg_jax.models.recompute import Recomputing

EXPANSION = 4
RESNET101_BLOCKS = (3, 4, 23, 3)

_conv = partial(layers.Conv, bias=False, kernel_init=layers.he_normal)


class Bottleneck(nnx.Module):
    """1×1, 3×3 (strided), 1×1 to four times the width, plus the shortcut."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        dilation: int,
        project: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        conv = partial(_conv, dtype=dtype, rngs=rngs)
        out_channels = EXPANSION * channels
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = BatchNorm(channels, dtype=dtype, rngs=rngs)
        self.conv2 = conv(channels, channels, 3, stride=stride, dilation=dilation)
        self.bn2 = BatchNorm(channels, dtype=dtype, rngs=rngs)
        self.conv3 = conv(channels, out_channels, 1)
        self.bn3 = BatchNorm(out_channels, dtype=dtype, rngs=rngs)
        self.shortcut = nnx.data(None)
        if project:
            self.shortcut = Projection(in_channels, out_channels, stride=stride, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = nnx.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return settle(nnx.relu(y + (x if self.shortcut is None else self.shortcut(x))))


class Projection(nnx.Module):
    """The shortcut of a stage's first block: strided 1×1 convolution and batch norm."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = _conv(in_channels, out_channels, 1, stride=stride, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.bn(self.conv(x))


class Stem(nnx.Module):
    """7×7 convolution of stride 2, batch norm, ReLU: half the size."""

    def __init__(self, *, width: float, dtype: DTypeLike, rngs: nnx.Rngs):
        self.channels = layers.scaled(64, width)
        self.conv = _conv(3, self.channels, 7, stride=2, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(self.channels, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return nnx.relu(self.bn(self.conv(images)))


class DeepStem(nnx.Module):
    """Three times 3×3 convolution (the first of stride 2), batch norm, ReLU: half the size."""

    def __init__(self, *, width: float, dtype: DTypeLike, rngs: nnx.Rngs):
        half, self.channels = layers.scaled(64, width), layers.scaled(128, width)
        self.conv1 = _conv(3, half, 3, stride=2, dtype=dtype, rngs=rngs)
        self.bn1 = BatchNorm(half, dtype=dtype, rngs=rngs)
        self.conv2 = _conv(half, half, 3, dtype=dtype, rngs=rngs)
        self.bn2 = BatchNorm(half, dtype=dtype, rngs=rngs)
        self.conv3 = _conv(half, self.channels, 3, dtype=dtype, rngs=rngs)
        self.bn3 = BatchNorm(self.channels, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(images)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        return nnx.relu(self.bn3(self.conv3(x)))


class Features(NamedTuple):
    """What the encoder hands on; sizes relative to the input, channels at width 1."""

    stem: jax.Array  # 1/2, 64 (deep stem: 128)
    pooled: jax.Array  # 1/4, the same
    stage1: jax.Array  # 1/4, 256
    stage2: jax.Array  # 1/8, 512
    stage3: jax.Array  # 1/16, 1024
    stage4: jax.Array  # 1/32, or 1/16 with a dilated last stage; 2048


class ResNet101(Recomputing):
    """The encoder: stem, 3×3 max pool, stages of 3, 4, 23 and 3 bottlenecks; [B,H,W,3] → Features.

    Args:
      stem: halves the size.
      strides, dilations: of each stage.
    """

    def __init__(
        self,
        stem: Stem | DeepStem,
        *,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        width: float,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.stem = stem
        channels = [stem.channels]
        self.stages: nnx.List[nnx.List[Bottleneck]] = nnx.List()
        for i, count in enumerate(RESNET101_BLOCKS):
            inner = layers.scaled(64 * 2**i, width)
            stage: nnx.List[Bottleneck] = nnx.List()
            for block in range(count):
                stage.append(
                    Bottleneck(
                        channels[-1] if block == 0 else EXPANSION * inner,
                        inner,
                        stride=strides[i] if block == 0 else 1,
                        dilation=dilations[i],
                        project=block == 0,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
            self.stages.append(stage)
            channels.append(EXPANSION * inner)
        self.channels = tuple(channels)

    def __call__(self, images: jax.Array) -> Features:
        stem = self.block(type(self.stem).__call__, self.stem, images)
        pooled = resampling.max_pool(stem, 3, stride=2, padding=1)
        x, outputs = pooled, []
        for stage in self.stages:
            for block in stage:
                x = self.block(Bottleneck.__call__, block, x)
            outputs.append(x)
        return Features(stem, pooled, *outputs)
