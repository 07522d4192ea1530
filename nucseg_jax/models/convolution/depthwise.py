"""Depthwise convolutions on CPUs: each channel has a kernel of its own.

XLA's CPU backend runs convolutions of many groups far below the processor's speed. Here they are sums of
shifted images, each times a tap of the kernel. Values differ by float rounding only.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from nucseg_jax.devices import sum_by_device
from nucseg_jax.models.convolution.precision import sum_dtype, widened
from nucseg_jax.models.convolution.windows import Window, tap_views

ROWS = 16
"""That the kernel's gradient adds up at once: 16 took half of the time of 8, and no more than 32 (a Xeon)."""


def forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    """[B,H,W,C] → [B,h,w,C], summed in at least float32; the kernel [k,k,1,C] has the images' dtype."""
    size, wide = kernel.shape[0], sum_dtype(x)
    views = tap_views(x, size=size, window=window)
    taps = kernel.reshape(size * size, 1, 1, 1, -1)
    total = views[0].astype(wide) * taps[0].astype(wide)
    for view, tap in zip(views[1:], taps[1:], strict=True):
        total += view.astype(wide) * tap.astype(wide)
    return total.astype(x.dtype)


def image_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array, *, window: Window) -> jax.Array:
    """The gradient of the images: `dy` [B,h,w,C] → [B,H,W,C]."""
    size, (before, after) = kernel.shape[0], window.padding
    if window.stride == 1:
        around = Window(padding=(size - 1 - before, size - 1 - after))
        return forward(dy, kernel[::-1, ::-1], window=around)
    return _strided_image_gradient(x, kernel, dy, window)


def _strided_image_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array, window: Window) -> jax.Array:
    """With stride s: s² images of 1/s of the size, interleaved; each sums the taps that meet its pixels."""
    size, stride, (before, after) = kernel.shape[0], window.stride, window.padding
    wide, most = sum_dtype(x), -(-size // stride) - 1
    height, width = (-(-(side + before + after) // stride) for side in x.shape[1:3])
    ends = ((most, height - dy.shape[1]), (most, width - dy.shape[2]))
    around = jnp.pad(dy, ((0, 0), *ends, (0, 0))).astype(wide)
    taps = kernel.reshape(size, size, 1, 1, 1, -1).astype(wide)
    images = []
    for row in range(stride):
        for column in range(stride):
            total = jnp.zeros((x.shape[0], height, width, x.shape[3]), wide)
            for i in range(len(range(row, size, stride))):
                for j in range(len(range(column, size, stride))):
                    moved = around[:, most - i : most - i + height, most - j : most - j + width]
                    total += moved * taps[row + stride * i, column + stride * j]
            images.append(total)
    grid = jnp.stack(images, 1).reshape(x.shape[0], stride, stride, height, width, -1)
    grid = grid.transpose(0, 3, 1, 4, 2, 5).reshape(x.shape[0], height * stride, width * stride, -1)
    return grid[:, before : before + x.shape[1], before : before + x.shape[2]].astype(x.dtype)


def kernel_gradient(x: jax.Array, dy: jax.Array, *, size: int, window: Window) -> jax.Array:
    """The kernel's gradient [k,k,1,C], in at least float32.

    A loop over blocks of rows adds up products by column; a sum over the columns follows. XLA makes one fast
    pass of each tap's products of about ROWS rows. Its sums of a product over all pixels take far longer.
    Each device adds up its own images.
    """
    return sum_by_device(partial(_by_columns, size=size, window=window), *widened(x, dy))


def _by_columns(x: jax.Array, dy: jax.Array, *, size: int, window: Window) -> jax.Array:
    batch, height, width, channels = dy.shape
    stride, last = window.stride, (width - 1) * window.stride + 1
    blocks = -(-height // ROWS)
    rows = -(-height // blocks)
    images = math.gcd(batch, max(1, ROWS // rows))  # low images together
    missing = blocks * rows - height  # rows of zeros, which add nothing
    dy = jnp.pad(dy, ((0, 0), (0, missing), (0, 0), (0, 0)))
    before, after = window.padding
    x = jnp.pad(x, ((0, 0), (before, after + missing * stride), window.padding, (0, 0)))
    taps = [(u, v) for u in range(size) for v in range(size)]

    def add_block(i: jax.Array, totals: list[jax.Array]) -> list[jax.Array]:
        image, row = i // blocks * images, i % blocks * rows
        slopes = jax.lax.dynamic_slice(dy, (image, row, 0, 0), (images, rows, width, channels))
        met = (images, (rows - 1) * stride + size, x.shape[2], channels)
        pixels = jax.lax.dynamic_slice(x, (image, row * stride, 0, 0), met)
        return [
            sum(
                (
                    pixels[n, u + r * stride, v : v + last : stride] * slopes[n, r]
                    for n in range(images)
                    for r in range(rows)
                ),
                start=total,
            )
            for (u, v), total in zip(taps, totals, strict=True)
        ]

    zeros = [jnp.zeros((width, channels), dy.dtype) for _ in taps]
    totals = jax.lax.fori_loop(0, batch // images * blocks, add_block, zeros)
    return jnp.stack([total.sum(0) for total in totals]).reshape(size, size, 1, channels)
