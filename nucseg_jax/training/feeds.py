"""The three ways that patches reach the training step, as one: `feed(rasters, steps)` → `advance`.

`tfdata` keeps all images in the host's memory and cuts patches there (`data.feed_host`); `streamed` reads
each image when a patch of it is due (`data.feed_streamed`); `resident` keeps all images on the device and
cuts them there (`data.feed_device`). All cut the same pixels.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nucseg_jax import devices
from nucseg_jax.data import feed_device, feed_host, feed_streamed
from nucseg_jax.data.feed_device import Store
from nucseg_jax.data.patches import PatchPlan
from nucseg_jax.data.rasters import Batch, Rasters
from nucseg_jax.training.step import Step, TrainState, compile_step, step_shardings

if TYPE_CHECKING:  # benchmarks need no configs
    from ml_collections import ConfigDict

Advance = Callable[[TrainState, range], tuple[TrainState, jax.Array]]
"""(state, steps) → (state, losses): trains the steps, counted from 0, that come next. It returns when the
work is queued, not when it is done. losses: float32[] or [K], those of `steps` first."""

Feed = Callable[[Rasters, range], Advance]
"""(rasters, steps) → advance, which will be asked for all of `steps`, one after the other. It compiles the
step. May be called again with other rasters of the same images, as every cycle of self-correction does: the
step is compiled again only where there are other kinds of them.
MissingExtraError: `tfdata`, and TensorFlow is not installed. DataError: `streamed`, and an image cannot be
read: `advance` raises it, too."""


def build(config: ConfigDict, mesh: Mesh, step: Step, plan: PatchPlan, shapes: TrainState) -> Feed:
    """The pipeline that config.data.pipeline names.

    Args:
      config: the experiment.
      mesh: where the state is.
      step: one training step.
      plan: which patch each row of each step is.
      shapes: of the state: the step is compiled when rasters come, before there need be a state.
    """
    return FEEDS[config.data.pipeline](config, mesh, step, plan, shapes)


def dispatches(steps: range, *, at_most: int, boundaries: Sequence[int]) -> Iterator[range]:
    """`steps` in pieces of at most `at_most` that end at every multiple of each boundary.

    What happens every so many steps (log, checkpoint) finds the state of just that step.
    """
    first = steps.start
    while first < steps.stop:
        stop = min(steps.stop, first + at_most, *((first // n + 1) * n for n in boundaries))
        yield range(first, stop)
        first = stop


def compile_steps(
    mesh: Mesh, step: Step, *, crop: int, steps_per_dispatch: int = 1, shapes: TrainState | None = None
) -> jax.stages.Wrapped:
    """Training steps that cut their own batches, several in one call to the device.

    One compiled program serves every number of steps, so that a step's result does not depend on which
    others it shares a call with. One step a call needs no loop: on CPUs it equals, to the bit, the step on
    batches from the host. Loops are for accelerators: on CPUs they save nothing, and the gradients of XLA's
    own convolutions (those that `models.convolution` leaves to it) are many times slower inside of one.

    Args:
      mesh: where the state, the store and the rows are.
      step: one training step.
      crop: side of the square patches in pixels.
      steps_per_dispatch: K, the most steps that one call does.
      shapes: of the state, with its placement, which it keeps; None: it is replicated.

    Returns:
      (state, store, rows, count) → (state, losses), jitted with `state` donated. rows: int32[B,K,5], the
      patches of up to K steps (see `rows_of`); count: how many of them to do; losses: float32[K], those
      past `count` are 0.
    """

    def one(state: Any, store: Store, rows: jax.Array) -> tuple[Any, jax.Array]:
        # The barrier keeps XLA from cutting again wherever the patches are used, and from compiling the
        # step otherwise than for batches that come from the host.
        return step(state, jax.lax.optimization_barrier(feed_device.cut(store, rows, crop)))

    def single(state: Any, store: Store, rows: jax.Array, count: jax.Array) -> tuple[Any, jax.Array]:
        state, loss = one(state, store, rows[:, 0])
        return state, loss[None]

    def several(state: Any, store: Store, rows: jax.Array, count: jax.Array) -> tuple[Any, jax.Array]:
        def body(i: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            state, losses = carry
            state, loss = one(state, store, rows[:, i])
            return state, losses.at[i].set(loss)

        return jax.lax.fori_loop(0, count, body, (state, jnp.zeros(steps_per_dispatch)))

    return devices.jit(
        mesh,
        single if steps_per_dispatch == 1 else several,
        out_shardings=step_shardings(mesh, shapes),
        donate_argnums=0,
        compiler_options=devices.compiler_options(mesh),
    )


def _from_host(
    batches_of: Callable[..., Iterator[Batch]],
    config: ConfigDict,
    mesh: Mesh,
    step: Step,
    plan: PatchPlan,
    shapes: TrainState,
) -> Feed:
    """Batches that the host makes, by `batches_of`."""
    compiled = compile_step(mesh, step, shapes)
    local = devices.local_rows(config.batch_size)

    def feed(rasters: Rasters, steps: range) -> Advance:
        batches = batches_of(
            rasters, plan, batch_size=config.batch_size, rows=local, first=steps.start, last=steps.stop
        )
        first = next(batches)
        compiled.lower(shapes, devices.gather_shares(mesh, first)).compile()
        batches = itertools.chain([first], batches)

        def advance(state: TrainState, steps: range) -> tuple[TrainState, jax.Array]:
            # Neither the copy to the device nor the step is waited for: while a step runs, the next batch
            # is taken from the threads that make them, and copied.
            return compiled(state, devices.gather_shares(mesh, next(batches)))

        return advance

    return feed


def _resident(config: ConfigDict, mesh: Mesh, step: Step, plan: PatchPlan, shapes: TrainState) -> Feed:
    several = compile_steps(
        mesh, step, crop=plan.crop, steps_per_dispatch=config.steps_per_dispatch, shapes=shapes
    )
    local = devices.local_rows(config.batch_size)

    def feed(rasters: Rasters, steps: range) -> Advance:
        store = feed_device.place(mesh, rasters, plan.sizes)

        def rows_of(steps: range) -> jax.Array:
            rows = feed_device.rows_of(
                plan,
                steps,
                batch_size=config.batch_size,
                rows=local,
                steps_per_dispatch=config.steps_per_dispatch,
            )
            return devices.gather_shares(mesh, rows)

        several.lower(shapes, store, rows_of(steps[:1]), np.int32(1)).compile()

        def advance(state: TrainState, steps: range) -> tuple[TrainState, jax.Array]:
            return several(state, store, rows_of(steps), np.int32(len(steps)))

        return advance

    return feed


FEEDS: dict[str, Callable[[ConfigDict, Mesh, Step, PatchPlan, TrainState], Feed]] = {
    "tfdata": functools.partial(_from_host, feed_host.batches),
    "streamed": functools.partial(_from_host, feed_streamed.batches),
    "resident": _resident,
}
"""By the names that config.data.pipeline takes."""
