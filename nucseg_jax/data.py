"""Prepared datasets (TFDS) → images and label maps in host memory → batches of training patches.

The only module of the package that knows TensorFlow; it is imported when a function here runs.
"""

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from nucseg_jax import geometry
from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.geometry import Geometry

COMMANDS = {"monuseg": "python -m data_prep.monuseg", "folder": "python -m data_prep.folder"}
"""What prepares each dataset."""

Batch = dict[str, np.ndarray]
"""`image` uint8[B,S,S,3] RGB and `label_map` int32[B,S,S], 0 = background."""


@dataclass(frozen=True)
class Example:
    """One prepared image.

    Attributes:
      id: the image's name, such as TCGA-AR-A1AS-01Z-00-DX1.
      organ: e.g. "breast".
      image: uint8[H,W,3] RGB, stain-normalised and rescaled: what the network sees.
      label_map: int32[H,W], 0 = background, at the size of `image`.
      original_image: uint8[H0,W0,3] RGB as it came.
      original_label_map: int32[H0,W0]: what scores are computed against.
    """

    id: str
    organ: str
    image: np.ndarray
    label_map: np.ndarray
    original_image: np.ndarray
    original_label_map: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset: its examples by split, and how it was prepared (stain target, versions)."""

    name: str
    splits: dict[str, list[Example]]
    metadata: dict[str, Any]

    def check_sizes(self, tile: int) -> None:
        """Raise DataError unless every image is at least a tile of `tile` pixels high and wide."""
        small = [
            f"{e.id} ({e.image.shape[0]}×{e.image.shape[1]})"
            for examples in self.splits.values()
            for e in examples
            if min(e.image.shape[:2]) < tile
        ]
        if small:
            raise DataError(
                f"{self.name} has images smaller than data.crop_size = {tile} pixels: {', '.join(small)}. "
                "Set a smaller crop size, or leave them out"
            )

    def training(self, validation: Sequence[str]) -> tuple[list[Example], list[Example]]:
        """The training split without the held-out images, and the held-out images.

        Args:
          validation: ids of training images to hold out.

        Raises:
          DataError: an id that is not in the training split.
        """
        known = [e.id for e in self.splits["train"]]
        if unknown := [i for i in validation if i not in known]:
            raise DataError(
                f"data.validation names {', '.join(unknown)}, not in the training split of {self.name}, "
                f"which has: {', '.join(known)}"
            )
        train = [e for e in self.splits["train"] if e.id not in validation]
        return train, [e for e in self.splits["train"] if e.id in validation]


def load(config: ConfigDict) -> Dataset:
    """Read a prepared dataset into host memory.

    Args:
      config: `config.data`: dataset, split, stain, size and dir (None: $TFDS_DATA_DIR, or TFDS's default).

    Raises:
      DataError: the dataset was not prepared; the message has the command that prepares it.
      MissingExtraError: the extra `data` is not installed; the message has the command.
    """
    tfds = _import_tfds()
    root = Path(config.dir or os.environ.get("TFDS_DATA_DIR") or tfds.core.constants.DATA_DIR)
    if config.dataset not in COMMANDS:
        raise DataError(f"data.dataset must be one of {', '.join(COMMANDS)}, got {config.dataset!r}")
    size = f"_{config.size}" if config.size else ""
    name = f"{config.dataset}/{config.split}_{config.stain}{size}"
    versions = sorted(p.parent for p in root.expanduser().glob(f"{name}/*/dataset_info.json"))
    if not versions:
        found = sorted("/".join(p.parts[-4:-2]) for p in root.expanduser().glob("*/*/*/dataset_info.json"))
        raise DataError(
            f"no prepared dataset {name} in {root} (there: {', '.join(found) or 'none'}). Prepare it with:"
            f"\n  {COMMANDS[config.dataset]} --source DIR {_options(config, root)}"
        )
    builder = tfds.builder_from_directory(versions[-1])
    splits = {split: _read(builder, split) for split in builder.info.splits}
    return Dataset(name, splits, json.loads(json.dumps(dict(builder.info.metadata or {}))))


def batches(
    examples: Sequence[Example],
    plan: Geometry,
    *,
    batch_size: int,
    rows: slice,
    first: int,
    last: int,
) -> Iterator[Batch]:
    """The training batches of steps `first` ... `last` - 1.

    Args:
      examples: the images that `plan` was made for, in its order.
      plan: which patch each row of each step is.
      batch_size: patches a step over all processes.
      rows: this process's rows of each batch.
    """
    tf = import_tensorflow()
    images = tf.constant(_stack([e.image for e in examples]))
    label_maps = tf.constant(_stack([e.label_map for e in examples]))
    crop = plan.crop

    def step_rows(step: np.int64) -> np.ndarray:
        return plan.batch(int(step), batch_size)[rows]

    def cut(row: Any) -> dict[str, Any]:
        image, top, left = (row[i] for i in (geometry.IMAGE, geometry.TOP, geometry.LEFT))

        def patch(stack: Any) -> Any:
            x = stack[image, top : top + crop, left : left + crop]
            x = tf.image.rot90(x, row[geometry.TURNS])
            return tf.cond(row[geometry.FLIP] == 1, lambda: x[:, ::-1], lambda: x)

        return {
            "image": tf.ensure_shape(patch(images), (crop, crop, 3)),
            "label_map": tf.ensure_shape(patch(label_maps)[..., 0], (crop, crop)),
        }

    dataset = tf.data.Dataset.range(first, last)
    dataset = dataset.map(
        lambda step: tf.ensure_shape(tf.numpy_function(step_rows, [step], tf.int32), (None, 5)),
        num_parallel_calls=1,
    )
    dataset = dataset.unbatch().map(cut, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(rows.stop - rows.start, drop_remainder=True).prefetch(4)
    return dataset.as_numpy_iterator()


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """[H,W] or [H,W,C] arrays → [N,H,W,C], smaller ones padded at the bottom and right with zeros.

    Patches never reach into the padding: the plan knows each image's size.
    """
    arrays = [a if a.ndim == 3 else a[..., None] for a in arrays]
    height, width = (max(a.shape[i] for a in arrays) for i in (0, 1))
    stack = np.zeros((len(arrays), height, width, arrays[0].shape[2]), arrays[0].dtype)
    for i, a in enumerate(arrays):
        stack[i, : a.shape[0], : a.shape[1]] = a
    return stack


def _read(builder: Any, split: str) -> list[Example]:
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


def _options(config: ConfigDict, root: Path) -> str:
    """The options of the command that prepares what `config` asks for."""
    name = "--split" if config.dataset == "monuseg" else "--name"
    size = f"--size {config.size} " if config.size else ""
    return f"{name} {config.split} --stain {config.stain} {size}--out {shlex.quote(str(root))}"


def import_tensorflow() -> Any:
    """TensorFlow, kept off the accelerators: it would otherwise take their memory from JAX."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announces itself on stderr otherwise
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingExtraError("data", error) from error
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


def _import_tfds() -> Any:
    import_tensorflow()
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise MissingExtraError("data", error) from error
    return tfds
