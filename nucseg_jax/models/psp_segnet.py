"""PSPSegNet: ResNet-101, pyramid pooling at 1/8, and a decoder that fuses the encoder's features."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.convolution import convolve
from nucseg_jax.models.pyramid_pooling import PyramidPooling
from nucseg_jax.models.recompute import Recomputing
from nucseg_jax.models.resnet import ResNet101, Stem


class Merge(layers.Conv):
    """1×1 convolution of maps of several sizes, resized to one size and concatenated.

    Both are linear, one along the channels and one along the pixels: each map is convolved at its own size, a
    few pixels, and resized then. This spares the bulk of the products.
    """

    def __call__(self, parts: Sequence[jax.Array], size: Sequence[int]) -> jax.Array:  # type: ignore[override]
        """parts: [B,h,w,c] each, their channels are in_channels together → [B,*size,out_channels]."""
        starts = np.cumsum([part.shape[-1] for part in parts])[:-1]
        kernels = jnp.split(self.kernel[...], starts, axis=2)
        resized = []
        for part, kernel in zip(parts, kernels, strict=True):
            y = convolve(jnp.asarray(part, self.dtype), kernel, self.window)
            resized.append(resampling.resize_bilinear(y, size))
        return sum(resized[1:], start=resized[0])


class Up(nnx.Module):
    """Resize to the target's size, 5×5 convolution, batch norm; no activation."""

    def __init__(self, in_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = layers.Conv(in_channels, out_channels, 5, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, size: Sequence[int]) -> jax.Array:
        return self.bn(self.conv(resampling.resize_bilinear(x, size)))


class Fuse(nnx.Module):
    """ReLU(BN(1×1 convolution of the encoder's features) + the decoder's features)."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = layers.Conv(channels, channels, 1, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(channels, dtype=dtype, rngs=rngs)

    def __call__(self, skip: jax.Array, x: jax.Array) -> jax.Array:
        return nnx.relu(self.bn(self.conv(skip)) + x)


class PSPSegNet(Recomputing):
    """122,925,064 parameters with two classes at width 1; height and width multiples of 32."""

    def __init__(
        self,
        *,
        num_classes: int = 2,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.encoder = ResNet101(
            Stem(width=width, dtype=dtype, rngs=rngs), width=width, dtype=dtype, rngs=rngs
        )
        stem, _, stage2, stage3, stage4 = self.encoder.channels
        context = layers.scaled(512, width)
        last = layers.scaled(32, width)
        self.ppm = PyramidPooling(stage4, context, dtype=dtype, rngs=rngs)
        self.conv_after_ppm = Merge(stage4 + 4 * context, stage4, 1, bias=False, dtype=dtype, rngs=rngs)
        sizes = [stage4, stage3, stage2, stem, stem, last]
        self.up = nnx.List(Up(a, b, dtype=dtype, rngs=rngs) for a, b in zip(sizes, sizes[1:], strict=False))
        self.fuse = nnx.List(Fuse(c, dtype=dtype, rngs=rngs) for c in sizes[1:5])
        self.classifier = layers.Classifier(last, num_classes, 1, dtype=dtype, rngs=rngs)
        self.smooth = layers.Classifier(num_classes, num_classes, 3, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float[B,H,W,3] in [0, 1] → float32 logits [B,H,W,C]."""
        layers.check_images(images, 32, "psp_segnet")
        features = self.encoder(images)
        size = features.stage2.shape[1:3]
        pooled = self.ppm(resampling.resize_bilinear(features.stage4, size))
        x = self.conv_after_ppm([features.stage4, *pooled], size)
        skips = (features.stage3, features.stage2, features.pooled, features.stem)
        for up, fuse, skip in zip(list(self.up)[:4], self.fuse, skips, strict=True):
            x = self.block(_fused, up, fuse, skip, x)
        x = self.block(partial(Up.__call__, size=images.shape[1:3]), self.up[4], x)
        return self.smooth(self.classifier(x))


def _fused(up: Up, fuse: Fuse, skip: jax.Array, x: jax.Array) -> jax.Array:
    return fuse(skip, up(x, skip.shape[1:3]))
