"""Divergence is an error: losses, weights and batch statistics that are infinite or NaN."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nucseg_jax.errors import FailedError, listed


class NonFiniteLossError(FailedError):
    """Training diverged: the loss or the parameters became infinite or NaN."""


_REMEDY = (
    "training has diverged. Start again in another --workdir with a lower optim.learning_rate or "
    "optim.loss_scale (metrics.jsonl shows where the loss rose)"
)


ImagesOf = Callable[[int], Sequence[str]]
"""Step, counted from 0 → the ids of the images that its patches are cut from."""


def finite_losses(pending: Sequence[tuple[range, jax.Array]], images_of: ImagesOf) -> list[tuple[int, float]]:
    """(step, loss) as numbers, all finite; steps counted from 1.

    Args:
      pending: steps, counted from 0, and their losses: float32[] or [K ≥ the number of steps].
      images_of: for the message.

    Raises:
      NonFiniteLossError: a loss is infinite or NaN; it names the first step and its images.
    """
    fetched = jax.device_get([losses for _, losses in pending])
    values = [
        (step + 1, float(loss))
        for (steps, _), losses in zip(pending, fetched, strict=True)
        for step, loss in zip(steps, np.ravel(losses), strict=False)
    ]
    for step, value in values:
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the loss of step {step} is {value} ({_of_update(step, images_of)}): {_REMEDY}"
            )
    return values


def check_finite(tree: Any, steps: range, images_of: ImagesOf | None = None) -> None:
    """Raise NonFiniteLossError unless every number of parameters, statistics, moments or labels is finite.

    The loss is from before the update. What a gradient that is not finite did to the weights, or a batch to
    the statistics, is seen here.

    Args:
      tree: of arrays; integers in it are finite.
      steps: that may have made them so: those since it was last looked at, counted from 1.
      images_of: for the message; None: it names no images.
    """
    if not _all_finite(tree):
        which = f"step {steps[0]}" if len(steps) == 1 else f"one of the steps {steps[0]} to {steps[-1]}"
        images = "" if images_of is None else f" ({_shown(steps, images_of)})"
        raise NonFiniteLossError(
            f"{which} made parameters, batch statistics or the optimizer's moments infinite or NaN{images}: "
            f"{_REMEDY}"
        )


def _of_update(step: int, images_of: ImagesOf) -> str:
    """The images of a step, and of the one before it, whose update may be the cause."""
    steps = range(max(1, step - 1), step + 1)
    return "; ".join(_shown(range(one, one + 1), images_of) for one in steps)


def _shown(steps: range, images_of: ImagesOf) -> str:
    """The images of steps, counted from 1."""
    images = dict.fromkeys(image for step in steps for image in images_of(step - 1))
    which = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
    return f"patches of {which}: {listed(list(images))}"


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()
