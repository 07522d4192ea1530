"""CE2P (Ruan et al., AAAI 2019), the network of Self-Correction (Li et al., TPAMI 2020).

A context branch parses, an edge branch finds boundaries, a fusion of the features of both gives the result.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.pyramid_pooling import PyramidPooling
from nucseg_jax.models.recompute import Recomputing
from nucseg_jax.models.resnet import DeepStem, ResNet101
from nucseg_jax.models.targets import EDGE_CLASSES

leaky_relu = partial(nnx.leaky_relu, negative_slope=0.01)


class Branches(NamedTuple):
    """float32 logits at the images' size; the fusion's are the network's result."""

    parsing: jax.Array  # [B,H,W,C]
    edge: jax.Array  # [B,H,W,2]: no edge, edge
    fusion: jax.Array  # [B,H,W,C]


class ConvNorm(nnx.Module):
    """Convolution without bias, batch norm, leaky ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 1, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.conv = layers.Conv(in_channels, out_channels, kernel, bias=False, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return leaky_relu(self.bn(self.conv(x)))


class Context(nnx.Module):
    """Pyramid pooling and a 3×3 convolution: [B,h,w,in] → [B,h,w,out]."""

    def __init__(self, in_channels: int, out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.ppm = PyramidPooling(in_channels, out_channels, activation=leaky_relu, dtype=dtype, rngs=rngs)
        self.bottleneck = ConvNorm(in_channels + 4 * out_channels, out_channels, 3, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        pooled = [resampling.resize_bilinear(y, x.shape[1:3]) for y in self.ppm(x)]
        return self.bottleneck(jnp.concatenate([*pooled, x], axis=-1))


class Parsing(nnx.Module):
    """Context and the features of 1/4 → (logits, features), at 1/4."""

    def __init__(
        self,
        context: int,
        fine: int,
        out_channels: int,
        fine_out: int,
        num_classes: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        norm = partial(ConvNorm, dtype=dtype, rngs=rngs)
        self.conv_context = norm(context, out_channels)
        self.conv_fine = norm(fine, fine_out)
        self.conv1 = norm(out_channels + fine_out, out_channels)
        self.conv2 = norm(out_channels, out_channels)
        self.classifier = layers.Classifier(out_channels, num_classes, 1, dtype=dtype, rngs=rngs)

    def __call__(self, context: jax.Array, fine: jax.Array) -> tuple[jax.Array, jax.Array]:
        context = resampling.resize_bilinear(self.conv_context(context), fine.shape[1:3])
        x = self.conv2(self.conv1(jnp.concatenate([context, self.conv_fine(fine)], axis=-1)))
        return self.classifier(x), x


class Edge(nnx.Module):
    """Features of three scales → (edge logits, concatenated features), at the first one's size.

    One 3×3 convolution is shared by the scales and comes before the resizing.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        self.convs = nnx.List(ConvNorm(c, out_channels, dtype=dtype, rngs=rngs) for c in in_channels)
        self.shared = layers.Classifier(out_channels, EDGE_CLASSES, dtype=dtype, rngs=rngs)
        self.classifier = layers.Classifier(
            len(in_channels) * EDGE_CLASSES, EDGE_CLASSES, 1, dtype=dtype, rngs=rngs
        )

    def __call__(self, features: Sequence[jax.Array]) -> tuple[jax.Array, jax.Array]:
        size = features[0].shape[1:3]
        features = [conv(x) for conv, x in zip(self.convs, features, strict=True)]
        logits = [resampling.resize_bilinear(self.shared(x), size) for x in features]
        resized = [resampling.resize_bilinear(x, size) for x in features]
        return self.classifier(jnp.concatenate(logits, axis=-1)), jnp.concatenate(resized, axis=-1)


class Fusion(nnx.Module):
    """Features of parsing and edges → logits, at their size."""

    def __init__(
        self, in_channels: int, channels: int, num_classes: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        self.conv = ConvNorm(in_channels, channels, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, broadcast_dims=(1, 2), rngs=rngs)
        self.classifier = layers.Classifier(channels, num_classes, 1, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.classifier(self.dropout(self.conv(x)))


class CE2P(Recomputing):
    """66,714,676 parameters with two classes at width 1; height and width multiples of 16."""

    def __init__(
        self,
        *,
        num_classes: int = 2,
        width: float = 1.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        self.encoder = ResNet101(
            DeepStem(width=width, dtype=dtype, rngs=rngs),
            strides=(1, 2, 2, 1),
            dilations=(1, 1, 1, 2),
            width=width,
            dtype=dtype,
            rngs=rngs,
        )
        _, c2, c3, c4, c5 = self.encoder.channels
        context, features = layers.scaled(512, width), layers.scaled(256, width)
        self.context = Context(c5, context, dtype=dtype, rngs=rngs)
        self.parsing = Parsing(
            context, c2, features, layers.scaled(48, width), num_classes, dtype=dtype, rngs=rngs
        )
        self.edge = Edge((c2, c3, c4), features, dtype=dtype, rngs=rngs)
        self.fusion = Fusion(4 * features, features, num_classes, dtype=dtype, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """images: float[B,H,W,3] in [0, 1] → float32 logits [B,H,W,C]."""
        return self.branches(images).fusion

    def branches(self, images: jax.Array) -> Branches:
        """images: float[B,H,W,3] in [0, 1] → the float32 logits of all three branches."""
        layers.check_images(images, 16, "self_correction")
        x = self.encoder(images)
        context = self.block(Context.__call__, self.context, x.stage4)
        parsing, parsing_features = self.block(Parsing.__call__, self.parsing, context, x.stage1)
        edge, edge_features = self.block(Edge.__call__, self.edge, (x.stage1, x.stage2, x.stage3))
        fusion = self.block(_fused, self.fusion, parsing_features, edge_features)
        size = images.shape[1:3]
        return Branches(*(resampling.resize_bilinear(y, size) for y in (parsing, edge, fusion)))


def _fused(fusion: Fusion, parsing_features: jax.Array, edge_features: jax.Array) -> jax.Array:
    return fusion(jnp.concatenate([parsing_features, edge_features], axis=-1))
