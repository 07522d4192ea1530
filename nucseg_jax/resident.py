"""The device-resident pipeline: the images live on the device, and the step cuts its own patches.

Beside tf.data (`data.batches`) the one other way from a prepared dataset to batches, and the same
batches: both map over the rows of `Geometry.batch`. The host sends 20 bytes a patch, and may send several
steps at once.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nucseg_jax import sharding
from nucseg_jax.dataset import Rasters, stack
from nucseg_jax.geometry import FLIP, IMAGE, LEFT, TOP, TURNS, Geometry
from nucseg_jax.step import Step

Store = dict[str, jax.Array]
"""By name an array [N,H,W] or [N,H,W,C] of all training images, smaller ones padded with zeros; replicated
over the mesh."""


def place(mesh: Mesh, rasters: Rasters) -> Store:
    """Rasters in the memory of every device."""
    return sharding.replicate(mesh, {name: stack(arrays) for name, arrays in rasters.items()})


def cut(store: Store, rows: jax.Array, crop: int) -> dict[str, jax.Array]:
    """The batch that geometry rows stand for.

    Args:
      store: the images that the plan was made for, in its order.
      rows: int32[B,5], see `geometry`.
      crop: side of the square patches in pixels.

    Returns:
      By name [B,crop,crop] or [B,crop,crop,C]; split over the devices as `rows` is, since every device holds
      every image.
    """

    def patch(images: jax.Array, row: jax.Array) -> jax.Array:
        corner = [row[IMAGE], row[TOP], row[LEFT], *[jnp.int32(0)] * (images.ndim - 3)]
        x = jax.lax.dynamic_slice(images, corner, (1, crop, crop, *images.shape[3:]))[0]
        x = jnp.where(row[TURNS] >= 2, x[::-1, ::-1], x)
        x = jnp.where(row[TURNS] % 2 == 1, jnp.rot90(x), x)
        return jnp.where(row[FLIP] == 1, x[:, ::-1], x)

    patches = jax.vmap(patch, in_axes=(None, 0))
    return {name: patches(images, rows) for name, images in store.items()}


def compile_steps(
    mesh: Mesh, step: Step, *, crop: int, steps_per_dispatch: int = 1
) -> Callable[[Any, Store, jax.Array, np.int32], tuple[Any, jax.Array]]:
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

    Returns:
      (state, store, rows, count) → (state, losses), jitted with `state` donated. rows: int32[B,K,5], the
      patches of up to K steps (see `rows_of`); count: how many of them to do; losses: float32[K], those
      past `count` are 0.
    """

    def one(state: Any, store: Store, rows: jax.Array) -> tuple[Any, jax.Array]:
        # The barrier keeps XLA from cutting again wherever the patches are used, and from compiling the
        # step otherwise than for batches that come from the host.
        return step(state, jax.lax.optimization_barrier(cut(store, rows, crop)))

    def single(state: Any, store: Store, rows: jax.Array, count: jax.Array) -> tuple[Any, jax.Array]:
        state, loss = one(state, store, rows[:, 0])
        return state, loss[None]

    def several(state: Any, store: Store, rows: jax.Array, count: jax.Array) -> tuple[Any, jax.Array]:
        def body(i: jax.Array, carry: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            state, losses = carry
            state, loss = one(state, store, rows[:, i])
            return state, losses.at[i].set(loss)

        return jax.lax.fori_loop(0, count, body, (state, jnp.zeros(steps_per_dispatch)))

    return jax.jit(
        single if steps_per_dispatch == 1 else several,
        donate_argnums=0,
        out_shardings=sharding.replicated(mesh),
        compiler_options=sharding.compiler_options(mesh),
    )


def rows_of(
    plan: Geometry, steps: range, *, batch_size: int, rows: slice, steps_per_dispatch: int
) -> np.ndarray:
    """The rows of several steps for one call: int32[B,K,5] with K = `steps_per_dispatch`, zeros at the end.

    Args:
      plan: which patch each row of each step is.
      steps: at most K steps, counted from 0.
      batch_size: patches a step over all processes.
      rows: this process's rows of each batch: B of them.
    """
    result = np.zeros((rows.stop - rows.start, steps_per_dispatch, 5), np.int32)
    for i, step in enumerate(steps):
        result[:, i] = plan.batch(step, batch_size)[rows]
    return result
