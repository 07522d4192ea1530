"""Prepared datasets as TFDS stores them."""

import json
from pathlib import Path
from typing import Any

from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.data.tensorflow import import_tfds


def versions(folder: Path) -> list[Path]:
    """The versions of a TFDS dataset in DATASET/CONFIG, the newest last."""
    return sorted(info.parent for info in folder.glob("*/dataset_info.json"))


def read(folder: Path, name: str) -> Dataset:
    """Read one of `versions` into host memory; MissingExtraError without the extra `data`."""
    builder = import_tfds().builder_from_directory(folder)
    splits = {split: _read_split(builder, split) for split in builder.info.splits}
    return Dataset(name, splits, json.loads(json.dumps(dict(builder.info.metadata or {}))))


def _read_split(builder: Any, split: str) -> list[Example]:
    """The examples of one split, ordered by id so that no shuffling of files changes a run."""
    rows = builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator()
    examples = [
        Example(
            id=row["id"].decode(),
            organ=row["organ"].decode(),
            image=row["image"],
            label_map=row["label_map"],
            original_image=row["original_image"],
            original_label_map=row["original_label_map"],
        )
        for row in rows
    ]
    return sorted(examples, key=lambda e: e.id)
