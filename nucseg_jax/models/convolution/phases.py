"""Kernels by phase: what a 3×3 kernel does to an image of twice the size, seen from the small image."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray


def by_phase(kernel: jax.Array, taps: NDArray[np.bool_]) -> jax.Array:
    """The kernels of the four output pixels (p, q) above one pixel, each a sum of a 3×3 kernel's taps.

    By slices and sums: as a product with `taps`, XLA's CPU backend takes longer for it than for the
    convolution of a tile of 256 pixels.

    Args:
      kernel: [3,3,I,O].
      taps: bool [p,u,i], 2×2×3: whether tap i of output row (or column) p meets row u of the 2×2 pixels that
        the four see.

    Returns:
      [2,2,I,4·O]: the kernel of one convolution whose channels are (p, q, output channel).
    """

    def kernel_of(p: int, q: int, u: int, v: int) -> jax.Array:
        met = [kernel[i, j] for i in np.flatnonzero(taps[p, u]) for j in np.flatnonzero(taps[q, v])]
        return sum(met[1:], start=met[0]) if met else jnp.zeros(kernel.shape[2:], kernel.dtype)

    pixels = [
        jnp.concatenate([kernel_of(p, q, u, v) for p in (0, 1) for q in (0, 1)], axis=-1)
        for u in (0, 1)
        for v in (0, 1)
    ]
    return jnp.stack(pixels).reshape(2, 2, kernel.shape[2], -1)
