"""Prepared datasets, and the patches that training takes from them.

`patches` chooses the patches; `feed_host`, `feed_streamed` and `feed_device` deliver them. `load` and its
like are imported when they are asked for: benchmarks take the feeds alone, on machines without Pillow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nucseg_jax.data.loading import COMMANDS, DEFAULT_DIR, dataset_name, load, open_stored, root_of

__all__ = ["COMMANDS", "DEFAULT_DIR", "dataset_name", "load", "open_stored", "root_of"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("nucseg_jax.data.loading"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
