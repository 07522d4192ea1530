"""SegNet (Badrinarayanan et al., TPAMI 2017), as the paper's authors build it."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.recompute import Recomputing
from nucseg_jax.models.vgg import CHANNELS

DROPOUT = 0.5
DEEP_BLOCKS = 3  # the coarsest ones, at both ends of the bottleneck, have dropout


class ConvNormRelu(nnx.Module):
    """3×3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = layers.Conv(
            in_channels, out_channels, kernel_init=layers.he_normal, dtype=dtype, rngs=rngs
        )
        self.bn = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.bn(self.conv(x)))


class Block(nnx.Module):
    """One `ConvNormRelu` for each step of `channels`, then dropout at the given rate."""

    def __init__(self, channels: list[int], *, dropout: float, dtype: DTypeLike, rngs: nnx.Rngs):
        self.layers = nnx.List(
            ConvNormRelu(a, b, dtype=dtype, rngs=rngs) for a, b in zip(channels, channels[1:], strict=False)
        )
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self.layers:
            x = layer(x)
        return self.dropout(x)


class SegNet(Recomputing):
    """18,819,650 parameters with two classes at width 1; height and width multiples of 32."""

    def __init__(
        self,
        *,
        num_classes: int = 2,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        sizes = [layers.scaled(c, width) for c in CHANNELS]
        rates = [0.0] * (len(sizes) - DEEP_BLOCKS) + [DROPOUT] * DEEP_BLOCKS
        self.encoder = nnx.List(
            Block([a, b, b], dropout=rate, dtype=dtype, rngs=rngs)
            for a, b, rate in zip([3, *sizes[:-1]], sizes, rates, strict=True)
        )
        # Decoder blocks run from the coarsest to the finest scale; the finest has one convolution.
        steps = [[b, b, a] for a, b in zip(sizes[:-1], sizes[1:], strict=True)][::-1] + [[sizes[0]] * 2]
        self.decoder = nnx.List(
            Block(step, dropout=rate, dtype=dtype, rngs=rngs)
            for step, rate in zip(steps, rates[::-1], strict=True)
        )
        self.classifier = layers.Classifier(
            sizes[0], num_classes, kernel_init=layers.he_normal, dtype=dtype, rngs=rngs
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float[B,H,W,3] in [0, 1] → float32 logits [B,H,W,C]."""
        layers.check_images(images, 32, "segnet")
        x, positions = images, []
        for block in self.encoder:
            x, position = self.block(_pooled, block, x)
            positions.append(position)
        for block, position in zip(self.decoder, positions[::-1], strict=True):
            x = self.block(_unpooled, block, x, position)
        return self.classifier(x)


def _pooled(block: Block, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return resampling.max_pool_2x2_with_positions(block(x))


def _unpooled(block: Block, x: jax.Array, position: jax.Array) -> jax.Array:
    return block(resampling.unpool_2x2(x, position))
