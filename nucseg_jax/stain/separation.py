"""How much of two given stains lies over each pixel."""

import jax
import jax.numpy as jnp

EXTRACTION_SPARSITY = 0.1
SEPARATION_SPARSITY = 0.01
"""Weights of the L1 term: while the stain vectors are sought, and with given ones. staintools' defaults."""


def concentrations(density: jax.Array, matrix: jax.Array, sparsity: float) -> jax.Array:
    """The non-negative lasso with two atoms, in closed form.

    Minimises ½‖x − Sᵀc‖² + sparsity · (c₁ + c₂) over c ≥ 0 for every pixel x: what SPAMS's `lasso` does
    step by step (Vahadane et al., IEEE TMI 35(8), 2016, eq. 6).

    Args:
      density: optical density [3, N].
      matrix: the stain vectors S [2, 3], unit rows, not parallel.
      sparsity: weight of the L1 term, ≥ 0.

    Returns:
      [2, N], ≥ 0.
    """
    # Written out: a product with a matrix of three columns leaves most of a vector unit idle.
    along = [sum(matrix[i, k] * density[k] for k in range(3)) - sparsity for i in range(2)]
    overlap = (matrix[0] * matrix[1]).sum()
    first = along[0] - overlap * along[1]
    second = along[1] - overlap * along[0]
    scale = 1.0 / jnp.maximum(1.0 - overlap**2, 1e-6)
    # Where one stain would be negative it is absent, and the other one is alone.
    return jnp.stack(
        [
            jnp.where(second <= 0, jnp.maximum(along[0], 0), jnp.maximum(first, 0) * scale),
            jnp.where(first <= 0, jnp.maximum(along[1], 0), jnp.maximum(second, 0) * scale),
        ]
    )


def mixture(amounts: jax.Array, matrix: jax.Array) -> jax.Array:
    """Concentrations [2, N] of the stains `matrix` [2, 3] → optical density [3, N]."""
    return jnp.stack([amounts[0] * matrix[0, k] + amounts[1] * matrix[1, k] for k in range(3)])
