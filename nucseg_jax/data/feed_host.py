"""tf.data: images in host memory → batches of training patches.

The other feeds are `feed_device` and `feed_streamed`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from nucseg_jax.data import patches
from nucseg_jax.data.patches import PatchPlan
from nucseg_jax.data.rasters import Batch, Rasters, stack
from nucseg_jax.data.tensorflow import import_tensorflow


def batches(
    rasters: Rasters,
    plan: PatchPlan,
    *,
    batch_size: int,
    rows: slice,
    first: int,
    last: int,
) -> Iterator[Batch]:
    """The training batches of steps `first` ... `last` - 1, made by tf.data in threads of its own.

    Args:
      rasters: of the images that `plan` was made for, in its order.
      plan: which patch each row of each step is.
      batch_size: patches a step over all processes.
      rows: this process's rows of each batch.

    Raises:
      MissingExtraError: TensorFlow is not installed.
    """
    tf = import_tensorflow(instead="or train without it: data.pipeline=resident")
    stacked = {name: stack(arrays, plan.sizes) for name, arrays in rasters.items()}
    without_channel = {name for name, arrays in stacked.items() if arrays.ndim == 3}
    # All with a channel, which TensorFlow's rotation wants.
    stacks = {
        name: tf.constant(arrays[..., None] if name in without_channel else arrays)
        for name, arrays in stacked.items()
    }
    crop = plan.crop

    def step_rows(step: np.int64) -> np.ndarray:
        return plan.batch(int(step), batch_size)[rows]

    def cut(row: Any) -> dict[str, Any]:
        image, top, left = (row[i] for i in (patches.IMAGE, patches.TOP, patches.LEFT))

        def patch(name: str) -> Any:
            x = stacks[name][image, top : top + crop, left : left + crop]
            x = tf.image.rot90(x, row[patches.TURNS])
            x = tf.cond(row[patches.FLIP] == 1, lambda: x[:, ::-1], lambda: x)
            x = tf.ensure_shape(x, (crop, crop, stacks[name].shape[-1]))
            return x[..., 0] if name in without_channel else x

        return {name: patch(name) for name in stacks}

    dataset = tf.data.Dataset.range(first, last)
    dataset = dataset.map(
        lambda step: tf.ensure_shape(tf.numpy_function(step_rows, [step], tf.int32), (None, 5)),
        num_parallel_calls=1,
    )
    dataset = dataset.unbatch().map(cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(rows.stop - rows.start, drop_remainder=True).prefetch(4)
    return dataset.as_numpy_iterator()
