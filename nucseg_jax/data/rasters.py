"""What training patches are cut from: for each name an array an image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import overload

import numpy as np

from nucseg_jax.cores import usable_cores
from nucseg_jax.data.dataset import Example

Batch = dict[str, np.ndarray]
"""Patches: `image` uint8[B,S,S,3] RGB, `label_map` int32[B,S,S] with 0 = background, and what else the
rasters have that they are cut from."""

Rasters = Mapping[str, Sequence[np.ndarray]]
"""What patches are cut from: by name an array [H,W] or [H,W,C] an image. All of one image share H and W."""

UNANNOTATED = "unannotated"
"""Name of the raster that says which pixels nobody annotated."""

DEPTH = "depth"
"""Name of the raster that says how deep each pixel lies in its nucleus."""


class Pixels(Sequence[np.ndarray]):
    """Something of each of some examples, such as their images, taken when it is asked for.

    Args:
      examples: whose it is.
      of: what it is.
    """

    def __init__(self, examples: Sequence[Example], of: Callable[[Example], np.ndarray]):
        self._examples, self._of = examples, of

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> "Pixels": ...
    def __getitem__(self, index: int | slice) -> "np.ndarray | Pixels":
        if isinstance(index, slice):
            return Pixels(self._examples[index], self._of)
        return self._of(self._examples[index])


def rasters(examples: Sequence[Example]) -> Rasters:
    """The images and label maps that training sees, and where one has some, the pixels nobody annotated."""
    found = {
        "image": Pixels(examples, lambda e: e.image),
        "label_map": Pixels(examples, lambda e: e.label_map),
    }
    if any(e.unannotated_px for e in examples):
        found[UNANNOTATED] = Pixels(examples, _mask_of)
    return found


def rasters_with_depth(examples: Sequence[Example]) -> Rasters:
    """`rasters`, with how deep each pixel lies in its nucleus.

    A nucleus that the border of what is annotated cuts off is unannotated as a whole.
    """
    found = {**rasters(examples), DEPTH: Pixels(examples, lambda e: e.depth)}
    if UNANNOTATED in found:
        found[UNANNOTATED] = Pixels(examples, lambda e: e.unknown_depth)
    return found


def _mask_of(example: Example) -> np.ndarray:
    if example.unannotated is None:
        return np.zeros(example.size, bool)
    return example.unannotated


def stack(arrays: Sequence[np.ndarray], sizes: Iterable[tuple[int, int]]) -> np.ndarray:
    """Arrays [H,W] or [H,W,C] → one [N,H,W] or [N,H,W,C], smaller ones padded with zeros.

    The padding is at the bottom and the right. Patches never reach into it: the plan (`PatchPlan`) knows
    each image's size. Each array is taken once, since that of a sharded dataset is decoded then.

    Args:
      arrays: at least one.
      sizes: height and width of each.
    """
    height, width = (max(side) for side in zip(*sizes, strict=True))
    first = arrays[0]
    stacked = np.zeros((len(arrays), height, width, *first.shape[2:]), first.dtype)

    def fill(i: int) -> None:
        array = arrays[i]
        stacked[i, : array.shape[0], : array.shape[1]] = array

    with ThreadPoolExecutor(usable_cores()) as threads:
        list(threads.map(fill, range(len(arrays))))
    return stacked
