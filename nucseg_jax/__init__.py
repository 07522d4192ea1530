"""Nuclei segmentation of H&E slides in JAX/Flax; the stages of the road are this package's modules."""

from importlib.metadata import version

__version__ = version("nucseg_jax")
