"""The transposed convolution of stride 2, each backend's own way."""

from functools import partial

import jax
import numpy as np

from nucseg_jax.devices import is_for_cpu
from nucseg_jax.models.convolution import xla
from nucseg_jax.models.convolution.by_backend import convolve
from nucseg_jax.models.convolution.phases import by_phase
from nucseg_jax.models.convolution.windows import Window


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_transposed(x: jax.Array, kernel: jax.Array, zeros_before: int) -> jax.Array:
    """The transposed convolution of stride 2: a zero between the pixels of `x`, then a convolution.

    Args:
      x: [B,h,w,I].
      kernel: [3,3,I,O], as the parameter is; rounded to the dtype of `x` here.
      zeros_before: 1 or 2 zeros before the first pixel, and 2 or 1 behind the last one, along both axes.

    Returns:
      [B,2h,2w,O] in the dtype of `x`.
    """
    way = _transposed_by_phases if is_for_cpu() else xla.transposed
    return way(x, kernel, zeros_before=zeros_before)


def _transposed_gradients(
    zeros_before: int, operands: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    way = _transposed_gradients_on_cpu if is_for_cpu() else xla.transposed_gradients
    return way(*operands, dy, zeros_before=zeros_before)


convolve_transposed.defvjp(
    lambda x, kernel, zeros_before: (convolve_transposed(x, kernel, zeros_before), (x, kernel)),
    _transposed_gradients,
)


def _transposed_gradients_on_cpu(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, zeros_before: int
) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(partial(_transposed_by_phases, zeros_before=zeros_before), x, kernel)[1](dy)


def _transposed_by_phases(x: jax.Array, kernel: jax.Array, *, zeros_before: int) -> jax.Array:
    """The four output pixels above one of `x` as channels of one convolution, which meets no inserted zero.

    Of the 16 taps of its 2×2 windows, 9 are the kernel's and 7 are zeros.
    """
    # [p,u,i]: whether tap i of output pixel 2·a + p meets pixel a - before + u.
    before = zeros_before - 1
    taps = np.zeros((2, 2, 3), bool)
    for p in (0, 1):
        for i in range(3):
            pixel, rest = divmod(p + i - zeros_before, 2)
            if rest == 0:
                taps[p, pixel + before, i] = True
    y = convolve(x, by_phase(kernel, taps), Window(padding=(before, 1 - before)))
    batch, height, width, _ = x.shape
    y = y.reshape(batch, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, -1)
