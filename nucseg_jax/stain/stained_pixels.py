"""Which pixels are stained tissue, by their colour: not glass, not ink, not black."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nucseg_jax.stain.lab import lightness
from nucseg_jax.stain.separation import concentrations, mixture

REFERENCE = ((0.5626, 0.7201, 0.4062), (0.2159, 0.8012, 0.5581))
"""Stain vectors of hematoxylin and eosin as Macenko et al. (ISBI 2009) measured them: optical density in R,
G, B. The search for an image's own begins here, and what it finds is held against them."""

FEWEST_PIXELS = 1000
"""Stained pixels below which nothing is said of an image's stains."""

GLASS = 79.8
"""CIE L* from which a pixel is glass: staintools' 0.8 of the 8-bit L, which it rounds."""

_PURE_EOSIN = (0.07, 0.99, 0.11)  # Ruifrok and Johnston 2001: a scanner that sees little blue absorbed
# From the nearest mixture of hematoxylin and eosin. Of MoNuSeg's tissue 0.02 % of the dye is farther off.
_FARTHEST_DEGREES = 20.0
_DARKEST = 40.0  # grey level; what is darker in all three colours is ink, a fold or a hole (MoNuSeg: 0.2 %)


class Pixels(NamedTuple):
    """What each pixel shows: bool [N] each. What is neither is ink, a fold, pigment or padding."""

    stained: jax.Array
    glass: jax.Array


def classify(planes: jax.Array, density: jax.Array, count: jax.Array) -> Pixels:
    """Tell tissue stained with hematoxylin and eosin from glass and from the rest, by colour.

    Args:
      planes: grey levels [3, N] in 0 … 255.
      density: their optical density.
      count: the first so many are pixels, the others padding.
    """
    real = jnp.arange(planes.shape[1]) < count
    glass = lightness(planes) >= GLASS
    squared_length = (density**2).sum(axis=0)
    nearest = jnp.stack([_squared_projection(density, eosin) for eosin in (REFERENCE[1], _PURE_EOSIN)])
    like_dye = nearest.max(axis=0) >= cosine(_FARTHEST_DEGREES) ** 2 * squared_length
    stained = ~glass & like_dye & (planes.max(axis=0) >= _DARKEST)
    return jax.lax.stop_gradient(Pixels(stained & real, glass & real))


def unit_rows(matrix: tuple[tuple[float, ...], ...], dtype: jnp.dtype) -> jax.Array:
    """Stain vectors as an array, each of length 1."""
    array = jnp.array(matrix, dtype)
    return array / jnp.sqrt((array**2).sum(axis=1, keepdims=True))


def cosine(degrees: float) -> float:
    return math.cos(math.radians(degrees))


def _squared_projection(density: jax.Array, eosin: tuple[float, ...]) -> jax.Array:
    """Squared length [N] of the part of each density that hematoxylin and this eosin can make."""
    matrix = unit_rows((REFERENCE[0], eosin), density.dtype)
    return (mixture(concentrations(density, matrix, 0.0), matrix) ** 2).sum(axis=0)
