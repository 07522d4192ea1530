"""Probabilities → nuclei: `split` applies the method that `config.instances` names. Imports no JAX.

`methods` has all three; nuclei that touch are parted there.
"""

from nucseg_jax.instances.methods import by_boundary, components, split, watershed
from nucseg_jax.instances.nucleus_map import NucleusMap
from nucseg_jax.instances.parameters import METHODS, NEEDS_BOUNDARY, area_px, check, parameters_px

__all__ = [
    "METHODS",
    "NEEDS_BOUNDARY",
    "NucleusMap",
    "area_px",
    "by_boundary",
    "check",
    "components",
    "parameters_px",
    "split",
    "watershed",
]
