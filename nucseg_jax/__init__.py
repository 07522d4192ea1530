"""Nuclei segmentation of H&E slides in JAX/Flax; the stages of the road are this package's modules."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("nucseg_jax")
except PackageNotFoundError:  # a copy of the source tree that was never installed
    __version__ = "0+unknown"
