"""Nuclei segmentation of H&E slides in JAX/Flax; the stages of the road are this package's modules."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucseg_jax.inference.segmenter import Segmenter as Segmenter

try:
    __version__ = version("nucseg_jax")
except PackageNotFoundError:  # a copy of the source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """`Segmenter`, which needs JAX, is imported when it is asked for."""
    if name == "Segmenter":
        from nucseg_jax.inference.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
