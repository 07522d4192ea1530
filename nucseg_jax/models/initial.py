"""Initial weights, drawn by NumPy: JAX would compile a program for the shape of each."""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from numpy.typing import NDArray


class Source(NamedTuple):
    """What an array is drawn from.

    Attributes:
      seed: one for all weights of a network: the words of a key, uint32.
      place: the array's number among them.
    """

    seed: jax.Array | NDArray[np.uint32]
    place: int


Initializer = Callable[[Source | jax.Array, Sequence[int], DTypeLike], jax.Array]
"""(source or key, shape, dtype) → initial values; what layers of Flax take as `kernel_init`."""

_Values = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float32]]


class Streams(nnx.Rngs):
    """What a network is built with: a Source for each of its weights, and a stream for dropout.

    Args:
      rngs: with streams for `params` and `dropout`, or one for both.
    """

    def __init__(self, rngs: nnx.Rngs):
        seed = _of_key(rngs.params()).seed
        super().__init__(dropout=getattr(rngs, "dropout", rngs.params)())
        self.params = _Sources(seed)


class _Sources:
    """One Source after the other."""

    def __init__(self, seed: jax.Array | NDArray[np.uint32]):
        self._seed, self._next = seed, 0

    def __call__(self) -> Source:
        self._next += 1
        return Source(self._seed, self._next - 1)


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

    def init(source: Source | jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> jax.Array:
        size = tuple(shape)
        seed, place = source if isinstance(source, Source) else _of_key(source)

        def drawn(seed: NDArray[np.uint32]) -> NDArray[np.float32]:
            draw = np.random.Generator(np.random.PCG64([*np.asarray(seed).tolist(), place]))
            return values(draw, size)

        if isinstance(seed, np.ndarray):
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
