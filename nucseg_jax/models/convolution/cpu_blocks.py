"""The gradient of a kernel on a CPU, as one matrix product for each block of an image's rows."""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from nucseg_jax.devices import sum_by_device
from nucseg_jax.models.convolution.precision import product, sum_dtype
from nucseg_jax.models.convolution.windows import Window


@dataclass(frozen=True)
class BlockSize:
    """How much of a batch one matrix product takes.

    A block has about as many rows as it takes to have so many pixels and so many values. The defaults are
    enough to be worth a product's overhead, and few enough to stay in a core's cache.

    Attributes:
      pixels: the least of a block.
      values: the least that are laid out for it, all shifts counted.
    """

    pixels: int = 1024
    values: int = 2**20


USUAL_BLOCKS = BlockSize()


def kernel_gradient_by_blocks(
    x: jax.Array, dy: jax.Array, *, size: int, window: Window, blocks: BlockSize = USUAL_BLOCKS
) -> jax.Array:
    """The kernel's gradient at stride 1, summed over blocks of rows; each device sums those of its images.

    The tap (i, j) of the gradient is the sum of x[y + i, x + j] · dy[y, x], or, counted from the other side,
    of x[y', x'] · dy[y' - i, x' - j]. The shifts may be laid out as channels on either side, and those along
    the height on the other side than those along the width; one product a block then has all taps. The way
    with the least to lay out is taken: all shifts on the side with few channels, or one axis a side where
    both have many.
    """
    return sum_by_device(partial(_by_blocks, size=size, window=window, blocks=blocks), x, dy)


def _by_blocks(x: jax.Array, dy: jax.Array, *, size: int, window: Window, blocks: BlockSize) -> jax.Array:
    channels, out_channels = x.shape[-1], dy.shape[-1]
    values_a_pixel = {
        (True, True): size * size * channels + out_channels,
        (False, False): channels + size * size * out_channels,
        (False, True): size * (channels + out_channels),
    }
    layout = min(values_a_pixel, key=lambda key: values_a_pixel[key])
    rows_on_x, columns_on_x = layout
    taps = window.taps(size)
    (before, after), reach = window.padding, taps[-1]
    overhang = max(before, after, reach - before, reach - after)
    # Blocks of rows of the side that is not shifted along the height.
    height = dy.shape[1] if rows_on_x else x.shape[1]
    wanted = max(blocks.pixels, blocks.values / values_a_pixel[layout]) / (x.shape[0] * x.shape[2])
    rows = _block_rows(height, min(x.shape[1], dy.shape[1]), reach, wanted)
    wide = sum_dtype(x)

    def block_gradient(top: jax.Array | int) -> jax.Array:
        """The block of rows that begins at `top`: [shifts on x · I, shifts on dy · O]."""
        if rows_on_x:
            x_rows, x_tops = _rows(x, top - before, rows + reach, overhang), taps
            dy_rows, dy_tops = _rows(dy, top, rows, 0), [0]
        else:
            x_rows, x_tops = _rows(x, top, rows, 0), [0]
            dy_rows, dy_tops = _rows(dy, top + before - reach, rows + reach, overhang), taps[::-1]
        if columns_on_x:
            width = dy.shape[2]
            x_rows, x_lefts, dy_lefts = _pad_columns(x_rows, before, after), taps, [0]
        else:
            width = x.shape[2]
            dy_rows, x_lefts, dy_lefts = _pad_columns(dy_rows, reach - before, reach - after), [0], taps[::-1]
        return product(
            _shifts(x_rows, x_tops, x_lefts, rows, width),
            _shifts(dy_rows, dy_tops, dy_lefts, rows, width),
            ((0, 1, 2), (0, 1, 2)),
            wide,
        )

    if rows == height:
        total = block_gradient(0)
    else:
        shape = jax.eval_shape(block_gradient, 0)
        total, _ = lax.scan(
            lambda total, block: (total + block_gradient(block * rows), None),
            jnp.zeros(shape.shape, wide),
            jnp.arange(height // rows),
        )
    x_taps = [size if on_x else 1 for on_x in layout]
    dy_taps = [1 if on_x else size for on_x in layout]
    gradient = total.reshape(*x_taps, channels, *dy_taps, out_channels).transpose(0, 3, 1, 4, 2, 5)
    return gradient.reshape(size, size, channels, out_channels)


def _shifts(x: jax.Array, rows: list[int], columns: list[int], height: int, width: int) -> jax.Array:
    """[B,H,W,C] → [B,height,width,shifts · C]: the windows that begin at each of `rows` × `columns`."""
    views = [x[:, i : i + height, j : j + width] for i in rows for j in columns]
    return views[0] if len(views) == 1 else jnp.concatenate(views, axis=-1)


def _pad_columns(x: jax.Array, before: int, after: int) -> jax.Array:
    return jnp.pad(x, ((0, 0), (0, 0), (before, after), (0, 0)))


def _block_rows(height: int, smaller: int, reach: int, wanted: float) -> int:
    """The divisor of `height` that is nearest to `wanted`, by their ratio.

    A block and the `reach` of its shifts fit into the `smaller` of both images, unless it is all of `height`.
    """
    divisors = [r for r in range(1, height + 1) if height % r == 0 and (r + reach <= smaller or r == height)]
    return min(divisors, key=lambda r: abs(math.log(r / wanted)))


def _rows(x: jax.Array, start: jax.Array | int, count: int, overhang: int) -> jax.Array:
    """Rows `start` ... `start + count` - 1 of [B,H,W,C].

    At most `overhang` of them lie above or below the image and are zeros.
    """
    if isinstance(start, int):
        outside = max(0, -start), max(0, start + count - x.shape[1])
        inside = x[:, start + outside[0] : start + count - outside[1]]
        return jnp.pad(inside, ((0, 0), outside, (0, 0), (0, 0)))
    # Cut where the image has all rows, and moved from there: to pad the whole image would cost far more.
    first = jnp.clip(start, 0, x.shape[1] - count)
    rows = lax.dynamic_slice_in_dim(x, first, count, 1)
    if not overhang:
        return rows
    spread = jnp.pad(rows, ((0, 0), (overhang, overhang), (0, 0), (0, 0)))
    return lax.dynamic_slice_in_dim(spread, start - first + overhang, count, 1)
