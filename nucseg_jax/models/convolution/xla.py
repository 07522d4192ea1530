"""XLA's own convolutions and their gradients, which are fast on GPUs and TPUs."""

from functools import partial

import jax
from jax import lax

from nucseg_jax.models.convolution.precision import widened
from nucseg_jax.models.convolution.windows import NHWC, Window


def forward(x: jax.Array, kernel: jax.Array, *, window: Window) -> jax.Array:
    """[B,H,W,I] → [B,h,w,O]; the kernel has the images' dtype.

    A kernel [k,k,I/n,O] of fewer channels than the images makes n groups of them.
    """
    return lax.conv_general_dilated(
        x,
        kernel,
        (window.stride,) * 2,
        (window.padding,) * 2,
        rhs_dilation=(window.dilation,) * 2,
        dimension_numbers=NHWC,
        feature_group_count=x.shape[-1] // kernel.shape[2],
    )


def image_gradient(x: jax.Array, kernel: jax.Array, dy: jax.Array, *, window: Window) -> jax.Array:
    """The gradient of the images: `dy` [B,h,w,O] → [B,H,W,I]."""
    of_images = partial(forward, kernel=kernel, window=window)
    return jax.linear_transpose(of_images, x)(dy)[0]


def kernel_gradient(x: jax.Array, dy: jax.Array, *, size: int, window: Window) -> jax.Array:
    """The kernel's gradient, in at least float32.

    Both operands are widened first. A convolution of bfloat16 operands with a float32 result would be no
    faster on GPUs: XLA widens the operands of such convolutions there (its pass `FloatNormalization`).
    Products of widened bfloat16 values are exact in TF32.
    """
    return _kernel_gradient(x, dy, (size, size, x.shape[-1], dy.shape[-1]), window)


def depthwise_kernel_gradient(x: jax.Array, dy: jax.Array, *, size: int, window: Window) -> jax.Array:
    """The same where each channel has a kernel of its own, [k,k,1,C]."""
    return _kernel_gradient(x, dy, (size, size, 1, x.shape[-1]), window)


def _kernel_gradient(
    x: jax.Array, dy: jax.Array, shape: tuple[int, int, int, int], window: Window
) -> jax.Array:
    x, dy = widened(x, dy)
    kernel = jax.ShapeDtypeStruct(shape, x.dtype)
    return jax.linear_transpose(lambda kernel: forward(x, kernel, window=window), kernel)(dy)[0]


def transposed(x: jax.Array, kernel: jax.Array, *, zeros_before: int) -> jax.Array:
    """[B,h,w,I] → [B,2h,2w,O]; see `convolve_transposed`."""
    padding = ((zeros_before, 3 - zeros_before),) * 2
    return lax.conv_transpose(x, kernel.astype(x.dtype), (2, 2), padding, dimension_numbers=NHWC)


def transposed_gradients(
    x: jax.Array, kernel: jax.Array, dy: jax.Array, *, zeros_before: int
) -> tuple[jax.Array, jax.Array]:
    """The gradients of the images and of the kernel; the kernel's is summed in at least float32."""
    of_both = partial(transposed, zeros_before=zeros_before)
    (dx,) = jax.linear_transpose(lambda x: of_both(x, kernel), x)(dy)
    x, dy = widened(x, dy)  # as in kernel_gradient
    shape = jax.ShapeDtypeStruct(kernel.shape, x.dtype)
    (dk,) = jax.linear_transpose(lambda kernel: of_both(x, kernel), shape)(dy)
    return dx, dk.astype(kernel.dtype)
