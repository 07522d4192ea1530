"""Streaming: each patch's image is read when its patch is due, in threads that are a few batches ahead.

The third feed, beside `feed_host` and `feed_device`, and the same batches: it maps over the rows of
`PatchPlan.batch`, too. Memory holds the patches of a few batches, however many images there are. A process
reads the images of its own rows only.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from nucseg_jax.cores import usable_cores
from nucseg_jax.data.patches import FLIP, IMAGE, LEFT, TOP, TURNS, PatchPlan
from nucseg_jax.data.rasters import Batch, Rasters

AHEAD = 4
"""Batches that are read or wait while a step runs."""


def batches(
    rasters: Rasters,
    plan: PatchPlan,
    *,
    batch_size: int,
    rows: slice,
    first: int,
    last: int,
) -> Iterator[Batch]:
    """The training batches of steps `first` ... `last` - 1, as `feed_host.batches` gives them.

    Args:
      rasters: of the images that `plan` was made for, in its order.
      plan: which patch each row of each step is.
      batch_size: patches a step over all processes.
      rows: this process's rows of each batch.

    Raises:
      DataError: an image that is due cannot be read.
    """
    threads = ThreadPoolExecutor(usable_cores(), thread_name_prefix="patches")
    due: deque[list[Future[Batch]]] = deque()
    try:
        for step in range(first, last):
            mine = plan.batch(step, batch_size)[rows]
            due.append([threads.submit(cut, rasters, row, plan.crop) for row in mine])
            if len(due) > AHEAD:
                yield _together(due.popleft())
        while due:
            yield _together(due.popleft())
    finally:
        threads.shutdown(cancel_futures=True)


def cut(rasters: Rasters, row: np.ndarray, crop: int) -> Batch:
    """The patch that a row of the plan stands for.

    Args:
      rasters: of the images that the plan was made for, in its order.
      row: int32[5], see `patches`.
      crop: side of the square patches in pixels.

    Returns:
      By name [crop,crop] or [crop,crop,C].
    """
    image, top, left = (int(row[i]) for i in (IMAGE, TOP, LEFT))
    window = (slice(top, top + crop), slice(left, left + crop))

    def patch(array: np.ndarray) -> np.ndarray:
        turned = np.rot90(array[window], row[TURNS])
        # A copy, since a view would keep all of the image.
        return (turned[:, ::-1] if row[FLIP] else turned).copy()

    return {name: patch(arrays[image]) for name, arrays in rasters.items()}


def _together(patches: list[Future[Batch]]) -> Batch:
    found = [patch.result() for patch in patches]
    return {name: np.stack([patch[name] for patch in found]) for name in found[0]}
