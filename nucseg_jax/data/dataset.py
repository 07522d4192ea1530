"""A prepared dataset in host memory, wherever it was read from."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from nucseg_jax.errors import DataError
from nucseg_jax.nuclei import TYPICAL_MPP

TRAIN = "train"
"""The split that is trained on; every other one is scored."""

MASKS = ("unannotated", "original_unannotated")
"""The fields of an `Example` that say which pixels are not annotated."""


@dataclass(frozen=True)
class Example:
    """One prepared image, in memory. `stored.StoredExample` is one that is read when it is asked for.

    `size` and what follows it cost no reading there: what is checked before training asks for nothing else.

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

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the prepared image in pixels."""
        height, width = self.image.shape[:2]
        return height, width

    @property
    def original_size(self) -> tuple[int, int]:
        """Height and width of the image as it came, in pixels."""
        height, width = self.original_label_map.shape
        return height, width

    @property
    def nuclei(self) -> int:
        """How many nuclei the image has, at its original size."""
        return int(np.count_nonzero(np.unique(self.original_label_map)))

    @property
    def has_nuclei(self) -> bool:
        return bool(self.original_label_map.any())

    @property
    def unannotated_px(self) -> int:
        """Pixels of the prepared image that nobody annotated."""
        return _count(self.unannotated)

    @property
    def original_unannotated_px(self) -> int:
        """Pixels of the image as it came that nobody annotated."""
        return _count(self.original_unannotated)

    @property
    def in_memory(self) -> bool:
        """Whether asking for pixels costs no reading."""
        return True

    @property
    def has_original(self) -> bool:
        """Whether the image as it came is kept."""
        return self.original_image is not None

    @cached_property
    def depth(self) -> np.ndarray:
        """uint8[H,W]: how deep each pixel of the prepared image lies in its nucleus (`distances`)."""
        from nucseg_jax.data.distances import relative_depth  # SciPy, which benchmarks of the feeds lack

        return relative_depth(self.label_map)

    @cached_property
    def unknown_depth(self) -> np.ndarray:
        """bool[H,W]: where nobody knows how deep a pixel lies in its nucleus (`distances`)."""
        if self.unannotated is None or not self.unannotated.any():
            return np.zeros(self.size, bool)
        from nucseg_jax.data.distances import unknown_depth

        return unknown_depth(self.label_map, self.unannotated)

    def loaded(self) -> "Example":
        """The example with its pixels in memory: itself, unless it lies in shards."""
        return self

    def scored_image(self) -> np.ndarray:
        """The original image, which every image of a scored split has; DataError for one that has none."""
        if self.original_image is None:
            raise DataError(
                f"{self.id}: a packed folder keeps no original of training images. Use the dataset it was "
                "packed from, by data.dir"
            )
        return self.original_image


class Examples(Protocol):
    """Examples that are taken one after the other, in memory or not."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Example]: ...


class Prepared(Protocol):
    """A prepared dataset, in memory or not: `Dataset`, or `tfds.Stored`."""

    @property
    def name(self) -> str: ...
    @property
    def splits(self) -> Mapping[str, Examples]: ...
    @property
    def metadata(self) -> Mapping[str, Any]: ...


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
            e.id: e.original_size[0] / e.size[0] for examples in self.splits.values() for e in examples
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
            f"{e.id} ({e.size[0]}×{e.size[1]})"
            for split, examples in self.splits.items()
            for e in examples
            if min(e.size) < (window if split == TRAIN else crop)
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


def _count(mask: np.ndarray | None) -> int:
    return 0 if mask is None else int(np.count_nonzero(mask))
