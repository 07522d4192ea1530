"""Percentiles without sorting: on accelerators and CPUs alike, counting is many times faster."""

import jax
import jax.numpy as jnp

_UNSIGNED = {4: jnp.uint32, 8: jnp.uint64}


def percentile(values: jax.Array, included: jax.Array, percent: int) -> jax.Array:
    """`numpy.percentile` of the included values, exactly; differentiable.

    The order statistic is found bit by bit: each pass over the values counts those below a candidate. The
    gradient goes to the values that it lies between.

    Args:
      values: float [N], finite.
      included: bool [N]. None included: the result is 0.
      percent: a whole number in 0 … 100; 100 · N must be an int32.

    Returns:
      float [], interpolated linearly between order statistics.
    """
    count = included.sum()
    # In integers: float32 cannot count to a million hundredths.
    hundredths = percent * jnp.maximum(count - 1, 0)
    rank, fraction = hundredths // 100, (hundredths % 100).astype(values.dtype) / 100
    last = ~jnp.zeros((), _UNSIGNED[values.dtype.itemsize])
    keys = jnp.where(included, _ordered_keys(values), last)
    lower_key = _order_statistic(keys, rank)
    # The next one is the same value where it occurs again, or the smallest above it.
    again = (keys <= lower_key).sum() > rank + 1
    above = jnp.where(keys > lower_key, keys, last).min()
    upper_key = jnp.where(again | (rank + 1 >= count), lower_key, above)
    lower, upper = (_value_of(values, keys, key, included) for key in (lower_key, upper_key))
    return lower + (upper - lower) * fraction


def percentiles(values: jax.Array, included: jax.Array, percent: int) -> jax.Array:
    """`percentile` of each row: [R, N] → [R]."""
    return jax.vmap(percentile, (0, None, None))(values, included, percent)


def _ordered_keys(values: jax.Array) -> jax.Array:
    """Unsigned integers in the order of the floats."""
    unsigned = _UNSIGNED[values.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(jax.lax.stop_gradient(values), unsigned)
    sign = jnp.array(1 << (values.dtype.itemsize * 8 - 1), unsigned)
    return jnp.where(bits & sign, ~bits, bits | sign)


def _order_statistic(keys: jax.Array, rank: jax.Array) -> jax.Array:
    """The key that `rank` others come before."""
    bits = keys.dtype.itemsize * 8

    def refine(i: jax.Array, found: jax.Array) -> jax.Array:
        candidate = found | (jnp.ones((), keys.dtype) << (bits - 1 - i).astype(keys.dtype))
        return jnp.where((keys < candidate).sum() <= rank, candidate, found)

    return jax.lax.fori_loop(0, bits, refine, jnp.zeros((), keys.dtype))


def _value_of(values: jax.Array, keys: jax.Array, key: jax.Array, included: jax.Array) -> jax.Array:
    """The value with this key; its gradient is shared by all values that have it."""
    at = (keys == key) & included
    exact = jax.lax.stop_gradient(jnp.where(at, values, -jnp.inf).max())
    exact = jnp.where(at.any(), exact, 0.0)
    change = jnp.where(at, values - jax.lax.stop_gradient(values), 0.0).sum()
    return exact + change / jnp.maximum(at.sum(), 1)
