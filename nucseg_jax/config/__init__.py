"""Every setting with its default, the checks of their values, and how a command changes them."""

from nucseg_jax.config.checks import check_values
from nucseg_jax.config.defaults import get_config
from nucseg_jax.config.experiments import load
from nucseg_jax.config.overrides import apply, flatten, read_pairs, read_values
from nucseg_jax.config.small import VALIDATION, get_small, get_small_monuseg

__all__ = [
    "VALIDATION",
    "apply",
    "check_values",
    "flatten",
    "get_config",
    "get_small",
    "get_small_monuseg",
    "load",
    "read_pairs",
    "read_values",
]
