"""The device-resident pipeline: the images live on the device, and the step cuts its own patches.

The other feeds are tf.data (`feed_host`) and `feed_streamed`. All give the same batches: they map over the
rows of `PatchPlan.batch`. The host sends 20 bytes a patch, and may send several
steps at once.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nucseg_jax import devices
from nucseg_jax.data.patches import FLIP, IMAGE, LEFT, TOP, TURNS, PatchPlan
from nucseg_jax.data.rasters import Rasters, stack

Store = dict[str, jax.Array]
"""By name an array [N,H,W] or [N,H,W,C] of all training images, smaller ones padded with zeros; replicated
over the mesh."""


def place(mesh: Mesh, rasters: Rasters, sizes: Sequence[tuple[int, int]]) -> Store:
    """Rasters in the memory of every device.

    Args:
      mesh: of the devices.
      rasters: of some images.
      sizes: height and width of each image in pixels.
    """
    return devices.replicate(mesh, {name: stack(arrays, sizes) for name, arrays in rasters.items()})


def cut(store: Store, rows: jax.Array, crop: int) -> dict[str, jax.Array]:
    """The batch that rows of the plan stand for.

    Args:
      store: the images that the plan was made for, in its order.
      rows: int32[B,5], see `patches`.
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


def rows_of(
    plan: PatchPlan, steps: range, *, batch_size: int, rows: slice, steps_per_dispatch: int
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
