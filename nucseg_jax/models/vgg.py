"""VGG-16's convolutions (Simonyan and Zisserman, ICLR 2015), without its fully connected layers."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import initial, layers, resampling
from nucseg_jax.models.recompute import Recomputing

CHANNELS = (64, 128, 256, 512, 512)
VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)


class VGG16(Recomputing):
    """The encoder: five groups of 3×3 convolutions with ReLU, each closed by a 2×2 max pool."""

    def __init__(self, *, width: float = 1.0, dtype: DTypeLike = jnp.float32, rngs: nnx.Rngs):
        self.channels = tuple(layers.scaled(c, width) for c in CHANNELS)
        self.groups: nnx.List[nnx.List[nnx.Conv]] = nnx.List()
        in_channels = 3
        for channels, count in zip(self.channels, VGG16_CONVOLUTIONS, strict=True):
            group: nnx.List[nnx.Conv] = nnx.List()
            for _ in range(count):
                group.append(
                    layers.Conv(
                        in_channels,
                        channels,
                        kernel_init=layers.he_normal,
                        bias_init=initial.zeros,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                in_channels = channels
            self.groups.append(group)

    def __call__(self, images: jax.Array) -> list[jax.Array]:
        """[B,H,W,3] → the five pooled feature maps, at 1/2, 1/4, 1/8, 1/16 and 1/32."""
        x, pooled = images, []
        for group in self.groups:
            x = self.block(_pooled, group, x)
            pooled.append(x)
        return pooled


def _pooled(group: nnx.List[nnx.Conv], x: jax.Array) -> jax.Array:
    for conv in group:
        x = nnx.relu(conv(x))
    return resampling.max_pool_2x2(x)
