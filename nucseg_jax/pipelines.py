"""The two ways that patches reach the training step, as one: `feed(rasters, steps)` → `advance`.

`tfdata` cuts patches on the host (`data.batches`); `resident` keeps all images on the device and cuts
them there (`resident`). Both cut the same pixels.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import data, resident, sharding
from nucseg_jax.dataset import Rasters
from nucseg_jax.geometry import Geometry
from nucseg_jax.step import Step, TrainState, compile_step

Advance = Callable[[TrainState, range], tuple[TrainState, jax.Array]]
"""(state, steps) → (state, losses): trains the steps, counted from 0, that come next. It returns when the
work is queued, not when it is done. losses: float32[] or [K], those of `steps` first."""

Feed = Callable[[Rasters, range], Advance]
"""(rasters, steps) → advance, which will be asked for all of `steps`, one after the other. May be called
again with other rasters of the same images, as every cycle of self-correction does: the step is compiled
again only where there are other kinds of them.
MissingExtraError: `tfdata`, and TensorFlow is not installed."""


def build(config: ConfigDict, mesh: Mesh, step: Step, plan: Geometry) -> Feed:
    """The pipeline that config.data.pipeline names.

    Args:
      config: the experiment.
      mesh: where the state is.
      step: one training step.
      plan: which patch each row of each step is.
    """
    return PIPELINES[config.data.pipeline](config, mesh, step, plan)


def dispatches(steps: range, *, at_most: int, boundaries: Sequence[int]) -> Iterator[range]:
    """`steps` in pieces of at most `at_most` that end at every multiple of each boundary.

    What happens every so many steps (log, checkpoint) finds the state of just that step.
    """
    first = steps.start
    while first < steps.stop:
        stop = min(steps.stop, first + at_most, *((first // n + 1) * n for n in boundaries))
        yield range(first, stop)
        first = stop


def _tfdata(config: ConfigDict, mesh: Mesh, step: Step, plan: Geometry) -> Feed:
    compiled = compile_step(mesh, step)
    local = sharding.local_rows(config.batch_size)

    def feed(rasters: Rasters, steps: range) -> Advance:
        batches = data.batches(
            rasters, plan, batch_size=config.batch_size, rows=local, first=steps.start, last=steps.stop
        )

        def advance(state: TrainState, steps: range) -> tuple[TrainState, jax.Array]:
            # Neither the copy to the device nor the step is waited for: while a step runs, the next batch
            # is taken from tf.data's threads and copied.
            return compiled(state, sharding.gather_shares(mesh, next(batches)))

        return advance

    return feed


def _resident(config: ConfigDict, mesh: Mesh, step: Step, plan: Geometry) -> Feed:
    several = resident.compile_steps(mesh, step, crop=plan.crop, steps_per_dispatch=config.steps_per_dispatch)
    local = sharding.local_rows(config.batch_size)

    def feed(rasters: Rasters, steps: range) -> Advance:
        store = resident.place(mesh, rasters)

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

    return feed


PIPELINES: dict[str, Callable[[ConfigDict, Mesh, Step, Geometry], Feed]] = {
    "tfdata": _tfdata,
    "resident": _resident,
}
"""By the names that config.data.pipeline takes."""
