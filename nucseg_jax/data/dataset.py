"""A prepared dataset in host memory, wherever it was read from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nucseg_jax.errors import DataError, listed
from nucseg_jax.nuclei import TYPICAL_MPP

Batch = dict[str, np.ndarray]
"""Patches: `image` uint8[B,S,S,3] RGB, `label_map` int32[B,S,S] with 0 = background, and what else the
rasters have that they are cut from."""

Rasters = Mapping[str, Sequence[np.ndarray]]
"""What patches are cut from: by name an array [H,W] or [H,W,C] an image. All of one image share H and W."""

UNANNOTATED = "unannotated"
"""Name of the raster that says which pixels nobody annotated."""

TRAIN = "train"
"""The split that is trained on; every other one is scored."""


MASKS = ("unannotated", "original_unannotated")
"""The fields of an `Example` that say which pixels are not annotated."""


@dataclass(frozen=True)
class Example:
    """One prepared image.

    Attributes:
      id: the image's name, such as TCGA-AR-A1AS-01Z-00-DX1.
      organ: e.g. "breast".
      image: uint8[H,W,3] RGB, stain-normalised and rescaled: what the network sees.
      label_map: int32[H,W], 0 = background, at the size of `image`.
      original_image: uint8[H0,W0,3] RGB as it came; None for the training images of a packed folder,
        which keeps only what training and scoring look at (`packed`).
      original_label_map: int32[H0,W0]: what scores are computed against.
      source: where the image is from, such as "monuseg"; a dataset may have images of several sources.
      unannotated: bool[H,W], true where nobody has looked for nuclei: neither nucleus nor background;
        None: all of the image is annotated. `label_map` is 0 there, but for what lies beyond the border of
        a region of a nucleus that is partly annotated.
      original_unannotated: bool[H0,W0], the same at the size of `original_label_map`.
    """

    id: str
    organ: str
    image: np.ndarray
    label_map: np.ndarray
    original_image: np.ndarray | None
    original_label_map: np.ndarray
    source: str = ""
    unannotated: np.ndarray | None = None
    original_unannotated: np.ndarray | None = None

    def scored_image(self) -> np.ndarray:
        """The original image, which every image of a scored split has; DataError for one that has none."""
        if self.original_image is None:
            raise DataError(
                f"{self.id}: a packed folder keeps no original of training images. Use the dataset it was "
                "packed from, by data.dir"
            )
        return self.original_image


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: its examples by split, and how it was prepared (stain target, versions)."""

    name: str
    splits: dict[str, list[Example]]
    metadata: dict[str, Any]

    @property
    def mpp(self) -> float:
        """µm a pixel of the original images; TYPICAL_MPP where an earlier release recorded none."""
        return float(self.metadata.get("mpp", TYPICAL_MPP))

    @property
    def mpp_source(self) -> str:
        """How `mpp` is known, for people."""
        if "mpp" not in self.metadata:
            return "assumed: 40×, since the dataset records none"
        return str(self.metadata.get("mpp_source", "as the dataset records"))

    @property
    def mpp_assumed(self) -> bool:
        """Nobody and no file has said what `mpp` is."""
        return self.mpp_source.startswith("assumed")

    @property
    def prepared_mpp(self) -> float:
        """µm a pixel of the prepared images, which the network sees: `mpp`, changed as `--size` changed them.

        Raises:
          DataError: an earlier release rescaled the images by different factors.
        """
        factors = {
            e.id: e.original_label_map.shape[0] / e.image.shape[0]
            for examples in self.splits.values()
            for e in examples
        }
        smallest, largest = min(factors, key=factors.__getitem__), max(factors, key=factors.__getitem__)
        if factors[largest] > 1.01 * factors[smallest]:
            raise DataError(
                f"{self.name}: {smallest} and {largest} were rescaled by different factors, and so have "
                "different µm a pixel. Prepare them apart, or without --size"
            )
        return self.mpp * next(iter(factors.values()))

    def check_sizes(self, crop: int, window: int) -> None:
        """Raise DataError unless the images are large enough.

        Args:
          crop: side of the patches in pixels: the least of every image.
          window: side of what patches are made of in training: the least of a training image.
        """
        small = [
            f"{e.id} ({e.image.shape[0]}×{e.image.shape[1]})"
            for split, examples in self.splits.items()
            for e in examples
            if min(e.image.shape[:2]) < (window if split == TRAIN else crop)
        ]
        if small:
            of_training = "" if window == crop else f" (training images: / augment.smallest_scale = {window})"
            raise DataError(
                f"{self.name} has images smaller than data.crop_size = {crop} pixels{of_training}: "
                f"{', '.join(small)}. Set a smaller crop size, or leave them out"
            )

    def training(self, validation: Sequence[str]) -> tuple[list[Example], list[Example]]:
        """The training split without the held-out images, and the held-out images.

        Args:
          validation: ids of training images to hold out.

        Raises:
          DataError: an id that is not in the training split.
        """
        known = [e.id for e in self.splits[TRAIN]]
        if unknown := [i for i in validation if i not in known]:
            raise DataError(
                f"data.validation names {', '.join(unknown)}, not in the training split of {self.name}, "
                f"which has: {', '.join(known)}"
            )
        train = [e for e in self.splits[TRAIN] if e.id not in validation]
        return train, [e for e in self.splits[TRAIN] if e.id in validation]

    def scored(self) -> dict[str, list[Example]]:
        """The splits that scores are computed on, with their original images."""
        return {split: examples for split, examples in self.splits.items() if split != TRAIN}


