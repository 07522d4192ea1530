"""Prepared datasets as TFDS stores them."""

import contextlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.data import metadata as dataset_metadata
from nucseg_jax.data.dataset import MASKS, Dataset, Example, default_source
from nucseg_jax.data.tensorflow import import_tfds
from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.names import is_plain

_VERSION = re.compile(r"\d+\.\d+\.\d+")


class StoredSplit:
    """A split that is read image by image, in the order of its files, each time that it is gone through.

    Going through it raises DataError where the split is damaged, or has not the images of its manifest.

    Args:
      folder: of the dataset.
      builder: of the dataset.
      split: its name.
      metadata: of the dataset.
      name: of the dataset.
    """

    def __init__(self, folder: Path, builder: Any, split: str, metadata: dict[str, Any], name: str):
        self._folder, self._builder, self._split, self._metadata = folder, builder, split, metadata
        self._source = default_source(name, metadata)

    def __len__(self) -> int:
        return int(self._builder.info.splits[self._split].num_examples)

    def __iter__(self) -> Iterator[Example]:
        ids = []
        with _whole(self._folder):
            for example in _examples(self._builder, self._split, self._source):
                ids.append(example.id)
                yield example
            own = dataset_metadata.of_split(self._metadata, self._split)
            dataset_metadata.check_splits(own, {self._split: ids})


@dataclass(frozen=True)
class Stored:
    """A dataset whose images are read one by one (`dataset.Prepared`)."""

    name: str
    splits: dict[str, StoredSplit]
    metadata: dict[str, Any]


def versions(folder: Path) -> list[Path]:
    """The versions of a TFDS dataset in DATASET/CONFIG, the newest last.

    Other folders are those that a preparation works in, or has left when it was killed.
    """
    found = [info.parent for info in folder.glob("*/dataset_info.json")]
    return sorted(path for path in found if _VERSION.fullmatch(path.name))


def read(folder: Path, name: str) -> Dataset:
    """Read one of `versions` into host memory.

    Raises:
      MissingExtraError: the extra `data` is not installed.
      DataError: the dataset is damaged.
    """
    tfds = import_tfds()
    with _whole(folder):
        metadata = _described(folder)
        builder = tfds.builder_from_directory(folder)
        source = default_source(name, metadata)
        # Ordered by id, so that no shuffling of files changes a run.
        splits = {
            split: sorted(_examples(builder, split, source), key=lambda e: e.id)
            for split in builder.info.splits
        }
        dataset_metadata.check_splits(metadata, {split: [e.id for e in splits[split]] for split in splits})
    return Dataset(name, splits, metadata)


def open_stored(folder: Path, name: str) -> Stored:
    """One of `versions`, to be read image by image.

    Raises:
      MissingExtraError: the extra `data` is not installed.
      DataError: what describes the dataset is damaged.
    """
    tfds = import_tfds()
    with _whole(folder):
        metadata = _described(folder)
        builder = tfds.builder_from_directory(folder)
        splits = {split: StoredSplit(folder, builder, split, metadata, name) for split in builder.info.splits}
        for entry in metadata.get("manifest", {}).get("images", []):
            if entry["split"] not in splits:
                raise ValueError(f"the split {in_short(entry['split'], 40)} of its manifest is missing")
    return Stored(name, splits, metadata)


def read_metadata(folder: Path) -> dict[str, Any]:
    """How one of `versions` was prepared; its images are not read.

    Raises:
      MissingExtraError: the extra `data` is not installed.
      DataError: the dataset is damaged.
    """
    tfds = import_tfds()
    with _whole(folder):
        metadata = _described(folder)
        tfds.builder_from_directory(folder)
    return metadata


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Raise DataError where the block cannot read a dataset."""
    try:
        yield
    except Exception as error:  # TFDS and TensorFlow raise errors of many types on damaged files
        raise DataError(
            f"{folder}: cannot be read as a prepared dataset ({in_short(error)}). Prepare it again with "
            "--overwrite, or copy the folder again"
        ) from error


def _described(folder: Path) -> dict[str, Any]:
    """The metadata; raises ValueError where a file that describes the dataset is damaged, by its name."""
    found: dict[str, Any] = {}
    for name in ("dataset_info.json", "features.json", "metadata.json"):
        try:
            found[name] = json.loads((folder / name).read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            said = (isinstance(error, OSError) and error.strerror) or error
            raise ValueError(f"{name}: {in_short(said)}") from error
    try:
        return dataset_metadata.unsealed(found["metadata.json"])
    except ValueError as error:
        raise ValueError(f"metadata.json: {error}") from error


def _examples(builder: Any, split: str, fallback: str) -> Iterator[Example]:
    """The examples of one split, in the order of its files.

    Args:
      builder: of the dataset.
      split: one of its splits.
      fallback: the source of images whose source an earlier release did not record.
    """
    for row in builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator():
        example = Example(
            id=row["id"].decode(),
            organ=row["organ"].decode(),
            image=row["image"],
            label_map=row["label_map"],
            original_image=row["original_image"],
            original_label_map=row["original_label_map"],
            source=row["source"].decode() if "source" in row else fallback,
            **{key: _mask(row.get(key)) for key in MASKS},
        )
        if not is_plain(example.id):
            raise ValueError(f"an id that is no name of a file: {in_short(repr(example.id))}")
        yield example


def _mask(stored: NDArray[np.uint8] | None) -> NDArray[np.bool_] | None:
    """A mask of an example; None where all is annotated, as it is in datasets of earlier releases."""
    return stored.astype(bool) if stored is not None and stored.size else None
