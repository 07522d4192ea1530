"""U-Net with batch norm (Ronneberger et al., MICCAI 2015), as the paper's authors build it."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.recompute import Recomputing

CHANNELS = (64, 128, 256, 512, 1024)


class DoubleConv(nnx.Module):
    """Two times 3×3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv1 = layers.Conv(in_channels, out_channels, dtype=dtype, rngs=rngs)
        self.bn1 = BatchNorm(out_channels, dtype=dtype, rngs=rngs)
        self.conv2 = layers.Conv(out_channels, out_channels, dtype=dtype, rngs=rngs)
        self.bn2 = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        return nnx.relu(self.bn2(self.conv2(x)))


class UpConv(nnx.Module):
    """Nearest upsampling by 2, then 3×3 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = layers.ConvOfUpsampled(in_channels, out_channels, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return nnx.relu(self.bn(self.conv(x)))


class UNet(Recomputing):
    """34,527,106 parameters with two classes at width 1; height and width multiples of 16."""

    def __init__(
        self,
        *,
        num_classes: int = 2,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        sizes = [layers.scaled(c, width) for c in CHANNELS]
        self.encoder = nnx.List(
            DoubleConv(a, b, dtype=dtype, rngs=rngs) for a, b in zip([3, *sizes[:-1]], sizes, strict=True)
        )
        # Decoder blocks run from the coarsest to the finest scale.
        steps = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.up = nnx.List(UpConv(a, b, dtype=dtype, rngs=rngs) for a, b in steps)
        self.decoder = nnx.List(DoubleConv(2 * b, b, dtype=dtype, rngs=rngs) for _, b in steps)
        self.classifier = layers.Classifier(sizes[0], num_classes, 1, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float[B,H,W,3] in [0, 1] → float32 logits [B,H,W,C]."""
        layers.check_images(images, 16, "unet")
        skips = []
        x = images
        for i, block in enumerate(self.encoder):
            x = self.block(DoubleConv.__call__ if i == 0 else _pooled, block, x)
            skips.append(x)
        for up, block, skip in zip(self.up, self.decoder, skips[-2::-1], strict=True):
            x = self.block(_joined, up, block, skip, x)
        return self.classifier(x)


def _pooled(block: DoubleConv, x: jax.Array) -> jax.Array:
    return block(resampling.max_pool_2x2(x))


def _joined(up: UpConv, block: DoubleConv, skip: jax.Array, x: jax.Array) -> jax.Array:
    return block(jnp.concatenate([skip, up(x)], axis=-1))
