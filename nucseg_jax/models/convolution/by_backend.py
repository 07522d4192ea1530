"""The convolutions, each backend's own way."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
from jax import lax

from nucseg_jax.devices import is_for_cpu
from nucseg_jax.models.convolution import cpu, depthwise, xla
from nucseg_jax.models.convolution.windows import Window

Convolution = Callable[[jax.Array, jax.Array, Window], jax.Array]
"""(images [B,H,W,I], kernel, window) → [B,h,w,O]."""


class Way(NamedTuple):
    """How a convolution and its gradients are computed.

    Attributes:
      forward: (images, kernel in their dtype, *, window) → [B,h,w,O].
      image_gradient: (images, kernel in their dtype, dy, *, window) → [B,H,W,I].
      kernel_gradient: (images, dy, *, size, window) → the kernel's, in at least float32.
    """

    forward: Callable[..., jax.Array]
    image_gradient: Callable[..., jax.Array]
    kernel_gradient: Callable[..., jax.Array]


def convolve(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution (cross-correlation) of images with a square kernel.

    Args:
      x: [B,H,W,I].
      kernel: [k,k,I,O], as the parameter is; rounded to the dtype of `x` here.
      window: stride, dilation and padding, the same along both axes.

    Returns:
      [B,h,w,O] in the dtype of `x`.
    """
    return _convolve(x, kernel, window)


def convolve_depthwise(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
    """The convolution (cross-correlation) of each channel with its own square kernel.

    Args:
      x: [B,H,W,C].
      kernel: [k,k,1,C], as the parameter is; rounded to the dtype of `x` here.
      window: stride and padding, which is less than k; no dilation.

    Returns:
      [B,h,w,C] in the dtype of `x`.
    """
    return _convolve_depthwise(x, kernel, window)


def settle(x: jax.Array) -> jax.Array:
    """The array itself, computed once.

    XLA's CPU backend fuses cheap operations into all that use them, however many they are: the sum at the end
    of a residual block would be computed again, with those of all blocks before it, in every later block.
    """
    return lax.optimization_barrier(x) if is_for_cpu() else x


def _by_backend(on_cpu: Way, elsewhere: Way) -> Convolution:
    """A convolution with gradients of its own."""

    @partial(jax.custom_vjp, nondiff_argnums=(2,))
    def convolution(x: jax.Array, kernel: jax.Array, window: Window) -> jax.Array:
        return keep_operands(x, kernel, window)[0]

    def keep_operands(
        x: jax.Array, kernel: jax.Array, window: Window
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        x = settle(x)
        return way().forward(x, kernel.astype(x.dtype), window=window), (x, kernel)

    def gradients(
        window: Window, operands: tuple[jax.Array, jax.Array], dy: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        x, kernel = operands
        dy = settle(dy)
        dx = way().image_gradient(x, kernel.astype(x.dtype), dy, window=window)
        dk = way().kernel_gradient(x, dy, size=kernel.shape[0], window=window)
        return dx, dk.astype(kernel.dtype)

    def way() -> Way:
        return on_cpu if is_for_cpu() else elsewhere

    convolution.defvjp(keep_operands, gradients)
    # Convolutions of equal shape are traced, and turned into XLA's language, once.
    return jax.jit(convolution, static_argnums=2)


_convolve = _by_backend(
    Way(cpu.forward, cpu.image_gradient, cpu.kernel_gradient),
    Way(xla.forward, xla.image_gradient, xla.kernel_gradient),
)
_convolve_depthwise = _by_backend(
    Way(depthwise.forward, depthwise.image_gradient, depthwise.kernel_gradient),
    Way(xla.forward, xla.image_gradient, xla.depthwise_kernel_gradient),
)
