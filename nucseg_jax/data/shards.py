"""Shards: many small files as records of a few large ones (ArrayRecord), each read by its number.

FOLDER/KIND/00000.array_record …    the records 0 … N - 1 of a kind, N … 2N - 1, …
"""

from pathlib import Path
from threading import Lock
from typing import Any

from nucseg_jax.data.encoded import REMEDY
from nucseg_jax.errors import DataError, MissingExtraError, in_short

_WRITTEN = "group_size:1,uncompressed"
"""A record for itself, which can be read without others. What it holds is compressed already."""

_READ = "readahead_buffer_size:0,max_parallelism:0"
"""Nothing is read ahead, and no threads are started: records are read in any order."""


def import_array_record() -> Any:
    """ArrayRecord's module.

    Raises:
      MissingExtraError: it is not installed.
    """
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise MissingExtraError("shards", error) from error
    return array_record_module


def path_of(folder: Path, kind: str, shard: int) -> Path:
    """The file of a shard."""
    return folder / kind / f"{shard:05d}.array_record"


class ShardWriter:
    """Writes records, shard after shard.

    Args:
      folder: that the folders of the kinds are made in.
      per_shard: records a shard.
    """

    def __init__(self, folder: Path, per_shard: int):
        self._module = import_array_record()
        self._folder, self._per_shard = folder, per_shard
        self._counts: dict[str, int] = {}
        self._open: dict[str, Any] = {}

    def add(self, kind: str, content: bytes) -> int:
        """Write a record; returns its number among those of its kind."""
        record = self._counts.get(kind, 0)
        shard, place = divmod(record, self._per_shard)
        if place == 0:
            self._close(kind)
            path = path_of(self._folder, kind, shard)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[kind] = self._module.ArrayRecordWriter(str(path), _WRITTEN)
        self._open[kind].write(content)
        self._counts[kind] = record + 1
        return record

    def close(self) -> None:
        """Complete all files; they cannot be read before."""
        for kind in list(self._open):
            self._close(kind)

    def _close(self, kind: str) -> None:
        if writer := self._open.pop(kind, None):
            writer.close()


class Shards:
    """Reads records. Several threads may do so at once.

    Args:
      folder: with the folders of the kinds.
      per_shard: records a shard.

    Raises:
      MissingExtraError: ArrayRecord is not installed.
    """

    def __init__(self, folder: Path, per_shard: int):
        self._module = import_array_record()
        self._folder, self._per_shard = folder, per_shard
        self._readers: dict[Path, Any] = {}
        self._opening = Lock()

    def read(self, kind: str, record: int) -> bytes:
        """The content of a record.

        Raises:
          DataError: it cannot be read; the message begins with the shard's name.
        """
        path = self.path(kind, record)
        try:
            (content,) = self._reader(path).read([record % self._per_shard])
        except (RuntimeError, ValueError, IndexError) as error:
            raise DataError(
                f"{path}: record {record % self._per_shard} cannot be read ({in_short(error)}). {REMEDY}"
            ) from error
        return bytes(content)

    def path(self, kind: str, record: int) -> Path:
        """The shard that has a record."""
        return path_of(self._folder, kind, record // self._per_shard)

    def _reader(self, path: Path) -> Any:
        with self._opening:
            if path not in self._readers:
                if not path.is_file():
                    raise DataError(f"{path}: this shard is missing. {REMEDY}")
                self._readers[path] = self._module.ArrayRecordReader(str(path), _READ)
            return self._readers[path]
