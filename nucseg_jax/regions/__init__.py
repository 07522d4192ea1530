"""Regions of interest: named parts of a slide, as pathologists draw them in QuPath."""

from nucseg_jax.regions.folder import files_in
from nucseg_jax.regions.reading import read_regions
from nucseg_jax.regions.regions import Regions

__all__ = ["Regions", "files_in", "read_regions"]