def default_source(name: str, metadata: Mapping[str, Any]) -> str:
    """The source of images that record none, as in earlier releases: the name that the dataset was given.

    Args:
      name: of the dataset, such as monuseg/paper_vahadane or folder/mine_none.
      metadata: of the dataset.
    """
    dataset = name.partition("/")[0]
    if dataset != "folder":
        return dataset
    return str(metadata.get("manifest", {}).get("name", dataset))


def shown_sources(sources: Sequence[str]) -> str:
    """How many images are of each source, for messages.

    Args:
      sources: of each image.

    Returns:
      Such as " (30 of monuseg, 27 of consep)", the largest first; empty where there is only one source.
    """
    counts = Counter(sources).most_common()
    if len(counts) < 2:
        return ""
    return f" ({', '.join(f'{count} of {source}' for source, count in counts)})"


def check_nuclei(name: str, part: str, examples: Sequence[Example]) -> str | None:
    """A sentence that names the images without a nucleus; None where all have some.

    Args:
      name: of the dataset, for messages.
      part: of it, such as "training images", for messages.
      examples: this part, at least one.

    Raises:
      DataError: no image has a nucleus.
    """
    bare = [e.id for e in examples if not e.original_label_map.any()]
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
    empty = [e.id for e in examples if _is_all(e.unannotated) or _is_all(e.original_unannotated)]
    if empty:
        raise DataError(
            f"{name}: no pixel of {listed(empty)} ({part}) is annotated. Annotate a part of each, or leave "
            "them out"
        )
    count = sum(_unannotated_px(e) > 0 for e in examples)
    if not count:
        return None
    return (
        f"{name}: {count} of {len(examples)} {part} are annotated in part. Only annotated pixels count, "
        f"{shown_share(annotated_share(examples))} of all"
    )


def annotated_share(examples: Sequence[Example]) -> float:
    """The share of the pixels of some images, at their original size, that is annotated: 0 to 1."""
    pixels = sum(e.original_label_map.size for e in examples)
    return 1 - sum(_unannotated_px(e) for e in examples) / pixels


def _unannotated_px(example: Example) -> int:
    mask = example.original_unannotated
    return 0 if mask is None else int(np.count_nonzero(mask))


def _is_all(mask: np.ndarray | None) -> bool:
    return mask is not None and bool(mask.all())


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


def rasters(examples: Sequence[Example]) -> Rasters:
    """The images and label maps that training sees, and where one has some, the pixels nobody annotated."""
    found = {"image": [e.image for e in examples], "label_map": [e.label_map for e in examples]}
    if any(e.unannotated is not None and e.unannotated.any() for e in examples):
        found[UNANNOTATED] = [_mask_of(e) for e in examples]
    return found


def _mask_of(example: Example) -> np.ndarray:
    if example.unannotated is None:
        return np.zeros(example.label_map.shape, bool)
    return example.unannotated


def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays [H,W] or [H,W,C] → one [N,H,W] or [N,H,W,C], smaller ones padded with zeros.

    The padding is at the bottom and the right. Patches never reach into it: the plan (`PatchPlan`) knows
    each image's size.
    """
    height, width = (max(a.shape[i] for a in arrays) for i in (0, 1))
    stacked = np.zeros((len(arrays), height, width, *arrays[0].shape[2:]), arrays[0].dtype)
    for i, a in enumerate(arrays):
        stacked[i, : a.shape[0], : a.shape[1]] = a
    return stacked
