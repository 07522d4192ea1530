"""Convolutions as matrix products, which are fast on CPUs."""

import math
from functools import partial

import jax
import jax.numpy as jnp

from nucseg_jax.models.convolution import xla
from nucseg_jax.models.convolution.cpu_blocks import USUAL_BLOCKS, BlockSize, kernel_gradient_by_blocks
from nucseg_jax.models.convolution.precision import product, sum_dtype
from nucseg_jax.models.convolution.windows import Window, patches_of, tap_views

SMALL_IMAGE = 2048
"""Pixels of a batch up to which the patches of a whole batch are laid out for one matrix product."""


def forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    """[B,H,W,I] → [B,h,w,O]; the kernel has the images' dtype."""
    size = kernel.shape[0]
    if not _as_product(x, size):
        return xla.forward(x, kernel, window=window)
    patches = patches_of(x, size, window)
    return product(patches, kernel.reshape(-1, kernel.shape[-1]), ((3,), (0,)), x.dtype)


def _as_product(x: jax.Array, size: int) -> bool:
    """Whether the products over all patches pay off: no patches to make, or little to make them of."""
    return size == 1 or (_pixels(x) <= SMALL_IMAGE // 2 and x.shape[-1] >= 128)


def image_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array, *, window: Window) -> jax.Array:
    """The gradient of the images: `dy` [B,h,w,O] → [B,H,W,I]."""
    size = kernel.shape[0]
    if size > 1 and (_pixels(dy) > SMALL_IMAGE or x.shape[-1] < 128):
        return xla.image_gradient(x, kernel, dy, window=window)
    # What each output pixel sends to each tap, added up where the taps meet. XLA transposes the second factor
    # before the product: the pixels and not the kernel, where that is much larger.
    channels_first = kernel.size > 16 * dy.size
    if channels_first:
        parts = product(kernel, dy, ((3,), (3,)), x.dtype)  # [k,k,I,B,h,w]
        taps = [parts[i, j] for i in range(size) for j in range(size)]
    else:
        parts = product(dy, kernel, ((3,), (3,)), x.dtype)  # [B,h,w,k,k,I]
        taps = [parts[:, :, :, i, j] for i in range(size) for j in range(size)]
    shape = (x.shape[-1], *x.shape[:3]) if channels_first else x.shape
    views = partial(tap_views, size=size, window=window, height_axis=2 if channels_first else 1)
    (total,) = jax.linear_transpose(views, jax.ShapeDtypeStruct(shape, x.dtype))(taps)
    return jnp.moveaxis(total, 0, -1) if channels_first else total


def kernel_gradient(
    x: jax.Array, dy: jax.Array, *, size: int, window: Window, blocks: BlockSize = USUAL_BLOCKS
) -> jax.Array:
    """The kernel's gradient, in at least float32; at stride 1 it is summed over blocks of rows."""
    if size > 1 and window.stride == 1:
        return kernel_gradient_by_blocks(x, dy, size=size, window=window, blocks=blocks)
    patches = patches_of(x, size, window)
    gradient = product(patches, dy, ((0, 1, 2), (0, 1, 2)), sum_dtype(x))
    return gradient.reshape(size, size, x.shape[-1], dy.shape[-1])


def _pixels(x: jax.Array) -> int:
    """Pixels of all images of [B,H,W,C]."""
    return math.prod(x.shape[:3])
