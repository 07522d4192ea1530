"""Training images as other laboratories would have stained them: random changes of the concentrations."""

import jax
import jax.numpy as jnp

from nucseg_jax.stain.optical_density import optical_density, transmitted
from nucseg_jax.stain.separation import SEPARATION_SPARSITY, concentrations, mixture


def augment(
    images: jax.Array,
    key: jax.Array,
    matrix: jax.Array,
    *,
    scale: float,
    shift: float,
    residual: float = 0.0,
) -> jax.Array:
    """Change how much of each stain an image has (Tellez et al., IEEE TMI 37(9), 2018).

    Each image draws α in 1 ± scale and β in ± shift for each stain, and its concentrations c become α c + β.
    What the two stains do not explain of a pixel is multiplied by one number in 1 ± residual. With scale =
    shift = residual = 0 the image stays as it is.

    Args:
      images: float [B, H, W, 3] RGB, grey levels in 0 … 255.
      key: of JAX's random numbers; the same key, the same changes.
      matrix: stain vectors [2, 3], unit rows.
      scale: in 0 … 1.
      shift: optical density, ≥ 0.
      residual: in 0 … 1.

    Returns:
      float [B, H, W, 3], grey levels in 0 … 255.
    """
    count, height, width, _ = images.shape
    draws = jax.random.uniform(key, (2, count, 2), images.dtype, minval=-1.0, maxval=1.0)
    rest = 1.0 + residual * jax.random.uniform(
        jax.random.fold_in(key, 1), (count,), images.dtype, minval=-1.0, maxval=1.0
    )
    planes = images.reshape(count, height * width, 3).swapaxes(1, 2)

    def change(pixels: jax.Array, alpha: jax.Array, beta: jax.Array, rest: jax.Array) -> jax.Array:
        density = optical_density(pixels)
        amounts = concentrations(density, matrix, SEPARATION_SPARSITY)
        added = mixture(amounts * alpha[:, None] + beta[:, None], matrix)
        if residual:
            added += (rest - 1.0) * (density - mixture(amounts, matrix))
        return transmitted(jnp.maximum(density + added, 0.0))

    changed = jax.vmap(change)(planes, scale * draws[0], shift * draws[1], rest)
    return changed.swapaxes(1, 2).reshape(images.shape)
