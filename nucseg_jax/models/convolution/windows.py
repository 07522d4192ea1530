"""How a kernel passes over an image, and what it sees there."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

NHWC = ("NHWC", "HWIO", "NHWC")
"""The axes of images, kernels and results, as `jax.lax` names them."""


@dataclass(frozen=True)
class Window:
    """How a kernel passes over an image.

    Attributes:
      stride: step of the window, in pixels.
      dilation: distance of the kernel's taps, in pixels.
      padding: zeros (before, after) each axis.
    """

    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int] = (0, 0)

    def taps(self, size: int) -> list[int]:
        """Offsets of a kernel's `size` taps along one axis, in pixels."""
        return [i * self.dilation for i in range(size)]


def patches_of(x: jax.Array, size: int, window: Window) -> jax.Array:
    """[B,H,W,C] → [B,h,w,size · size · C]: what the kernel sees at each place, in the order of its taps."""
    return jnp.concatenate(tap_views(x, size=size, window=window), axis=-1)


def tap_views(x: jax.Array, *, size: int, window: Window, height_axis: int = 1) -> list[jax.Array]:
    """For each tap the pixels that it meets: [B,H,W,C] → [B,h,w,C] (height_axis 2: channels first)."""
    axes = (height_axis, height_axis + 1)
    padding = [(0, 0)] * 4
    for axis in axes:
        padding[axis] = window.padding
    x = jnp.pad(x, padding)
    offsets = window.taps(size)
    height, width = (x.shape[axis] - offsets[-1] for axis in axes)

    def view(i: int, j: int) -> jax.Array:
        cut = [slice(None)] * 4
        cut[axes[0]], cut[axes[1]] = slice(i, i + height, window.stride), slice(j, j + width, window.stride)
        return x[tuple(cut)]

    return [view(i, j) for i in offsets for j in offsets]
