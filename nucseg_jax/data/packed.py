"""The packed form of a prepared dataset: plain image files, which Pillow alone reads.

    ROOT/DATASET/SPLIT_STAIN[_SIZE]/
      packed.json                 ids, organs, sources, splits, SHA-256 of the files, how it was prepared
      image/ID.webp               what the network sees, 8-bit RGB
      label_map/ID.png            its nuclei, 16 bits
      original_image/ID.webp      only of images that are scored
      original_label_map/ID.png
      unannotated/ID.png          only of images that are annotated in part, 1 bit
      original_unannotated/ID.png

A machine without TensorFlow trains and scores from it. Images are lossless WebP: a quarter smaller than
PNG (54 MB instead of 70 for MoNuSeg) and no slower to read. Written by `data_prep.pack`.

Training images may lie in shards instead (`sharded`); those of other splits are files in any case. Then no
image is read into memory before it is asked for (`stored`).
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nucseg_jax.data import sharded
from nucseg_jax.data.dataset import MASKS, TRAIN, Dataset, Example, Prepared, default_source
from nucseg_jax.data.encoded import check_together, decoded, encoded
from nucseg_jax.data.packed_index import INDEX, PER_SHARD, read_index, write_index
from nucseg_jax.data.stored import Files, entry_of, stored_examples
from nucseg_jax.data.threads import in_threads
from nucseg_jax.errors import DataError
from nucseg_jax.io.files import replacing_folder
from nucseg_jax.io.leftovers import remove_leftovers

MOST_SHARDS = 100
"""A process that trains holds each shard of each kind open, and on many systems 1,024 files at most."""


def is_packed(folder: Path) -> bool:
    """Whether a folder DATASET/SPLIT_STAIN[_SIZE] holds a packed dataset."""
    return (folder / INDEX).is_file()


def read(folder: Path) -> Dataset:
    """Read a packed dataset into host memory; `original_image` is None in the training split.

    Where training images lie in shards, all images are read when they are asked for (`stored`).

    Args:
      folder: ROOT/DATASET/SPLIT_STAIN[_SIZE]; the last two parts are the dataset's name.

    Raises:
      DataError: a file is missing, or is not the one that was written.
      MissingExtraError: there are shards, and the extra `shards` is not installed.
    """
    index = read_index(folder / INDEX)
    name = "/".join(folder.parts[-2:])
    source = default_source(name, index["metadata"])
    files = Files(folder)
    splits = {}
    for split, entries in index["splits"].items():
        if PER_SHARD not in index:
            splits[split] = list(in_threads(partial(_read_example, files, source), entries))
        elif split == TRAIN:
            splits[split] = sharded.read(folder, entries, index[PER_SHARD], source)
        else:
            splits[split] = stored_examples(entries, files, source)
    return Dataset(name, splits, index["metadata"])


def write(dataset: Prepared, folder: Path, *, overwrite: bool, shards: int | None = None) -> None:
    """Pack a dataset into `folder`, whole or not at all; images are ordered by their ids.

    Args:
      dataset: a prepared dataset, which may be more than memory holds: its images are taken one by one.
      folder: ROOT/DATASET/SPLIT_STAIN[_SIZE].
      overwrite: replace a packed dataset that is there.
      shards: how many the training images are put into; None: each is a file.

    Raises:
      DataError: the folder is there (always an error where it holds something else than a packed dataset),
        an image or an id is too large for the format, or `shards` is out of its range.
      MissingExtraError: `shards`, and the extra `shards` is not installed.
    """
    remove_leftovers(folder)
    if folder.exists() and not is_packed(folder):
        raise DataError(f"{folder}: holds something else than a packed dataset. Give another --out")
    if folder.exists() and not overwrite:
        raise DataError(f"{folder}: already packed. Give --overwrite to pack it again, or another --out")
    per_shard = None if shards is None else _per_shard(dataset, shards)
    with replacing_folder(folder) as temporary:
        splits = {}
        for split, examples in dataset.splits.items():
            if split == TRAIN and per_shard is not None:
                entries = sharded.write(temporary, examples, per_shard)
            else:
                entries = _write_files(temporary, examples, scored=split != TRAIN)
            splits[split] = sorted(entries, key=lambda entry: entry["id"])
        write_index(temporary, splits, dataset.metadata, per_shard=per_shard)


def _per_shard(dataset: Prepared, shards: int) -> int:
    """How many images a shard has: all but the last one have as many."""
    count = len(dataset.splits[TRAIN]) if TRAIN in dataset.splits else 0
    most = min(count, MOST_SHARDS)
    if not 1 <= shards <= most:
        raise DataError(
            f"{dataset.name}: --shards {shards} must be from 1 to {most} (it has {count} training images, "
            f"and there are at most {MOST_SHARDS} shards)"
        )
    return -(-count // shards)


def _write_files(folder: Path, examples: Iterable[Example], *, scored: bool) -> list[dict[str, Any]]:
    """Write the files of some examples; returns their entries in packed.json."""
    return list(in_threads(partial(_write_example, folder, scored), examples))


def _write_example(folder: Path, scored: bool, example: Example) -> dict[str, Any]:
    """Write the files of an example; returns its entry in packed.json."""
    example = example.loaded()  # one that is read from files, too: each file is decoded once
    files, place = encoded(example, scored=scored), Files(folder)
    entry = entry_of(example, files)
    for kind, content in files.items():
        path = place.path(entry, kind)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return entry


def _read_example(files: Files, fallback: str, entry: dict[str, Any]) -> Example:
    """The example of an entry, in memory.

    Its source is `fallback` where an earlier release packed it and named none.
    """
    pixels = {
        kind: decoded(str(files.path(entry, kind)), files.read(entry, kind), sha256)
        for kind, sha256 in entry["sha256"].items()
    }
    check_together(f"{files.folder}: {entry['id']}", pixels)
    return Example(
        id=entry["id"],
        organ=entry["organ"],
        image=pixels["image"],
        label_map=pixels["label_map"].astype(np.int32),
        original_image=pixels.get("original_image"),
        original_label_map=pixels["original_label_map"].astype(np.int32),
        source=entry.get("source", fallback),
        **{kind: pixels.get(kind) for kind in MASKS},
    )
