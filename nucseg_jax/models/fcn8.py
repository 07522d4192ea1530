"""FCN-8, -16 and -32 (Long et al., CVPR 2015) on VGG-16, as the paper's authors build them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.recompute import Recomputing
from nucseg_jax.models.vgg import VGG16


class Up(nnx.Module):
    """Transposed convolution that doubles the size, ReLU, plus the skip if there is one, batch norm."""

    def __init__(self, in_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.conv = layers.TransposedConv(in_channels, out_channels, zeros_before=1, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, skip: jax.Array | None = None) -> jax.Array:
        x = nnx.relu(self.conv(x))
        return self.bn(x if skip is None else x + skip)


class FCN(Recomputing):
    """A fully convolutional network that adds the encoder's features of the given strides.

    All three have the same 18,643,746 parameters with two classes at width 1; height and width multiples
    of 32.

    Args:
      skips: 16 and 8 for FCN-8, 16 for FCN-16, none for FCN-32.
    """

    def __init__(
        self,
        skips: Sequence[int],
        *,
        num_classes: int = 2,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.skips = tuple(skips)
        self.encoder = VGG16(width=width, dtype=dtype, rngs=rngs)
        sizes = [*self.encoder.channels[::-1], layers.scaled(32, width)]
        self.up = nnx.List(Up(a, b, dtype=dtype, rngs=rngs) for a, b in zip(sizes, sizes[1:], strict=False))
        self.classifier = layers.Classifier(sizes[-1], num_classes, 1, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float[B,H,W,3] in [0, 1] → float32 logits [B,H,W,C]."""
        layers.check_images(images, 32, f"fcn{min(self.skips, default=32)}")
        pooled = self.encoder(images)
        features = {2 ** (i + 1): x for i, x in enumerate(pooled)}
        x = features[32]
        for up, stride in zip(self.up, (16, 8, 4, 2, 1), strict=True):
            x = self.block(Up.__call__, up, x, features[stride] if stride in self.skips else None)
        return self.classifier(x)
