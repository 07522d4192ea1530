"""Training images that lie in shards: a file of an image is read when its pixels are asked for, and not kept.

The records of a kind, such as `label_map`, are the files that a packed dataset without shards has. Beside
them there are `depth/` (8-bit PNG), and `unknown_depth/` (1 bit) of images that are annotated in part: what
training with `model.boundary=distance` is taught, which takes long to compute.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nucseg_jax.data.dataset import Example
from nucseg_jax.data.encoded import REMEDY, check_kind, decoded, digest, encode_png, encoded
from nucseg_jax.data.shards import Shards, ShardWriter
from nucseg_jax.data.threads import in_threads
from nucseg_jax.errors import DataError


class ShardedExample(Example):
    """An example whose pixels are read and decoded each time that they are asked for, and not kept.

    Each of them may raise DataError: the record is damaged, or is not the one that was written.

    Args:
      entry: what packed.json says of it.
      shards: that it lies in.
      source: where the entry names none.
    """

    _entry: Mapping[str, Any]
    _shards: Shards

    def __init__(self, entry: Mapping[str, Any], shards: Shards, source: str):
        for name, value in {
            "id": entry["id"],
            "organ": entry["organ"],
            "source": entry.get("source", source),
            "_entry": entry,
            "_shards": shards,
        }.items():
            object.__setattr__(self, name, value)  # the class is frozen

    def _read(self, kind: str, size: tuple[int, int]) -> np.ndarray:
        record = self._entry["records"][kind]
        name = f"{self._shards.path(kind, record)}: {self.id}"
        pixels = decoded(name, self._shards.read(kind, record), self._entry["sha256"][kind])
        check_kind(name, kind, pixels)
        if pixels.shape[:2] != size:
            raise DataError(
                f"{name}: its {kind} is {pixels.shape[:2]}, and packed.json says {size}. {REMEDY}"
            )
        return pixels

    def _mask(self, kind: str, size: tuple[int, int]) -> np.ndarray | None:
        return self._read(kind, size) if kind in self._entry["records"] else None

    @property
    def image(self) -> np.ndarray:
        return self._read("image", self.size)

    @property
    def label_map(self) -> np.ndarray:
        return self._read("label_map", self.size).astype(np.int32)

    @property
    def original_image(self) -> None:
        return None

    @property
    def original_label_map(self) -> np.ndarray:
        return self._read("original_label_map", self.original_size).astype(np.int32)

    @property
    def unannotated(self) -> np.ndarray | None:
        return self._mask("unannotated", self.size)

    @property
    def original_unannotated(self) -> np.ndarray | None:
        return self._mask("original_unannotated", self.original_size)

    @property
    def depth(self) -> np.ndarray:
        return self._read("depth", self.size)

    @property
    def unknown_depth(self) -> np.ndarray:
        mask = self._mask("unknown_depth", self.size)
        return np.zeros(self.size, bool) if mask is None else mask

    @property
    def size(self) -> tuple[int, int]:
        height, width = self._entry["size"]
        return height, width

    @property
    def original_size(self) -> tuple[int, int]:
        height, width = self._entry["original_size"]
        return height, width

    @property
    def nuclei(self) -> int:
        return int(self._entry["nuclei"])

    @property
    def has_nuclei(self) -> bool:
        return self.nuclei > 0

    @property
    def unannotated_px(self) -> int:
        return int(self._entry["unannotated_px"])

    @property
    def original_unannotated_px(self) -> int:
        return int(self._entry["original_unannotated_px"])

    @property
    def in_memory(self) -> bool:
        return False

    @property
    def has_original(self) -> bool:
        return False

    def loaded(self) -> Example:
        return Example(**{field.name: getattr(self, field.name) for field in fields(Example)})


def read(folder: Path, entries: Sequence[Mapping[str, Any]], per_shard: int, source: str) -> list[Example]:
    """The examples of a split that lies in shards; nothing of them is read but whether the shards are there.

    Args:
      folder: of the packed dataset.
      entries: what packed.json says of them.
      per_shard: records a shard.
      source: of images whose entry names none.

    Raises:
      DataError: a shard is missing.
      MissingExtraError: ArrayRecord is not installed.
    """
    shards = Shards(folder, per_shard)
    needed = {shards.path(kind, record) for e in entries for kind, record in e["records"].items()}
    if missing := sorted(path for path in needed if not path.is_file()):
        raise DataError(
            f"{missing[0]}: this shard is missing ({len(missing)} of {len(needed)} are). {REMEDY}"
        )
    return [ShardedExample(entry, shards, source) for entry in entries]


def write(folder: Path, examples: Iterable[Example], per_shard: int) -> list[dict[str, Any]]:
    """Write examples into shards, a few at a time; returns their entries in packed.json.

    Args:
      folder: of the packed dataset.
      examples: without their original images, which training does not look at.
      per_shard: records a shard.

    Raises:
      DataError: the format cannot hold an example.
      MissingExtraError: ArrayRecord is not installed.
    """
    writer = ShardWriter(folder, per_shard)
    entries = []
    try:
        for entry, files in in_threads(_entry_and_files, examples):
            records = {kind: writer.add(kind, content) for kind, content in files.items()}
            entries.append({**entry, "records": records})
    finally:
        writer.close()
    return entries


def _entry_and_files(example: Example) -> tuple[dict[str, Any], dict[str, bytes]]:
    example = example.loaded()  # of shards, too: each file is decoded once
    files = encoded(example, scored=False) | {"depth": encode_png(example.depth)}
    if example.unannotated is not None:
        files["unknown_depth"] = encode_png(example.unknown_depth)
    entry = {
        "id": example.id,
        "organ": example.organ,
        "source": example.source,
        "size": example.size,
        "original_size": example.original_size,
        "nuclei": example.nuclei,
        "unannotated_px": example.unannotated_px,
        "original_unannotated_px": example.original_unannotated_px,
        "sha256": {kind: digest(content) for kind, content in files.items()},
    }
    return entry, files
