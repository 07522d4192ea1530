"""Stain normalisation: images of H&E tissue in the colours of a target image.

``VahadaneNormalizer().fit(target).transform(images)``; or Macenko, Reinhard, Identity. Everything is pure
JAX underneath (`normalization`) and runs on CPU, GPU and TPU, equal to a grey level. Command: ``nucseg
stain --help``.
"""

from nucseg_jax.stain.normalization import LabStatistics, Normalized, Stains
from nucseg_jax.stain.normalizers import (
    NORMALIZERS,
    Estimate,
    IdentityNormalizer,
    MacenkoNormalizer,
    ReinhardNormalizer,
    StainNormalizer,
    VahadaneNormalizer,
    from_dict,
)

__all__ = [
    "NORMALIZERS",
    "Estimate",
    "IdentityNormalizer",
    "LabStatistics",
    "MacenkoNormalizer",
    "Normalized",
    "ReinhardNormalizer",
    "StainNormalizer",
    "Stains",
    "VahadaneNormalizer",
    "from_dict",
]
