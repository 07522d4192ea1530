"""Initial weights, drawn by NumPy: JAX would compile a program for the shape of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from numpy.typing import NDArray


class Draws:
    """Draws a network's weights later: the network is built with shapes in their place.

    NumPy draws without Python's lock. Another thread can compile meanwhile, since that needs shapes only.
    """

    def __init__(self) -> None:
        # By the identity of a shape, which is kept here: no other object can have it.
        self._waiting: dict[int, tuple[jax.ShapeDtypeStruct, Callable[[], NDArray[np.float32]]]] = {}

    def later(
        self, shape: tuple[int, ...], dtype: DTypeLike, draw: Callable[[], NDArray[np.float32]]
    ) -> jax.ShapeDtypeStruct:
        """A shape that stands for an array until `drawn`."""
        stand_in = jax.ShapeDtypeStruct(shape, dtype)
        self._waiting[id(stand_in)] = (stand_in, draw)
        return stand_in

    def drawn(self, tree: Any) -> Any:
        """A tree with the arrays in place of the shapes that stand for them; its other leaves are kept."""

        def array(leaf: Any) -> Any:
            found = self._waiting.get(id(leaf))
            if found is None:
                return leaf
            stand_in, draw = found
            return draw().astype(stand_in.dtype, copy=False)

        return jax.tree.map(array, tree)


class Source(NamedTuple):
    """What an array is drawn from.

    Attributes:
      seed: one for all weights of a network: the words of a key, uint32.
      place: the array's number among them.
      draws: where the array is drawn later; None: it is drawn at once.
    """

    seed: jax.Array | NDArray[np.uint32]
    place: int
    draws: Draws | None = None


Initializer = Callable[[Source | jax.Array, Sequence[int], DTypeLike], Any]
"""(source or key, shape, dtype) → initial values, or a shape that stands for them (`Draws`); what layers of
Flax take as `kernel_init`."""

_Values = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float32]]


class Streams(nnx.Rngs):
    """What a network is built with: a Source for each of its weights, and a stream for dropout.

    Args:
      rngs: with streams for `params` and `dropout`, or one for both.
      draws: where the weights are drawn later; None: they are drawn at once.
    """

    def __init__(self, rngs: nnx.Rngs, draws: Draws | None = None):
        seed = _of_key(rngs.params()).seed
        super().__init__(dropout=getattr(rngs, "dropout", rngs.params)())
        self.params = _Sources(seed, draws)


class _Sources:
    """One Source after the other."""

    def __init__(self, seed: jax.Array | NDArray[np.uint32], draws: Draws | None):
        self._seed, self._next, self._draws = seed, 0, draws

    def __call__(self) -> Source:
        self._next += 1
        return Source(self._seed, self._next - 1, self._draws)


def uniform(bound: float) -> Initializer:
    """U(-bound, bound)."""
    return _initializer(lambda draw, shape: bound * (2 * draw.random(shape, np.float32) - 1))


def variance_scaling(
    scale: float, fan: Literal["fan_in", "fan_out"], distribution: Literal["normal", "uniform"]
) -> Initializer:
    """Variance scale / fan, as of `jax.nn.initializers.variance_scaling`, for kernels [h, w, in, out].

    Args:
      scale: of the variance.
      fan: connections of an output (`fan_in`) or of an input.
      distribution: of mean 0.
    """

    def values(draw: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
        connections = math.prod(shape[:-2]) * shape[-2 if fan == "fan_in" else -1]
        deviation = math.sqrt(scale / connections)
        if distribution == "normal":
            return np.float32(deviation) * draw.standard_normal(shape, np.float32)
        return np.float32(deviation * math.sqrt(3)) * (2 * draw.random(shape, np.float32) - 1)

    return _initializer(values)


def _initializer(values: _Values) -> Initializer:
    """An initializer that draws by NumPy, also where JAX traces it."""

    def init(source: Source | jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Any:
        size = tuple(shape)
        seed, place, draws = source if isinstance(source, Source) else _of_key(source)

        def drawn(seed: NDArray[np.uint32]) -> NDArray[np.float32]:
            draw = np.random.Generator(np.random.PCG64([*np.asarray(seed).tolist(), place]))
            return values(draw, size)

        if isinstance(seed, np.ndarray):
            if draws is not None:
                return draws.later(size, dtype, partial(drawn, seed))
            return jnp.asarray(drawn(seed), dtype)
        return jax.pure_callback(
            drawn, jax.ShapeDtypeStruct(size, np.float32), seed, vmap_method="sequential"
        ).astype(dtype)

    return init


def _of_key(key: jax.Array) -> Source:
    """The source for a layer that is built outside of a network, with Flax's own streams."""
    seed = jax.random.key_data(key)
    return Source(seed if isinstance(seed, jax.core.Tracer) else np.asarray(seed), 0)


def zeros(_: Source | jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
    """0 everywhere."""
    return jnp.asarray(np.zeros(shape, np.float32), dtype)
