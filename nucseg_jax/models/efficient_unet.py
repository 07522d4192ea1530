"""A U-Net whose encoder is EfficientNet-Lite0: made for CPUs, and started from ImageNet's weights."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import efficientnet, layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.efficientnet import EfficientNetLite0
from nucseg_jax.models.recompute import Recomputing

CHANNELS = (128, 64, 48, 32, 16)
"""Of the decoder's blocks, from 1/16 of the size up to the whole."""

HALF_SIZE = CHANNELS[:4]
"""Of a decoder that ends at half of the size, without the block that has the most pixels."""


class UpBlock(nnx.Module):
    """Upsampling by 2, beside the encoder's features; two 3×3 convolutions with batch norm and ReLU.

    The first convolution is a sum of two: of the upsampled features, which are never made, and of the
    encoder's.
    """

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        conv = partial(layers.Conv, bias=False, kernel_init=layers.he_normal, dtype=dtype, rngs=rngs)
        self.up = layers.ConvOfUpsampled(
            in_channels, out_channels, bias=False, kernel_init=layers.he_normal, dtype=dtype, rngs=rngs
        )
        self.skip: layers.Conv | None = nnx.data(None)
        if skip_channels:
            self.skip = conv(skip_channels, out_channels)
        self.bn1 = BatchNorm(out_channels, dtype=dtype, rngs=rngs)
        self.conv = conv(out_channels, out_channels)
        self.bn2 = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, skip: jax.Array | None) -> jax.Array:
        y = self.up(x)
        if self.skip is not None and skip is not None:
            y = y + self.skip(skip)
        y = nnx.relu(self.bn1(y))
        return nnx.relu(self.bn2(self.conv(y)))


class EfficientUNet(Recomputing):
    """3,832,098 parameters with two classes at width 1; height and width multiples of 32.

    Args:
      num_classes: channels of the logits.
      width: multiplies every channel count.
      dtype: compute dtype.
      rngs: of the weights.
    """

    name = "efficient_unet"
    decoder_channels: tuple[int, ...] = CHANNELS

    def __init__(
        self,
        *,
        num_classes: int = 2,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        channels = self.decoder_channels
        self.encoder = EfficientNetLite0(width=width, dtype=dtype, rngs=rngs)
        features = [layers.scaled(efficientnet.STAGES[i].channels, width) for i in efficientnet.FEATURES]
        sizes = [layers.scaled(c, width) for c in channels]
        skips = [*features[-2::-1], 0][: len(sizes)]
        inputs = [features[-1], *sizes[:-1]]
        self.decoder = nnx.List(
            UpBlock(*block, dtype=dtype, rngs=rngs) for block in zip(inputs, skips, sizes, strict=True)
        )
        self.classifier = layers.Classifier(sizes[-1], num_classes, 1, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float[B,H,W,3] in [0, 1] → float32 logits [B,H,W,C]."""
        layers.check_images(images, 32, self.name)
        features = self.encoder(efficientnet.normalise(images))
        x = features[-1]
        for block, skip in zip(self.decoder, [*features[-2::-1], None], strict=False):
            x = self.block(UpBlock.__call__, block, x, skip)
        logits = self.classifier(x)
        return logits if logits.shape[1] == images.shape[1] else resampling.double_bilinear(logits)


class EfficientUNetHalf(EfficientUNet):
    """The same with a decoder that ends at half of the size; the logits are enlarged.

    3,825,154 parameters with two classes at width 1.
    """

    name = "efficient_unet_half"
    decoder_channels = HALF_SIZE
