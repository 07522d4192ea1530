"""Batch norm as PyTorch has it, with the variance about the mean and gradients that need little memory.

All arrays are [batch, height, width, channels].
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.devices import sharing
from nucseg_jax.models.recompute import kept


class Moments(NamedTuple):
    """Mean and biased variance of each channel over a batch, float32[C]."""

    mean: jax.Array
    variance: jax.Array


class BatchNorm(nnx.Module):
    """Batch norm with PyTorch's eps and momentum (its 0.1 is Flax's 0.9), computed in at least float32.

    PyTorch stores the unbiased running variance and Flax the biased one, so inference with converted
    statistics agrees exactly, the running variance of a training run does not.

    Args:
      channels: that come in, and out.
      momentum: of the running statistics.
      epsilon: added to the variance.
      dtype: compute dtype.
      rngs: for the same call as other layers'; nothing is drawn.

    Attributes:
      mean, var: the running statistics, float32[C].
      scale, bias: of the normalised channels, float32[C].
      use_running_average: normalise by the running statistics, as in inference (`nnx.Module.eval` sets it).
      axis_name: of the devices of a `pmap` that share their statistics.
    """

    def __init__(
        self,
        channels: int,
        *,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        # By NumPy: JAX would compile a program for every size.
        self.mean = nnx.BatchStat(jnp.asarray(np.zeros(channels, np.float32)))
        self.var = nnx.BatchStat(jnp.asarray(np.ones(channels, np.float32)))
        self.scale = nnx.Param(jnp.asarray(np.ones(channels, np.float32)))
        self.bias = nnx.Param(jnp.asarray(np.zeros(channels, np.float32)))
        self.momentum, self.epsilon, self.dtype = momentum, epsilon, dtype
        self.use_running_average = False
        self.axis_name: str | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        """x: [B,H,W,C] → the same in the compute dtype."""
        moments = self.take(None if self.use_running_average else self.moments(x))
        return normalised(x, moments, self.scale[...], self.bias[...], self.epsilon, self.dtype)

    def take(self, moments: Moments | None) -> Moments:
        """The moments to normalise by: the running ones in inference, else a batch's, which move these.

        Args:
          moments: of the batch; not looked at in inference.
        """
        running = Moments(self.mean[...], self.var[...])
        if self.use_running_average:
            return running
        assert moments is not None
        mean, variance = _moved(running, moments, self.momentum)
        # Not `self.mean[...] = mean`, for which Flax asks where a traced array is: that takes JAX long.
        self.mean.set_value(mean)
        self.var.set_value(variance)
        return moments

    def moments(self, x: jax.Array) -> Moments:
        """Of [B,H,W,C], over all devices of `axis_name` where there is one (`pmap`; `jit` needs none)."""
        running = self.mean[...]
        # FC-DenseNet asks for moments of features that are a part of a layer's channels.
        near = running if running.shape == x.shape[-1:] else jnp.zeros(x.shape[-1:], running.dtype)
        return _moments(x, jax.lax.stop_gradient(near), self.axis_name, sharing(x.shape[0]))


# These are jitted so that they are traced once for layers of equal shape.
@partial(jax.jit, static_argnums=(2, 3))
def _moments(x: jax.Array, near: jax.Array, axis_name: str | None, devices: int) -> Moments:
    """See `BatchNorm.moments`.

    The variance is taken about the mean: Flax's default, E[x²] − E[x]², loses digits wherever the mean is
    large beside the deviation. Several devices would have to wait for the mean of them all before they take
    deviations from it. Instead each takes its own rows' moments, and one message puts them together: the
    variance is the mean of their variances and the variance of their means. The latter loses digits where
    `near` is many deviations from the mean, as in first steps: 1e-3 of the variance at 100 deviations.

    Args:
      x: [B,H,W,C].
      near: float32[C], about the mean, such as the running one: it keeps digits of the means' variance.
      axis_name: of the devices of a `pmap`, which have moments of their own; None: `devices` have.
      devices: that share the rows, in equal parts.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if devices == 1 and axis_name is None:
        own = _own_moments(x)
        return Moments(own.mean, kept(own.variance))
    own = jax.vmap(_own_moments)(x.reshape(devices, -1, *x.shape[1:]))
    offset = own.mean - near.reshape(1, -1)
    together = jnp.stack([offset, jnp.square(offset), own.variance], 1).mean(0)
    if axis_name is not None:
        together = jax.lax.pmean(together, axis_name)
    offset, square, variance = kept(together)
    return Moments(near + offset, variance + jnp.maximum(square - jnp.square(offset), 0.0))


def _own_moments(x: jax.Array) -> Moments:
    """Of at least float32 [B,H,W,C], the variance about the mean."""
    center = kept(x.mean((0, 1, 2)))
    # Deviations from the mean sum up to 0: the variance has no gradient through the mean.
    deviations = x - _per_channel(jax.lax.stop_gradient(center))
    return Moments(center, jnp.square(deviations).mean((0, 1, 2)))


@partial(jax.jit, static_argnums=2)
def _moved(running: Moments, new: Moments, momentum: float) -> Moments:
    """The running statistics after a batch: float32, also where the network computes in float64."""
    return jax.tree.map(lambda old, x: momentum * old + (1 - momentum) * x.astype(old.dtype), running, new)


@partial(jax.jit, static_argnums=(4, 5))
def normalised(
    x: jax.Array, moments: Moments, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: DTypeLike
) -> jax.Array:
    """(x - mean) / deviation · scale + bias: [B,H,W,C] → the same in `dtype`."""
    deviation = jnp.sqrt(moments.variance + epsilon)
    return _normalise(x, moments.mean, deviation, scale, bias).astype(dtype)


def _per_channel(values: jax.Array) -> jax.Array:
    """[C] → [1,1,1,C]."""
    return values.reshape(1, 1, 1, -1)


@jax.custom_vjp
def _normalise(
    x: jax.Array, mean: jax.Array, deviation: jax.Array, scale: jax.Array, bias: jax.Array
) -> jax.Array:
    """(x - mean) / deviation · scale + bias; `x` is [B,H,W,C], the others are float32[C]."""
    return (x - _per_channel(mean)) * _per_channel(scale / deviation) + _per_channel(bias)


def _normalise_gradients(operands: tuple[jax.Array, ...], dy: jax.Array) -> tuple[jax.Array, ...]:
    """Two sums over the pixels give them all. JAX would keep x - mean for them; here it is made again."""
    x, mean, deviation, scale, bias = operands
    total = dy.sum((0, 1, 2))
    projection = (dy * (x - _per_channel(mean))).sum((0, 1, 2)) / deviation
    factor = scale / deviation
    gradients = (dy * _per_channel(factor), -factor * total, -factor * projection, projection, total)
    return tuple(g.astype(operand.dtype) for g, operand in zip(gradients, operands, strict=True))


_normalise.defvjp(lambda *operands: (_normalise(*operands), operands), _normalise_gradients)
