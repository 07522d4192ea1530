"""Networks for tests, made and compiled in less time than real ones."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.typing import DTypeLike

from nucseg_jax.models import create_model

QUICK = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs once: half the compilation time, slower code."""

HEAVY = {"fc_densenet", "psp_segnet", "self_correction", "efficient_unet", "efficient_unet_half"}
"""They compile for long: tests that do so are slow ones."""

ONE_BY_ONE = "all-reduce-combiner"
"""The pass by which XLA sums several arrays over devices at once; `summed_over_devices` wants it left out."""


def by_weight(names: Iterable[str]) -> list[Any]:
    """Networks' names, sorted, as parameters of a test; those of the heavy ones are marked slow."""
    return [pytest.param(name, marks=[pytest.mark.slow] if name in HEAVY else []) for name in sorted(names)]


def filled_network(
    name: str,
    fill: Callable[[tuple[int, ...]], np.ndarray],
    *,
    width: float,
    num_classes: int = 2,
    dtype: DTypeLike = jnp.float32,
) -> nnx.Module:
    """A network whose every parameter and batch statistic is `fill(shape)`."""
    graph, weights, rest = _abstract(name, width, num_classes, dtype)
    key = jax.random.key(0)

    def randomness(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        return key if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros(leaf.shape, leaf.dtype)

    filled = jax.tree.map(lambda leaf: fill(leaf.shape), weights)
    return nnx.merge(graph, filled, jax.tree.map(randomness, rest))


@lru_cache
def _abstract(
    name: str, width: float, num_classes: int, dtype: DTypeLike
) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """Structure, shapes of the weights, shapes of what dropout draws from."""
    model = nnx.eval_shape(
        lambda: create_model(name, num_classes=num_classes, width=width, dtype=dtype, rngs=nnx.Rngs(0))
    )
    return nnx.split(model, nnx.Any(nnx.Param, nnx.BatchStat), ...)


def empty_network(name: str, *, width: float, **options: Any) -> nnx.Module:
    """A network of NaNs, so that what is not loaded afterwards shows."""
    return filled_network(name, lambda shape: np.full(shape, np.nan, np.float32), width=width, **options)


def all_logits(model: Any, images: jax.Array) -> dict[str, jax.Array]:
    """The logits by name: of `self_correction` those of its three branches."""
    return model.branches(images)._asdict() if hasattr(model, "branches") else {"logits": model(images)}


def summed_over_devices(compiled: jax.stages.Compiled) -> set[str]:
    """The dtypes of all that a program, compiled without ONE_BY_ONE, adds up over its devices.

    XLA's CPU backend, unlike its others, widens values of 16 bits for that. They count as "16 bits" here: the
    name of the function that adds them tells.
    """
    sums = re.findall(r"= ([^=\n]*?) all-reduce(?:-start)?\(.*?to_apply=%([\w.-]+)", compiled.as_text())
    return {
        "16 bits" if function.endswith("promoted") else dtype
        for result, function in sums
        for dtype in re.findall(r"(\w+)\[", result)
    }
