"""Convolutions whose gradients are fast on every backend.

On GPUs and TPUs these are XLA's own. XLA's CPU backend computes three things at a small part of the
processor's rate: the gradient of a kernel, which it takes as a convolution with a kernel of the image's size;
1×1 convolutions; and convolutions of small images with many channels. There, and only there, they are written
as matrix products. Values differ by float rounding only.

Images come in the dtype that the network computes in, kernels in that of the parameters. A kernel is rounded
to the images' dtype for the products. Its gradient is summed in at least float32 and is not rounded before it
has the kernel's dtype. So the devices, too, add up their parts of it in float32.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

SMALL_IMAGE = 2048
"""Pixels of a batch up to which the patches of a whole batch are laid out for one matrix product."""

BLOCK_PIXELS, BLOCK_VALUES = 1024, 2**20
"""Least pixels, and values, of a larger batch that are laid out at once: enough to be worth a product's
overhead, few enough to stay in a core's cache."""

_NHWC = ("NHWC", "HWIO", "NHWC")


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
    return lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_transposed_by_phases, zeros_before=zeros_before),
        default=partial(_xla_transposed, zeros_before=zeros_before),
    )


def _transposed_gradients(
    zeros_before: int, operands: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    return lax.platform_dependent(
        *operands,
        dy,
        cpu=partial(_transposed_gradients_on_cpu, zeros_before=zeros_before),
        default=partial(_xla_transposed_gradients, zeros_before=zeros_before),
    )


convolve_transposed.defvjp(
    lambda x, kernel, zeros_before: (convolve_transposed(x, kernel, zeros_before), (x, kernel)),
    _transposed_gradients,
)


def _transposed_gradients_on_cpu(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, zeros_before: int
) -> tuple[jax.Array, jax.Array]:
    return jax.vjp(partial(_transposed_by_phases, zeros_before=zeros_before), x, kernel)[1](dy)


def _xla_transposed(x: jax.Array, kernel: jax.Array, *, zeros_before: int) -> jax.Array:
    padding = ((zeros_before, 3 - zeros_before),) * 2
    return lax.conv_transpose(x, kernel.astype(x.dtype), (2, 2), padding, dimension_numbers=_NHWC)


def _xla_transposed_gradients(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, zeros_before: int
) -> tuple[jax.Array, jax.Array]:
    forward = partial(_xla_transposed, zeros_before=zeros_before)
    (dx,) = jax.linear_transpose(lambda x: forward(x, kernel), x)(dy)
    x, dy = _widened(x, dy)  # as in _xla_kernel_gradient
    shape = jax.ShapeDtypeStruct(kernel.shape, x.dtype)
    (dk,) = jax.linear_transpose(lambda kernel: forward(x, kernel), shape)(dy)
    return dx, dk.astype(kernel.dtype)


def _transposed_by_phases(x: jax.Array, kernel: jax.Array, *, zeros_before: int) -> jax.Array:
    """The four output pixels above one of `x` as channels of one convolution, which meets no inserted zero.

    Of the 16 taps of its 2×2 windows, 9 are the kernel's and 7 are zeros.
    """
    # [p,u,i]: whether tap i of output pixel 2·a + p meets pixel a - before + u.
    before = zeros_before - 1
    taps = np.zeros((2, 2, 3), kernel.dtype)
    for p in (0, 1):
        for i in range(3):
            pixel, rest = divmod(p + i - zeros_before, 2)
            if rest == 0:
                taps[p, pixel + before, i] = 1
    phases = jnp.einsum("pui,qvj,ijcd->uvcpqd", taps, taps, kernel)
    y = convolve(x, phases.reshape(2, 2, kernel.shape[2], -1), Window(padding=(before, 1 - before)))
    batch, height, width, _ = x.shape
    y = y.reshape(batch, height, width, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, -1)


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
        cpu=partial(_forward_on_cpu, window=window),
        default=partial(_xla_forward, window=window),
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
        cpu=partial(_image_gradient_on_cpu, window=window),
        default=partial(_xla_image_gradient, window=window),
    )
    size = kernel.shape[0]
    dk = lax.platform_dependent(
        x,
        dy,
        cpu=partial(_kernel_gradient_on_cpu, size=size, window=window),
        default=partial(_xla_kernel_gradient, size=size, window=window),
    )
    return dx, dk.astype(kernel.dtype)


convolve.defvjp(_keep_operands, _gradients)


def _xla_forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (window.stride,) * 2,
        (window.padding,) * 2,
        rhs_dilation=(window.dilation,) * 2,
        dimension_numbers=_NHWC,
    )


def _xla_image_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array, *, window: Window) -> jax.Array:
    forward = partial(_xla_forward, kernel=kernel, window=window)
    return jax.linear_transpose(forward, x)(dy)[0]


