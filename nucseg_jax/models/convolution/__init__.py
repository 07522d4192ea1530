"""Convolutions whose gradients are fast on every backend.

On GPUs and TPUs these are XLA's own. XLA's CPU backend computes three things far below the processor's
speed: the gradient of a kernel, which it takes as a convolution with a kernel of the image's size; 1×1
convolutions; and convolutions of small images with many channels. There, and only there, they are written
as matrix products. Values differ by float rounding only.

Images come in the dtype that the network computes in, kernels in that of the parameters. A kernel is
rounded to the images' dtype for the products. Its gradient is summed in at least float32 and is not rounded
before it has the kernel's dtype. So sums over devices are in float32, too.
"""

from nucseg_jax.models.convolution.by_backend import convolve, convolve_depthwise, settle
from nucseg_jax.models.convolution.phases import by_phase
from nucseg_jax.models.convolution.transposed import convolve_transposed
from nucseg_jax.models.convolution.windows import Window

__all__ = ["Window", "by_phase", "convolve", "convolve_depthwise", "convolve_transposed", "settle"]
