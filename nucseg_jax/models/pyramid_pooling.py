"""Pyramid pooling (Zhao et al., CVPR 2017)."""

from collections.abc import Callable, Sequence

import jax
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.errors import UserError
from nucseg_jax.models import layers, resampling
from nucseg_jax.models.batch_norm import BatchNorm


class PoolingBranch(nnx.Module):
    """Average pooling to bins × bins, 1×1 convolution, batch norm, activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        bins: int,
        *,
        activation: Callable[[jax.Array], jax.Array],
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.bins = bins
        self.activation = activation
        self.conv = layers.Conv(in_channels, out_channels, 1, bias=False, dtype=dtype, rngs=rngs)
        self.bn = BatchNorm(out_channels, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.activation(self.bn(self.conv(resampling.adaptive_average_pool(x, self.bins))))


class PyramidPooling(nnx.Module):
    """One branch per bin count; the caller resizes them and joins them with its features in its own order."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bins: Sequence[int] = (1, 2, 3, 6),
        activation: Callable[[jax.Array], jax.Array] = nnx.relu,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        self.branches = nnx.List(
            PoolingBranch(in_channels, out_channels, b, activation=activation, dtype=dtype, rngs=rngs)
            for b in bins
        )

    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """x: [B,h,w,in_channels] → for each bin count [B,bins,bins,out_channels]."""
        if not self.branches[0].bn.use_running_average and x.shape[0] < 2:
            raise UserError(
                "pyramid pooling needs a batch of at least 2 in training: its 1-bin branch has one value "
                "a channel and image, and batch norm over a single value is meaningless; raise batch_size "
                "(or lower optim.accumulate)"
            )
        return [branch(x) for branch in self.branches]
