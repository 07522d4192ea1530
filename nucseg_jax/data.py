"""Finds and reads prepared datasets; tf.data: images in host memory → batches of training patches.

The only module of the package that knows TensorFlow, and imports it for two things only: to read a
dataset that TFDS stored (a packed folder needs Pillow alone), and to make batches with tf.data (the
other pipeline is `resident`).
"""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from nucseg_jax import geometry, packed
from nucseg_jax.dataset import Batch, Dataset, Example, Rasters, stack
from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.geometry import Geometry

COMMANDS = {"monuseg": "python -m data_prep.monuseg", "folder": "python -m data_prep.folder"}
"""What prepares each dataset."""

DEFAULT_DIR = "~/tensorflow_datasets"
"""TFDS's own default, known here so that TFDS need not be imported to look there."""


def load(config: ConfigDict) -> Dataset:
    """Read a prepared dataset, as TFDS stored it or packed, into host memory.

    Args:
      config: `config.data`: dataset, split, stain, size and dir: a root of TFDS datasets or of packed
        folders (None: $TFDS_DATA_DIR, or TFDS's default).

    Raises:
      DataError: the dataset was not prepared (the message has the command that prepares it), is damaged,
        or is there both as TFDS dataset and packed.
      MissingExtraError: the dataset is TFDS's and the extra `data` is not installed; the message has the
        command.
    """
    if config.dataset not in COMMANDS:
        raise DataError(f"data.dataset must be one of {', '.join(COMMANDS)}, got {config.dataset!r}")
    root = Path(config.dir or os.environ.get("TFDS_DATA_DIR") or DEFAULT_DIR).expanduser()
    name = dataset_name(config)
    versions = _tfds_versions(root / name)
    if packed.is_packed(root / name):
        if versions:
            raise DataError(
                f"{root / name}: holds both a packed dataset and TFDS's ({versions[-1].name}). Delete one: "
                "they may differ"
            )
        return packed.read(root / name)
    if not versions:
        there = sorted(
            "/".join(folder.parts[-2:])
            for folder in root.glob("*/*")
            if packed.is_packed(folder) or _tfds_versions(folder)
        )
        raise DataError(
            f"no prepared dataset {name} in {root} (there: {', '.join(there) or 'none'}). Prepare it with:"
            f"\n  {COMMANDS[config.dataset]} --source DIR {_options(config, root)}"
        )
    return _read_tfds(versions[-1], name)


def dataset_name(config: ConfigDict) -> str:
    """DATASET/SPLIT_STAIN, with _SIZE at the end where a size is given: the folder below the root."""
    size = f"_{config.size}" if config.size else ""
    return f"{config.dataset}/{config.split}_{config.stain}{size}"


def batches(
    rasters: Rasters,
    plan: Geometry,
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
    tf = import_tensorflow(instead="or train without it: --config.data.pipeline=resident")
    # All with a channel, which TensorFlow's rotation wants.
    stacks = {
        name: tf.constant(stack([a if a.ndim == 3 else a[..., None] for a in arrays]))
        for name, arrays in rasters.items()
    }
    without_channel = {name for name, arrays in rasters.items() if arrays[0].ndim == 2}
    crop = plan.crop

    def step_rows(step: np.int64) -> np.ndarray:
        return plan.batch(int(step), batch_size)[rows]

    def cut(row: Any) -> dict[str, Any]:
        image, top, left = (row[i] for i in (geometry.IMAGE, geometry.TOP, geometry.LEFT))

        def patch(name: str) -> Any:
            x = stacks[name][image, top : top + crop, left : left + crop]
            x = tf.image.rot90(x, row[geometry.TURNS])
            x = tf.cond(row[geometry.FLIP] == 1, lambda: x[:, ::-1], lambda: x)
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


def _tfds_versions(folder: Path) -> list[Path]:
    """The versions of a TFDS dataset in DATASET/CONFIG, the newest last."""
    return sorted(info.parent for info in folder.glob("*/dataset_info.json"))


def _read_tfds(folder: Path, name: str) -> Dataset:
    builder = _import_tfds().builder_from_directory(folder)
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


def _options(config: ConfigDict, root: Path) -> str:
    """The options of the command that prepares what `config` asks for."""
    name = "--split" if config.dataset == "monuseg" else "--name"
    size = f"--size {config.size} " if config.size else ""
    return f"{name} {config.split} --stain {config.stain} {size}--out {shlex.quote(str(root))}"


def import_tensorflow(*, instead: str = "") -> Any:
    """TensorFlow, kept off the accelerators: it would otherwise take their memory from JAX.

    Raises:
      MissingExtraError: it is not installed; the message ends with `instead`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # announces itself on stderr otherwise
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingExtraError("data", error, instead) from error
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
