"""Nuclei segmentation of H&E slides in JAX/Flax.

`Segmenter` finds nuclei, `open_slide` opens what it looks at, `read_regions` reads which parts of it count,
`sample` is an image to try them on, `create_model` makes networks. `metrics`, `stain` and `export` can be
used on their own. These names are the public interface; all else may change in any release.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucseg_jax import export as export
    from nucseg_jax import metrics as metrics
    from nucseg_jax import stain as stain
    from nucseg_jax.errors import UserError as UserError
    from nucseg_jax.inference.segmenter import Segmenter as Segmenter
    from nucseg_jax.models import create_model as create_model
    from nucseg_jax.pretrained import sample as sample
    from nucseg_jax.regions import read_regions as read_regions
    from nucseg_jax.slides import open_slide as open_slide

try:
    __version__ = version("nucseg_jax")
except PackageNotFoundError:  # a copy of the source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Segmenter",
    "UserError",
    "__version__",
    "create_model",
    "export",
    "metrics",
    "open_slide",
    "read_regions",
    "sample",
    "stain",
]

_HOMES = {
    "Segmenter": "nucseg_jax.inference.segmenter",
    "UserError": "nucseg_jax.errors",
    "create_model": "nucseg_jax.models",
    "open_slide": "nucseg_jax.slides",
    "read_regions": "nucseg_jax.regions",
    "sample": "nucseg_jax.pretrained",
}
_MODULES = ("export", "metrics", "stain")


def __getattr__(name: str) -> Any:
    """What needs JAX, which takes a second to import, is imported when it is asked for."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"nucseg_jax.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
