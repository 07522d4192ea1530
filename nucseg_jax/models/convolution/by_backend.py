"""The convolution, each backend's own way."""

from functools import partial

import jax
from jax import lax

from nucseg_jax.models.convolution import cpu, xla
from nucseg_jax.models.convolution.windows import Window


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution (cross-correlation) of images with a square kernel.

    Args:
      x: [B,H,W,I].
      kernel: [k,k,I,O], as the parameter is; rounded to the dtype of `x` here.
      window: stride, dilation and padding, the same along both axes.

    Returns:
      [B,h,w,O] in the dtype of `x`.
    """
    return _keep_operands(x, kernel, window)[0]


def settle(x: jax.Array) -> jax.Array:
    """The array itself, computed once.

    XLA's CPU backend fuses cheap operations into all that use them, however many they are: the sum at the end
    of a residual block would be computed again, with those of all blocks before it, in every later block.
    """
    return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


def _keep_operands(
    x: jax.Array, kernel: jax.Array, window: Window
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    x = settle(x)
    y = lax.platform_dependent(
        x,
        kernel.astype(x.dtype),
        cpu=partial(cpu.forward, window=window),
        default=partial(xla.forward, window=window),
    )
    return y, (x, kernel)


def _gradients(
    window: Window, operands: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = operands
    dy = settle(dy)
    dx = lax.platform_dependent(
        x,
        kernel.astype(x.dtype),
        dy,
        cpu=partial(cpu.image_gradient, window=window),
        default=partial(xla.image_gradient, window=window),
    )
    size = kernel.shape[0]
    dk = lax.platform_dependent(
        x,
        dy,
        cpu=partial(cpu.kernel_gradient, size=size, window=window),
        default=partial(xla.kernel_gradient, size=size, window=window),
    )
    return dx, dk.astype(kernel.dtype)


convolve.defvjp(_keep_operands, _gradients)
