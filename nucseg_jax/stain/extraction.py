"""Stain vectors of an image: which colours its two dyes have.

Hematoxylin comes first, known by its colour: of the two stains it absorbs more red.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nucseg_jax.stain.optical_density import transmitted
from nucseg_jax.stain.percentile import percentile
from nucseg_jax.stain.separation import EXTRACTION_SPARSITY, concentrations
from nucseg_jax.stain.stained_pixels import FEWEST_PIXELS, REFERENCE, cosine, unit_rows

Extract = Callable[[jax.Array, jax.Array], jax.Array]
"""(density [3, N], weight [N] of 0 and 1) → stain vectors [2, 3], unit rows, in either order."""

# What a stain can look like. Over the 30 MoNuSeg images, Vahadane's vectors are up to 11° (hematoxylin) and
# 15° (eosin) from the reference; Ruifrok and Johnston's are at 9° and 30°.
_HEMATOXYLIN_DEGREES = 16.0
_EOSIN_DEGREES = 31.0
_SMALLEST_ANGLE_DEGREES = 2.0  # between the two; MoNuSeg: at least 8°
# Spread of the colours across their main direction, as a part of that along it: MoNuSeg at least 2e-3,
# a single colour with a camera's noise 1e-4.
_SMALLEST_SPREAD = 5e-4
# Standard deviation of the grey levels: MoNuSeg at least 20; one colour with a camera's noise at most 4. (In
# optical density, noise on a dark colour is large.)
_SMALLEST_CONTRAST = 5.0


class Extraction(NamedTuple):
    """Stain vectors, and whether they were found.

    Attributes:
      matrix: [2, 3], unit rows, hematoxylin first; finite also where nothing was found.
      found: bool [], there are two stains, and they look like hematoxylin and eosin.
    """

    matrix: jax.Array
    found: jax.Array


def extract(density: jax.Array, included: jax.Array, method: Extract) -> Extraction:
    """Stain vectors of some pixels.

    Args:
      density: optical density [3, N].
      included: bool [N]: which of them to look at, the stained ones of `stained_pixels.classify`.
      method: `vahadane` or `macenko`.
    """
    weight = included.astype(density.dtype)
    two = (
        (included.sum() >= FEWEST_PIXELS)
        & (_spread(density, weight) >= _SMALLEST_SPREAD)
        & (_contrast(density, weight) >= _SMALLEST_CONTRAST)
    )
    # Without two stains, the method gets pixels that have them: what it does is finite then, and so is its
    # gradient, which is multiplied by zero.
    safe = _two_stains(density.shape[1], density.dtype)
    matrix = method(jnp.where(two, density, safe), jnp.where(two, weight, 1.0))
    matrix = jnp.where(matrix[0, 0] < matrix[1, 0], matrix[::-1], matrix)  # hematoxylin first
    return Extraction(matrix, two & _plausible(matrix))


def vahadane(density: jax.Array, weight: jax.Array) -> jax.Array:
    """Sparse non-negative dictionary of two unit atoms (Vahadane et al., IEEE TMI 35(8), 2016, eq. 5–7).

    Minimises the mean over pixels of ½‖x − Sᵀc‖² + 0.1 · (c₁ + c₂) over S ≥ 0 and c ≥ 0, as staintools asks
    SPAMS to. SPAMS visits pixels at random until a second has passed; here all pixels take turns with the
    atoms until these come to rest, which is where SPAMS arrives if it is given more time. The gradient is
    that of the point of rest (implicit differentiation), not of the way there.
    """

    def improve(matrix: jax.Array) -> jax.Array:
        return _improved_atoms(density, weight, matrix)

    def change(flat: jax.Array) -> jax.Array:
        return improve(flat.reshape(2, 3)).ravel() - flat

    def to_rest(_: Callable, start: jax.Array) -> jax.Array:
        def moves(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            _, step, rounds = carry
            return (step > _AT_REST) & (rounds < _MOST_ROUNDS)

        def advance(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
            matrix, _, rounds = carry
            better = improve(matrix)
            return better, jnp.abs(better - matrix).max(), rounds + 1

        first = (start.reshape(2, 3), jnp.full((), jnp.inf, start.dtype), jnp.zeros((), jnp.int32))
        return jax.lax.while_loop(moves, advance, first)[0].ravel()

    def solve_linear(linear: Callable, right: jax.Array) -> jax.Array:
        # Normal equations, a little damped: finite also where a tile has no two stains.
        jacobian = jax.jacobian(linear)(jnp.zeros_like(right))
        damped = jacobian.T @ jacobian + 1e-9 * jnp.eye(6, dtype=right.dtype)
        return jnp.linalg.solve(damped, jacobian.T @ right)

    start = unit_rows(REFERENCE, density.dtype).ravel()
    return jax.lax.custom_root(change, start, to_rest, solve_linear).reshape(2, 3)


def macenko(density: jax.Array, weight: jax.Array) -> jax.Array:
    """The extreme directions in the plane of the two largest variances (Macenko et al., ISBI 2009).

    The 1st and 99th percentile of the angle in that plane, as staintools does it.
    """
    count = jnp.maximum(weight.sum(), 1.0)
    mean = (density * weight[None]).sum(axis=1, keepdims=True) / count
    centred = (density - mean) * weight[None]
    covariance = _gram(centred, centred) / count
    # Something to tell apart where pixels do not vary in two ways: equal variances have no gradient.
    tiny = 1e-6 * jnp.trace(covariance) + 1e-9
    covariance = covariance + tiny * jnp.diag(jnp.array([1.0, 2.0, 3.0], density.dtype))
    _, vectors = jnp.linalg.eigh(covariance)
    main, other = (v * jnp.where(v[0] < 0, -1, 1) for v in (vectors[:, 2], vectors[:, 1]))
    on_main = sum(main[k] * density[k] for k in range(3))
    on_other = sum(other[k] * density[k] for k in range(3))
    angle = jnp.arctan2(on_other, on_main)
    extremes = [percentile(angle, weight > 0, percent) for percent in (1, 99)]
    # The outermost direction may lie beyond the colours that a dye can have: none absorbs less than nothing.
    rows = [_unit(jnp.maximum(jnp.cos(a) * main + jnp.sin(a) * other, 0.0)) for a in extremes]
    return jnp.stack(rows)


METHODS: dict[str, Extract] = {"vahadane": vahadane, "macenko": macenko}

_AT_REST = 1e-5  # largest change of a coordinate
_MOST_ROUNDS = 300
_ATOM_ROUNDS = 5


def _improved_atoms(density: jax.Array, weight: jax.Array, matrix: jax.Array) -> jax.Array:
    """The best concentrations for the atoms, then better atoms for these (Mairal et al., JMLR 11, 2010)."""
    amounts = concentrations(density, matrix, EXTRACTION_SPARSITY) * weight[None]
    count = jnp.maximum(weight.sum(), 1.0)
    products, moments = _gram(amounts, amounts) / count, _gram(amounts, density) / count
    atoms = [matrix[0], matrix[1]]
    for _ in range(_ATOM_ROUNDS):
        for i in range(2):
            residual = moments[i] - products[i, 0] * atoms[0] - products[i, 1] * atoms[1]
            atoms[i] = _unit(jnp.maximum(atoms[i] + residual / jnp.maximum(products[i, i], 1e-9), 0.0))
    return jnp.stack(atoms)


def _gram(a: jax.Array, b: jax.Array) -> jax.Array:
    """a bᵀ in the arrays' own precision, not in the shorter one that GPUs multiply with."""
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)


