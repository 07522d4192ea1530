"""The two ways that patches reach the training step, as one: `advance(state, steps)`.

`tfdata` cuts patches on the host (`data.batches`); `resident` keeps all images on the device and cuts
them there (`resident`). Both cut the same pixels.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import data, resident, sharding
from nucseg_jax.dataset import Example
from nucseg_jax.geometry import Geometry
from nucseg_jax.models.functional import FunctionalNetwork
from nucseg_jax.step import TrainState, compile_step, train_step

Advance = Callable[[TrainState, range], tuple[TrainState, jax.Array]]
"""(state, steps) → (state, losses): trains the steps, counted from 0, that come next. It returns when the
work is queued, not when it is done. losses: float32[] or [K], those of `steps` first."""


def start(
    config: ConfigDict,
    mesh: Mesh,
    network: FunctionalNetwork,
    optimizer: optax.GradientTransformation,
    examples: Sequence[Example],
    plan: Geometry,
    steps: range,
) -> Advance:
    """Start the pipeline that config.data.pipeline names.

    Args:
      config: the experiment.
      mesh: where the state is.
      network, optimizer: of the step.
      examples: the training images that `plan` was made for, in its order.
      plan: which patch each row of each step is.
      steps: all that will be asked for, one after the other.

    Raises:
      MissingExtraError: `tfdata`, and TensorFlow is not installed.
    """
    return PIPELINES[config.data.pipeline](config, mesh, network, optimizer, examples, plan, steps)


def dispatches(steps: range, *, at_most: int, boundaries: Sequence[int]) -> Iterator[range]:
    """`steps` in pieces of at most `at_most` that end at every multiple of each boundary.

    What happens every so many steps (log, checkpoint) finds the state of just that step.
    """
    first = steps.start
    while first < steps.stop:
        stop = min(steps.stop, first + at_most, *((first // n + 1) * n for n in boundaries))
        yield range(first, stop)
        first = stop


def _tfdata(
    config: ConfigDict,
    mesh: Mesh,
    network: FunctionalNetwork,
    optimizer: optax.GradientTransformation,
    examples: Sequence[Example],
    plan: Geometry,
    steps: range,
) -> Advance:
    batches = data.batches(
        examples,
        plan,
        batch_size=config.batch_size,
        rows=sharding.local_rows(config.batch_size),
        first=steps.start,
        last=steps.stop,
    )
    step = compile_step(mesh, network, optimizer, **_step_options(config))

    def advance(state: TrainState, steps: range) -> tuple[TrainState, jax.Array]:
        # Neither the copy to the device nor the step is waited for: while a step runs, the next batch is
        # taken from tf.data's threads and copied.
        return step(state, sharding.gather_shares(mesh, next(batches)))

    return advance


def _resident(
    config: ConfigDict,
    mesh: Mesh,
    network: FunctionalNetwork,
    optimizer: optax.GradientTransformation,
    examples: Sequence[Example],
    plan: Geometry,
    steps: range,
) -> Advance:
    store = resident.place(mesh, examples)
    step = functools.partial(train_step, network=network, optimizer=optimizer, **_step_options(config))
    several = resident.compile_steps(mesh, step, crop=plan.crop, steps_per_dispatch=config.steps_per_dispatch)
    local = sharding.local_rows(config.batch_size)

    def advance(state: TrainState, steps: range) -> tuple[TrainState, jax.Array]:
        rows = resident.rows_of(
            plan,
            steps,
            batch_size=config.batch_size,
            rows=local,
            steps_per_dispatch=config.steps_per_dispatch,
        )
        return several(state, store, sharding.gather_shares(mesh, rows), np.int32(len(steps)))

    return advance


PIPELINES: dict[str, Callable[..., Advance]] = {"tfdata": _tfdata, "resident": _resident}
"""By the names that config.data.pipeline takes."""


def _step_options(config: ConfigDict) -> dict[str, Any]:
    return {
        "loss_scale": config.optim.loss_scale,
        "accumulate": config.optim.accumulate,
        "seed": config.seed,
    }
