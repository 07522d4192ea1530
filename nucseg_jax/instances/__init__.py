"""Probabilities → nuclei: `split` applies the method that `config.instances` names. Imports no JAX.

`methods` has four of the five, and `polar` the other; nuclei that touch are parted there.
"""

from nucseg_jax.instances.methods import by_boundary, by_depth, components, cut, split, watershed
from nucseg_jax.instances.nucleus_map import NucleusMap
from nucseg_jax.instances.parameters import (
    METHODS,
    NEEDS_BOUNDARY,
    PLAUSIBLE_AREA_UM2,
    WITH_BOUNDARY,
    area_px,
    check,
    max_area_px,
    parameters_px,
)
from nucseg_jax.instances.polar import by_polar, refine

__all__ = [
    "METHODS",
    "NEEDS_BOUNDARY",
    "PLAUSIBLE_AREA_UM2",
    "WITH_BOUNDARY",
    "NucleusMap",
    "area_px",
    "by_boundary",
    "by_depth",
    "by_polar",
    "check",
    "components",
    "cut",
    "max_area_px",
    "parameters_px",
    "refine",
    "split",
    "watershed",
]