def _unit(vector: jax.Array) -> jax.Array:
    return vector / jnp.sqrt((vector**2).sum() + 1e-20)


def _two_stains(size: int, dtype: jnp.dtype) -> jax.Array:
    """Densities [3, size] that are hematoxylin, eosin and both in turn."""
    matrix = unit_rows(REFERENCE, dtype)
    colours = jnp.stack([matrix[0], matrix[1], matrix[0] + matrix[1]])
    return colours[jnp.arange(size) % 3].T


def _spread(density: jax.Array, weight: jax.Array) -> jax.Array:
    moments = _gram(density * weight[None], density) / jnp.maximum(weight.sum(), 1.0)
    values = jnp.linalg.eigvalsh(jax.lax.stop_gradient(moments))
    return values[1] / jnp.maximum(values[2], 1e-12)


def _contrast(density: jax.Array, weight: jax.Array) -> jax.Array:
    """Standard deviation of the grey levels, the root mean square over the three colours."""
    planes, count = transmitted(jax.lax.stop_gradient(density)), jnp.maximum(weight.sum(), 1.0)
    mean = (planes * weight[None]).sum(axis=1, keepdims=True) / count
    return jnp.sqrt(((planes - mean) ** 2 * weight[None]).sum() / (3 * count))


def _plausible(matrix: jax.Array) -> jax.Array:
    matrix = jax.lax.stop_gradient(matrix)
    expected = unit_rows(REFERENCE, matrix.dtype)
    return (
        ((matrix[0] * expected[0]).sum() >= cosine(_HEMATOXYLIN_DEGREES))
        & ((matrix[1] * expected[1]).sum() >= cosine(_EOSIN_DEGREES))
        & ((matrix[0] * matrix[1]).sum() <= cosine(_SMALLEST_ANGLE_DEGREES))
    )
