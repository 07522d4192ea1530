"""What is annotated in the images of a dataset: checks before work begins, and how much it is."""

from collections.abc import Sequence

import numpy as np

from nucseg_jax.data.dataset import Example
from nucseg_jax.errors import DataError, listed


def check_nuclei(name: str, part: str, examples: Sequence[Example]) -> str | None:
    """A sentence that names the images without a nucleus; None where all have some.

    Args:
      name: of the dataset, for messages.
      part: of it, such as "training images", for messages.
      examples: this part, at least one.

    Raises:
      DataError: no image has a nucleus.
    """
    bare = [e.id for e in examples if not e.has_nuclei]
    if len(bare) == len(examples):
        raise DataError(
            f"{name}: none of its {len(examples)} {part} has a nucleus. Check the annotations, and prepare "
            "the dataset again"
        )
    if not bare:
        return None
    return f"{name}: {len(bare)} of {len(examples)} {part} have no nucleus: {listed(bare)}"


def check_annotated(name: str, part: str, examples: Sequence[Example]) -> str | None:
    """A sentence that says how much of some images is annotated; None where all of it is.

    Args:
      name: of the dataset, for messages.
      part: of it, such as "training images", for messages.
      examples: this part, at least one.

    Raises:
      DataError: an image has no annotated pixel.
    """
    # A few annotated pixels may have got lost where the image was reduced.
    empty = [
        e.id
        for e in examples
        if e.unannotated_px == _area(e.size) or e.original_unannotated_px == _area(e.original_size)
    ]
    if empty:
        raise DataError(
            f"{name}: no pixel of {listed(empty)} ({part}) is annotated. Annotate a part of each, or leave "
            "them out"
        )
    count = sum(e.original_unannotated_px > 0 for e in examples)
    if not count:
        return None
    return (
        f"{name}: {count} of {len(examples)} {part} are annotated in part. Only annotated pixels count, "
        f"{shown_share(annotated_share(examples))} of all"
    )


def annotated_share(examples: Sequence[Example]) -> float:
    """The share of the pixels of some images, at their original size, that is annotated: 0 to 1."""
    pixels = sum(_area(e.original_size) for e in examples)
    return 1 - sum(e.original_unannotated_px for e in examples) / pixels


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def shown_share(share: float) -> str:
    """A share for messages: such as "12 %", or "0.3 %" where that would be none or all."""
    digits = 0 if 0.01 <= share <= 0.99 else 1
    return f"{100 * share:.{digits}f} %"


def same_annotation(a: Example, b: Example) -> bool:
    """Whether two examples have the same true nuclei and the same annotated pixels, at the original size."""
    masks = (a.original_unannotated, b.original_unannotated)
    shape = a.original_label_map.shape
    first, second = (np.zeros(shape, bool) if mask is None else mask for mask in masks)
    return np.array_equal(a.original_label_map, b.original_label_map) and np.array_equal(first, second)
