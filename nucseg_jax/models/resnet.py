"""ResNet with bottlenecks (He et al., CVPR 2016), the stride in the 3×3 convolution ("v1.5")."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers

EXPANSION = 4
RESNET101_BLOCKS = (3, 4, 23, 3)


class Bottleneck(nnx.Module):
    """1×1, 3×3 (strided), 1×1 to four times the width, plus the shortcut."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        stride: int,
        project: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        def conv(a: int, b: int, kernel: int, stride: int = 1) -> nnx.Conv:
            return layers.conv(
                a,
                b,
                kernel,
                stride=stride,
                bias=False,
                kernel_init=layers.he_normal,
                dtype=dtype,
                rngs=rngs,
            )

        out_channels = EXPANSION * channels
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = layers.batch_norm(channels, dtype=dtype, rngs=rngs)
        self.conv2 = conv(channels, channels, 3, stride)
        self.bn2 = layers.batch_norm(channels, dtype=dtype, rngs=rngs)
        self.conv3 = conv(channels, out_channels, 1)
        self.bn3 = layers.batch_norm(out_channels, dtype=dtype, rngs=rngs)
        self.shortcut = nnx.data(None)
        if project:
            self.shortcut = Projection(conv(in_channels, out_channels, 1, stride), out_channels, dtype, rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        y = nnx.relu(self.bn1(self.conv1(x)))
        y = nnx.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class Projection(nnx.Module):
    """The shortcut of a stage's first block: strided 1×1 convolution and batch norm."""

    def __init__(self, conv: nnx.Conv, channels: int, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = conv
        self.bn = layers.batch_norm(channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.bn(self.conv(x))


class Features(NamedTuple):
    """What the encoder hands on; sizes relative to the input, channels at width 1."""

    stem: jax.Array  # 1/2, 64
    pooled: jax.Array  # 1/4, 64
    stage1: jax.Array  # 1/4, 256
    stage2: jax.Array  # 1/8, 512
    stage3: jax.Array  # 1/16, 1024
    stage4: jax.Array  # 1/32, 2048


class ResNet(nnx.Module):
    """The encoder: 7×7 stem, 3×3 max pool, four stages; [B,H,W,3] → Features."""

    def __init__(
        self,
        blocks: Sequence[int] = RESNET101_BLOCKS,
        *,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        channels = layers.scaled(64, width)
        self.conv1 = layers.conv(
            3,
            channels,
            7,
            stride=2,
            bias=False,
            kernel_init=layers.he_normal,
            dtype=dtype,
            rngs=rngs,
        )
        self.bn1 = layers.batch_norm(channels, dtype=dtype, rngs=rngs)
        self.stages: nnx.List[nnx.List[Bottleneck]] = nnx.List()
        self.channels = [channels]
        for stage, count in enumerate(blocks):
            inner = layers.scaled(64 * 2**stage, width)
            outer = EXPANSION * inner
            self.stages.append(
                nnx.List(
                    Bottleneck(
                        self.channels[-1] if i == 0 else outer,
                        inner,
                        stride=2 if i == 0 and stage > 0 else 1,
                        project=i == 0,
                        dtype=dtype,
                        rngs=rngs,
                    )
                    for i in range(count)
                )
            )
            self.channels.append(outer)

    def __call__(self, images: jax.Array) -> Features:
        stem = nnx.relu(self.bn1(self.conv1(images)))
        pooled = layers.max_pool(stem, 3, stride=2, padding=1)
        x, outputs = pooled, []
        for stage in self.stages:
            for block in stage:
                x = block(x)
            outputs.append(x)
        return Features(stem, pooled, *outputs)
