"""Sums of products in at least float32, whatever dtype the operands have."""

import jax
import jax.numpy as jnp
from jax import lax


def product(
    a: jax.Array, b: jax.Array, contract: tuple[tuple[int, ...], tuple[int, ...]], dtype: jnp.dtype
) -> jax.Array:
    """The sum of a · b over pairs of axes, in at least float32, as `dtype`."""
    return lax.dot_general(a, b, (contract, ((), ())), preferred_element_type=sum_dtype(a)).astype(dtype)


def sum_dtype(x: jax.Array) -> jnp.dtype:
    """The dtype in which products of values like those of `x` are summed: at least float32."""
    return jnp.promote_types(x.dtype, jnp.float32)


def widened(*arrays: jax.Array) -> list[jax.Array]:
    return [x.astype(sum_dtype(x)) for x in arrays]
