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
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nucseg_jax.cores import usable_cores
from nucseg_jax.data.dataset import MASKS, TRAIN, Dataset, Example, default_source
from nucseg_jax.data.json_values import is_as_written, sha256_of
from nucseg_jax.data.metadata import check as check_metadata
from nucseg_jax.data.metadata import has_digest
from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.files import replacing_folder, write_text
from nucseg_jax.io.images import open_unbounded
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.io.names import MOST_BYTES, is_plain

INDEX = "packed.json"
VERSION = 1
VERSION_WITH_MASKS = 2
"""Of folders with images that are annotated in part: a release that knows no masks must not read them."""

DIGEST = "sha256"
"""In the index: the digest of what else it holds."""

SUFFIXES = {
    "image": ".webp",
    "label_map": ".png",
    "original_image": ".webp",
    "original_label_map": ".png",
    **dict.fromkeys(MASKS, ".png"),
}
"""Of the files in each folder."""

REQUIRED = {"image", "label_map", "original_label_map"}
"""What every example has."""

LONGEST_ID = MOST_BYTES - max(map(len, SUFFIXES.values()))
LARGEST_ID = np.iinfo(np.uint16).max
LARGEST_SIDE = 16383  # of a WebP image


def is_packed(folder: Path) -> bool:
    """Whether a folder DATASET/SPLIT_STAIN[_SIZE] holds a packed dataset."""
    return (folder / INDEX).is_file()


def read(folder: Path) -> Dataset:
    """Read a packed dataset into host memory; `original_image` is None in the training split.

    Args:
      folder: ROOT/DATASET/SPLIT_STAIN[_SIZE]; the last two parts are the dataset's name.

    Raises:
      DataError: a file is missing, or is not the one that was written.
    """
    index = _read_index(folder / INDEX)
    name = "/".join(folder.parts[-2:])
    source = default_source(name, index["metadata"])
    with ThreadPoolExecutor(usable_cores()) as threads:
        splits = {
            split: list(threads.map(partial(_read_example, folder, source), entries))
            for split, entries in index["splits"].items()
        }
    return Dataset(name, splits, index["metadata"])


def write(dataset: Dataset, folder: Path, *, overwrite: bool) -> None:
    """Pack a dataset into `folder`, whole or not at all.

    Args:
      dataset: a prepared dataset.
      folder: ROOT/DATASET/SPLIT_STAIN[_SIZE].
      overwrite: replace a packed dataset that is there.

    Raises:
      DataError: the folder is there (always an error where it holds something else than a packed dataset),
        or an image or an id is too large for the format.
    """
    remove_leftovers(folder)
    if folder.exists() and not is_packed(folder):
        raise DataError(f"{folder}: holds something else than a packed dataset. Give another --out")
    if folder.exists() and not overwrite:
        raise DataError(f"{folder}: already packed. Give --overwrite to pack it again, or another --out")
    for examples in dataset.splits.values():
        for example in examples:
            _check_limits(example)
    with replacing_folder(folder) as temporary:
        masked = any(e.unannotated is not None for examples in dataset.splits.values() for e in examples)
        for kind in SUFFIXES:
            if masked or kind not in MASKS:
                (temporary / kind).mkdir(parents=True)
        with ThreadPoolExecutor(usable_cores()) as threads:
            splits = {
                split: list(threads.map(partial(_write_example, temporary, split != TRAIN), examples))
                for split, examples in dataset.splits.items()
            }
        version = VERSION_WITH_MASKS if masked else VERSION
        index = {"version": version, "splits": splits, "metadata": dataset.metadata}
        index[DIGEST] = sha256_of(index, DIGEST)
        write_text(temporary / INDEX, json.dumps(index, indent=1) + "\n")


def _check_limits(example: Example) -> None:
    """Raise DataError for what 16-bit PNG, WebP or the name of a file cannot hold."""
    if len(os.fsencode(example.id)) > LONGEST_ID:
        raise DataError(
            f"{example.id}: has {len(os.fsencode(example.id))} bytes, and the id of a packed image at most "
            f"{LONGEST_ID}. Rename the image and its annotation, and prepare the dataset again"
        )
    for labels in (example.label_map, example.original_label_map):
        if labels.min() < 0 or labels.max() > LARGEST_ID:
            raise DataError(
                f"{example.id}: label map has ids from {labels.min()} to {labels.max()}, and a packed one "
                f"holds 0 to {LARGEST_ID}. Renumber the nuclei in the source and prepare the dataset again"
            )
    for image in (example.image, example.original_image):
        if image is not None and max(image.shape) > LARGEST_SIDE:
            raise DataError(
                f"{example.id}: is {image.shape[0]}×{image.shape[1]}, and a packed image is at most "
                f"{LARGEST_SIDE} pixels high and wide. Cut it and prepare the dataset again"
            )


def _write_example(folder: Path, scored: bool, example: Example) -> dict[str, Any]:
    """Write the files of an example; returns its entry in packed.json."""
    encoded = {
        "image": _encode_image(example.image),
        "label_map": _encode_labels(example.label_map),
        "original_label_map": _encode_labels(example.original_label_map),
    }
    for kind in MASKS:
        if (mask := getattr(example, kind)) is not None:
            encoded[kind] = _encode(mask, "PNG")
    if scored:
        encoded["original_image"] = _encode_image(example.scored_image())
    for kind, content in encoded.items():
        _path(folder, kind, example.id).write_bytes(content)
    sha256 = {kind: hashlib.sha256(content).hexdigest() for kind, content in encoded.items()}
    return {"id": example.id, "organ": example.organ, "source": example.source, "sha256": sha256}


