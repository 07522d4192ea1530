"""FC-DenseNet103 (Jégou et al., CVPR Workshops 2017): dense blocks down, at the bottom and up again."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm, Moments, normalised
from nucseg_jax.models.convolution import settle
from nucseg_jax.models.recompute import Recomputing

GROWTH = 16
FIRST_CHANNELS = 48
DOWN_LAYERS = (4, 5, 7, 10, 12)
BOTTLENECK_LAYERS = 15
DROPOUT = 0.2


class NormReluConv(nnx.Module):
    """Batch norm, ReLU, convolution."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.bn = BatchNorm(in_channels, dtype=dtype, rngs=rngs)
        self.conv = layers.Conv(
            in_channels, out_channels, kernel, kernel_init=layers.he_uniform, dtype=dtype, rngs=rngs
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(nnx.relu(self.bn(x)))

    def of_features(self, features: Sequence[jax.Array], moments: Sequence[Moments]) -> jax.Array:
        """`__call__` of the concatenated features, whose moments are known already."""
        x = jnp.concatenate(features, axis=-1)
        if self.bn.use_running_average:
            return self(x)
        known = self.bn.take(Moments(*(jnp.concatenate(parts) for parts in zip(*moments, strict=True))))
        x = normalised(x, known, self.bn.scale[...], self.bn.bias[...], self.bn.epsilon, self.bn.dtype)
        return self.conv(nnx.relu(x))


class DenseBlock(Recomputing):
    """Layers that each see the concatenation of the block's input and all features made before.

    Unless it is told otherwise, it makes the concatenations and their normalised copies again: kept, they are
    the bulk of the network's memory, as they grow with the square of a block's layers.
    """

    recomputes = True

    def __init__(self, in_channels: int, growth: int, count: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.layers = nnx.List(
            NormReluConv(in_channels + i * growth, growth, 3, dtype=dtype, rngs=rngs) for i in range(count)
        )
        self.dropout = nnx.Dropout(DROPOUT, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [B,h,w,in_channels] → the new features [B,h,w,count · growth]."""
        growth = self.layers[0].conv.out_features
        # Channel dropout as one draw for all layers: a draw each would double the compilation time.
        kept = self.dropout(jnp.ones((len(self.layers), x.shape[0], 1, 1, growth), x.dtype))
        moments_of = self.layers[0].bn.moments
        features, moments = [x], [moments_of(x)]
        for layer, factor in zip(self.layers, kept, strict=True):
            features = _settle_gradients(features)
            new = settle(self.block(NormReluConv.of_features, layer, features, moments) * factor)
            features.append(new)
            # All later layers normalise these features with the same mean and variance, taken once.
            moments.append(moments_of(new))
        return jnp.concatenate(features[1:], axis=-1)


@jax.custom_vjp
def _settle_gradients(features: list[jax.Array]) -> list[jax.Array]:
    """The features themselves; in the backward pass, their gradients so far are summed here.

    Left to itself XLA puts the sum off, and keeps what every layer of the block would add to it.
    """
    return features


_settle_gradients.defvjp(
    lambda features: (features, None), lambda _, gradients: (jax.lax.optimization_barrier(gradients),)
)


class TransitionDown(nnx.Module):
    """Batch norm, ReLU, 1×1 convolution, channel dropout, 2×2 max pool."""

    def __init__(self, channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.layer = NormReluConv(channels, channels, 1, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(DROPOUT, broadcast_dims=(1, 2), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampling.max_pool_2x2(self.dropout(self.layer(x)))


class FCDenseNet(Recomputing):
    """9,319,778 parameters with two classes at width 1; height and width multiples of 32."""

    def __init__(
        self,
        *,
        num_classes: int = 2,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        growth, channels = layers.scaled(GROWTH, width), layers.scaled(FIRST_CHANNELS, width)
        self.first = layers.Conv(3, channels, kernel_init=layers.he_uniform, dtype=dtype, rngs=rngs)
        self.down: nnx.List[DenseBlock] = nnx.List()
        self.transitions_down: nnx.List[TransitionDown] = nnx.List()
        skips = []
        for count in DOWN_LAYERS:
            self.down.append(DenseBlock(channels, growth, count, dtype=dtype, rngs=rngs))
            channels += count * growth
            skips.append(channels)
            self.transitions_down.append(TransitionDown(channels, dtype=dtype, rngs=rngs))
        self.bottleneck = DenseBlock(channels, growth, BOTTLENECK_LAYERS, dtype=dtype, rngs=rngs)
        channels = BOTTLENECK_LAYERS * growth
        self.transitions_up: nnx.List[layers.TransposedConv] = nnx.List()
        self.up: nnx.List[DenseBlock] = nnx.List()
        for count, skip in zip(DOWN_LAYERS[::-1], skips[::-1], strict=True):
            self.transitions_up.append(
                layers.TransposedConv(
                    channels, channels, zeros_before=2, kernel_init=layers.he_uniform, dtype=dtype, rngs=rngs
                )
            )
            self.up.append(DenseBlock(channels + skip, growth, count, dtype=dtype, rngs=rngs))
            last_input, channels = channels + skip, count * growth
        self.classifier = layers.Classifier(
            last_input + channels, num_classes, 1, kernel_init=layers.he_uniform, dtype=dtype, rngs=rngs
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float[B,H,W,3] in [0, 1] → float32 logits [B,H,W,C]."""
        layers.check_images(images, 32, "fc_densenet")
        x, skips = self.first(images), []
        for block, transition in zip(self.down, self.transitions_down, strict=True):
            skips.append(jnp.concatenate([x, block(x)], axis=-1))
            x = self.block(TransitionDown.__call__, transition, skips[-1])
        new = self.bottleneck(x)
        for upsample, block, skip in zip(self.transitions_up, self.up, skips[::-1], strict=True):
            x = jnp.concatenate([upsample(new), skip], axis=-1)
            new = block(x)
        # The last block hands on its input, too.
        return self.classifier(jnp.concatenate([x, new], axis=-1))
