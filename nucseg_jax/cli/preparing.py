"""Where the work of `nucseg prepare` is done: `data_prep`, which the verbs import when they run."""

import importlib
import importlib.util
import sys
from typing import Any


def module_of(name: str) -> Any:
    """A module of `data_prep`: the one that is imported already, the wheel's, or the checkout's.

    Never a second copy: TFDS knows each dataset's class by its name, once.
    """
    loaded = "data_prep" in sys.modules
    package = "data_prep" if loaded or not _is_in_wheel() else "nucseg_jax.data_prep"
    return importlib.import_module(f"{package}.{name}")


def _is_in_wheel() -> bool:
    return importlib.util.find_spec("nucseg_jax.data_prep") is not None