def _xla_kernel_gradient(x: jax.Array, dy: jax.Array, *, size: int, window: Window) -> jax.Array:
    """The kernel's gradient, in at least float32.

    Both operands are widened first. A convolution of bfloat16 operands with a float32 result would be no
    faster on GPUs: XLA widens the operands of such convolutions there (its pass `FloatNormalization`).
    Products of widened bfloat16 values are exact in TF32.
    """
    x, dy = _widened(x, dy)
    shape = jax.ShapeDtypeStruct((size, size, x.shape[-1], dy.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda kernel: _xla_forward(x, kernel, window=window), shape)(dy)[0]


def _forward_on_cpu(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    size = kernel.shape[0]
    if not _as_product(x, size):
        return _xla_forward(x, kernel, window=window)
    patches = _patches(x, size, window)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]), ((3,), (0,)), x.dtype)


def _as_product(x: jax.Array, size: int) -> bool:
    """Whether the products over all patches pay off: no patches to make, or little to make them of."""
    return size == 1 or (_pixels(x) <= SMALL_IMAGE // 2 and x.shape[-1] >= 128)


def _image_gradient_on_cpu(x: jax.Array, kernel: jax.Array, dy: jax.Array, *, window: Window) -> jax.Array:
    size = kernel.shape[0]
    if size > 1 and (_pixels(dy) > SMALL_IMAGE or x.shape[-1] < 128):
        return _xla_image_gradient(x, kernel, dy, window=window)
    # What each output pixel sends to each tap, added up where the taps meet. XLA transposes the second factor
    # before the product: the pixels and not the kernel, where that is much larger.
    channels_first = kernel.size > 16 * dy.size
    if channels_first:
        parts = _product(kernel, dy, ((3,), (3,)), x.dtype)  # [k,k,I,B,h,w]
        taps = [parts[i, j] for i in range(size) for j in range(size)]
    else:
        parts = _product(dy, kernel, ((3,), (3,)), x.dtype)  # [B,h,w,k,k,I]
        taps = [parts[:, :, :, i, j] for i in range(size) for j in range(size)]
    shape = (x.shape[-1], *x.shape[:3]) if channels_first else x.shape
    views = partial(_tap_views, size=size, window=window, height_axis=2 if channels_first else 1)
    (total,) = jax.linear_transpose(views, jax.ShapeDtypeStruct(shape, x.dtype))(taps)
    return jnp.moveaxis(total, 0, -1) if channels_first else total


def _kernel_gradient_on_cpu(x: jax.Array, dy: jax.Array, *, size: int, window: Window) -> jax.Array:
    """The kernel's gradient, in at least float32."""
    if size > 1 and window.stride == 1:
        return _kernel_gradient_by_blocks(x, dy, size=size, window=window)
    patches = _patches(x, size, window)
    gradient = _product(patches, dy, ((0, 1, 2), (0, 1, 2)), _wide(x))
    return gradient.reshape(size, size, x.shape[-1], dy.shape[-1])


def _kernel_gradient_by_blocks(x: jax.Array, dy: jax.Array, *, size: int, window: Window) -> jax.Array:
    """The kernel's gradient at stride 1, summed over blocks of rows.

    The tap (i, j) of the gradient is the sum of x[y + i, x + j] · dy[y, x], or, counted from the other side,
    of x[y', x'] · dy[y' - i, x' - j]. The shifts may be laid out as channels on either side, and those along
    the height on the other side than those along the width; one product a block then has all taps. The way
    with the least to lay out is taken: all shifts on the side with few channels, or one axis a side where
    both have many.
    """
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
    wanted = max(BLOCK_PIXELS, BLOCK_VALUES / values_a_pixel[layout]) / (x.shape[0] * x.shape[2])
    rows = _block_rows(height, min(x.shape[1], dy.shape[1]), reach, wanted)
    wide = _wide(x)

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
        return _product(
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


def _patches(x: jax.Array, size: int, window: Window) -> jax.Array:
    """[B,H,W,C] → [B,h,w,size · size · C]: what the kernel sees at each place, in the order of its taps."""
    return jnp.concatenate(_tap_views(x, size=size, window=window), axis=-1)


def _tap_views(x: jax.Array, *, size: int, window: Window, height_axis: int = 1) -> list[jax.Array]:
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


def _product(
    a: jax.Array, b: jax.Array, contract: tuple[tuple[int, ...], tuple[int, ...]], dtype: jnp.dtype
) -> jax.Array:
    """The sum of a · b over pairs of axes, in at least float32, as `dtype`."""
    return lax.dot_general(a, b, (contract, ((), ())), preferred_element_type=_wide(a)).astype(dtype)


def _wide(x: jax.Array) -> jnp.dtype:
    """The dtype in which products of values like those of `x` are summed: at least float32."""
    return jnp.promote_types(x.dtype, jnp.float32)


def _widened(*arrays: jax.Array) -> list[jax.Array]:
    return [x.astype(_wide(x)) for x in arrays]


def _pixels(x: jax.Array) -> int:
    """Pixels of all images of [B,H,W,C]."""
    return math.prod(x.shape[:3])
