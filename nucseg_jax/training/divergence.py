"""Divergence is an error: losses and weights that are infinite or NaN."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nucseg_jax.errors import FailedError


class NonFiniteLossError(FailedError):
    """Training diverged: the loss or the parameters became infinite or NaN."""


_REMEDY = (
    "training has diverged. Start again in another --workdir with a lower optim.learning_rate or "
    "optim.loss_scale (metrics.jsonl shows where the loss rose)"
)


def finite_losses(pending: Sequence[tuple[range, jax.Array]]) -> list[tuple[int, float]]:
    """(step, loss) as numbers, all finite; steps counted from 1.

    Args:
      pending: steps, counted from 0, and their losses: float32[] or [K ≥ the number of steps].
    """
    fetched = jax.device_get([losses for _, losses in pending])
    values = [
        (step + 1, float(loss))
        for (steps, _), losses in zip(pending, fetched, strict=True)
        for step, loss in zip(steps, np.ravel(losses), strict=False)
    ]
    for step, value in values:
        if not math.isfinite(value):
            raise NonFiniteLossError(f"the loss of step {step} is {value}: {_REMEDY}")
    return values


def check_finite(tree: Any, step: int) -> None:
    """Raise NonFiniteLossError unless every number of parameters, statistics or labels is finite.

    The loss is from before the update: the update that it led to is seen here only.
    """
    if not _all_finite(tree):
        raise NonFiniteLossError(f"step {step} made parameters infinite or NaN: {_REMEDY}")


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()
