"""Examples whose files are read when their pixels are asked for, and not kept.

What packed.json says of them, their entry, is enough for all that is checked before work begins: sizes,
numbers of nuclei and of unannotated pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nucseg_jax.data.dataset import Example
from nucseg_jax.data.encoded import REMEDY, SUFFIXES, check_kind, decoded, digest
from nucseg_jax.errors import DataError


class Place(Protocol):
    """Where files lie: as they are, or in shards."""

    def path(self, entry: Mapping[str, Any], kind: str) -> Path:
        """The file on the disk that has a file of an example."""

    def read(self, entry: Mapping[str, Any], kind: str) -> bytes:
        """A file of an example; DataError where it cannot be read."""


class Files:
    """Files as they are: KIND/ID.SUFFIX.

    Args:
      folder: with the folders of the kinds.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, entry: Mapping[str, Any], kind: str) -> Path:
        return self.folder / kind / f"{entry['id']}{SUFFIXES[kind]}"

    def read(self, entry: Mapping[str, Any], kind: str) -> bytes:
        path = self.path(entry, kind)
        try:
            return path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}). {REMEDY}") from error


class StoredExample(Example):
    """An example whose pixels are read and decoded each time that they are asked for.

    Each of them may raise DataError: the file is missing, or is not the one that was written.

    Args:
      entry: what packed.json says of it.
      place: where its files lie.
      source: where the entry names none.
    """

    _entry: Mapping[str, Any]
    _place: Place

    def __init__(self, entry: Mapping[str, Any], place: Place, source: str):
        for name, value in {
            "id": entry["id"],
            "organ": entry["organ"],
            "source": entry.get("source", source),
            "_entry": entry,
            "_place": place,
        }.items():
            object.__setattr__(self, name, value)  # the class is frozen

    def _read(self, kind: str, size: tuple[int, int]) -> np.ndarray:
        name = f"{self._place.path(self._entry, kind)}: {self.id}"
        pixels = decoded(name, self._place.read(self._entry, kind), self._entry["sha256"][kind])
        check_kind(name, kind, pixels)
        if pixels.shape[:2] != size:
            raise DataError(
                f"{name}: its {kind} is {pixels.shape[:2]}, and packed.json says {size}. {REMEDY}"
            )
        return pixels

    def _read_if_there(self, kind: str, size: tuple[int, int]) -> np.ndarray | None:
        return self._read(kind, size) if kind in self._entry["sha256"] else None

    @property
    def image(self) -> np.ndarray:
        return self._read("image", self.size)

    @property
    def label_map(self) -> np.ndarray:
        return self._read("label_map", self.size).astype(np.int32)

    @property
    def original_image(self) -> np.ndarray | None:
        return self._read_if_there("original_image", self.original_size)

    @property
    def original_label_map(self) -> np.ndarray:
        return self._read("original_label_map", self.original_size).astype(np.int32)

    @property
    def unannotated(self) -> np.ndarray | None:
        return self._read_if_there("unannotated", self.size)

    @property
    def original_unannotated(self) -> np.ndarray | None:
        return self._read_if_there("original_unannotated", self.original_size)

    @property
    def depth(self) -> np.ndarray:
        stored = self._read_if_there("depth", self.size)
        return self.loaded().depth if stored is None else stored

    @property
    def unknown_depth(self) -> np.ndarray:
        stored = self._read_if_there("unknown_depth", self.size)
        return self.loaded().unknown_depth if stored is None else stored

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
        return "original_image" in self._entry["sha256"]

    def loaded(self) -> Example:
        return Example(**{field.name: getattr(self, field.name) for field in fields(Example)})


def stored_examples(entries: Sequence[Mapping[str, Any]], place: Place, source: str) -> list[Example]:
    """The examples of a split; nothing of them is read but whether their files are there.

    Args:
      entries: what packed.json says of them.
      place: where their files lie.
      source: of images whose entry names none.

    Raises:
      DataError: a file is missing.
    """
    needed = {place.path(entry, kind) for entry in entries for kind in entry["sha256"]}
    if missing := sorted(path for path in needed if not path.is_file()):
        raise DataError(f"{missing[0]}: is missing ({len(missing)} of {len(needed)} files are). {REMEDY}")
    return [StoredExample(entry, place, source) for entry in entries]


def entry_of(example: Example, files: Mapping[str, bytes]) -> dict[str, Any]:
    """What packed.json says of an example.

    Args:
      example: in memory.
      files: that are written of it, by what they hold.
    """
    return {
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
