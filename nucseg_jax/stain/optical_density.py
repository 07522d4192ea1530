"""Light and dye: grey levels ↔ optical density (Beer and Lambert's law, base e)."""

import jax
import jax.numpy as jnp

SMALLEST_DENSITY = 1e-6


def optical_density(planes: jax.Array) -> jax.Array:
    """Grey levels in 0 … 255 → −ln(I / 255) of the same shape, at least 1e-6; black counts as 1."""
    return jnp.maximum(-jnp.log(jnp.maximum(planes, 1.0) / 255.0), SMALLEST_DENSITY)


def transmitted(density: jax.Array) -> jax.Array:
    """Optical density → grey levels in 0 … 255."""
    return 255.0 * jnp.exp(-density)