def _encode_image(image: np.ndarray) -> bytes:
    # Of lossless WebP's efforts, these cost PNG's time; more makes files no smaller.
    return _encode(image, "WEBP", lossless=True, quality=50, method=3)


def _encode_labels(labels: np.ndarray) -> bytes:
    return _encode(labels.astype(np.uint16), "PNG")


def _encode(pixels: np.ndarray, file_format: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, file_format, **options)
    return content.getvalue()


def _read_example(folder: Path, fallback: str, entry: dict[str, Any]) -> Example:
    """The example of an entry; its source is `fallback` where an earlier release packed it and named none."""
    example_id, sha256 = entry["id"], entry["sha256"]
    pixels = {kind: _read_file(_path(folder, kind, example_id), sha256[kind]) for kind in sha256}
    _check_pixels(f"{folder}: {example_id}", pixels)
    return Example(
        id=example_id,
        organ=entry["organ"],
        image=pixels["image"],
        label_map=pixels["label_map"].astype(np.int32),
        original_image=pixels.get("original_image"),
        original_label_map=pixels["original_label_map"].astype(np.int32),
        source=entry.get("source", fallback),
        **{kind: pixels.get(kind) for kind in MASKS},
    )


def _check_pixels(name: str, pixels: Mapping[str, np.ndarray]) -> None:
    """Raise DataError unless images are uint8 RGB, the others are 2-D, masks bool, and all have one size."""
    for kind, values in pixels.items():
        depth = 3 if kind.endswith("image") else 2
        odd = values.ndim != depth or (depth == 3 and (values.shape[2] != 3 or values.dtype != np.uint8))
        if odd or (kind in MASKS and values.dtype != bool):
            raise DataError(f"{name}: its {kind} is {values.dtype} {values.shape}. {_REMEDY}")
    for other, labels in _OF_ONE_SIZE:
        if other in pixels and pixels[other].shape[:2] != pixels[labels].shape:
            raise DataError(
                f"{name}: its {other} is {pixels[other].shape[:2]}, its {labels} {pixels[labels].shape}. "
                f"{_REMEDY}"
            )


_OF_ONE_SIZE = (
    ("image", "label_map"),
    ("original_image", "original_label_map"),
    ("unannotated", "label_map"),
    ("original_unannotated", "original_label_map"),
)


def _read_file(path: Path, sha256: str) -> np.ndarray:
    """The pixels of a file whose bytes are those that were written (neither format tells by itself)."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {_REMEDY}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DataError(f"{path}: damaged or replaced: its SHA-256 is not the one in {INDEX}. {_REMEDY}")
    try:
        with open_unbounded(io.BytesIO(content), ("PNG", "WEBP")) as image:
            if max(image.size) > LARGEST_SIDE:
                raise ValueError(f"{image.size[0]} × {image.size[1]} pixels are more than were ever packed")
            return np.array(image)
    except Exception as error:  # Pillow raises errors of many types on what is no image
        raise DataError(f"{path}: cannot be read as an image ({in_short(error)}). {_REMEDY}") from error


_REMEDY = "Pack the dataset again with `nucseg prepare pack --overwrite`, or copy the folder again"


def _read_index(path: Path) -> dict[str, Any]:
    """The contents of packed.json, its keys checked."""
    index = read_json(path, _REMEDY)
    if not isinstance(index, dict) or "version" not in index:
        raise DataError(f"{path}: damaged (it has no version). {_REMEDY}")
    if index["version"] not in (VERSION, VERSION_WITH_MASKS):
        raise DataError(
            f"{path}: is version {in_short(repr(index['version']))} of the format, and this release of "
            f"nucseg_jax reads {VERSION} and {VERSION_WITH_MASKS}. Pack the dataset again with this release, "
            "or use the one that packed it"
        )
    known = index.get("metadata")
    has_one = index["version"] != VERSION or (isinstance(known, dict) and has_digest(known))
    if not is_as_written(index, DIGEST, has_one=has_one):
        raise DataError(f"{path}: damaged: its SHA-256 is not the one that was written. {_REMEDY}")
    try:
        entries = [e for split in index["splits"].values() for e in split]
        check_metadata(index["metadata"])
        whole = all(
            all(isinstance(text, str) for text in (e["id"], e["organ"], e.get("source", "")))
            and REQUIRED <= e["sha256"].keys()
            for e in entries
        )
        whole = whole and all(isinstance(text, str) for e in entries for text in e["sha256"].values())
        whole = whole and all(is_plain(e["id"]) for e in entries)
        whole = whole and all(set(e["sha256"]) <= set(SUFFIXES) for e in entries) and bool(entries)
        whole = whole and all(len(e["sha256"].keys() & set(MASKS)) in (0, len(MASKS)) for e in entries)
    except (KeyError, TypeError, AttributeError):
        whole = False
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}). {_REMEDY}") from error
    if not whole:
        raise DataError(
            f"{path}: damaged (splits, ids, organs, sources, SHA-256 or metadata miss). {_REMEDY}"
        )
    return index


def _path(folder: Path, kind: str, example_id: str) -> Path:
    return folder / kind / f"{example_id}{SUFFIXES[kind]}"
