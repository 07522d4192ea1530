"""Training images that lie in shards.

The records of a kind, such as `label_map`, are the files that a packed dataset without shards has. Beside
them there are `depth/` (8-bit PNG), and `unknown_depth/` (1 bit) of images that are annotated in part: what
training with `model.boundary=distance` is taught, which takes long to compute.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nucseg_jax.data.dataset import Example
from nucseg_jax.data.encoded import encode_png, encoded
from nucseg_jax.data.shards import Shards, ShardWriter
from nucseg_jax.data.stored import entry_of, stored_examples
from nucseg_jax.data.threads import in_threads


class Records:
    """Files that are records of shards (`stored.Place`): an example's entry has their numbers.

    Args:
      shards: that have them.
    """

    def __init__(self, shards: Shards):
        self._shards = shards

    def path(self, entry: Mapping[str, Any], kind: str) -> Path:
        return self._shards.path(kind, entry["records"][kind])

    def read(self, entry: Mapping[str, Any], kind: str) -> bytes:
        return self._shards.read(kind, entry["records"][kind])


def read(folder: Path, entries: Sequence[Mapping[str, Any]], per_shard: int, source: str) -> list[Example]:
    """The examples of a split that lies in shards (`stored.stored_examples`).

    Args:
      folder: of the packed dataset.
      entries: what packed.json says of them.
      per_shard: records a shard.
      source: of images whose entry names none.

    Raises:
      DataError: a shard is missing.
      MissingExtraError: ArrayRecord is not installed.
    """
    return stored_examples(entries, Records(Shards(folder, per_shard)), source)


def write(folder: Path, examples: Iterable[Example], per_shard: int) -> list[dict[str, Any]]:
    """Write examples into shards, a few at a time; returns their entries in packed.json.

    Args:
      folder: of the packed dataset.
      examples: their original images, which training does not look at, are left out.
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
    example = example.loaded()  # one that is read from files, too: each file is decoded once
    files = encoded(example, scored=False) | {"depth": encode_png(example.depth)}
    if example.unannotated is not None:
        files["unknown_depth"] = encode_png(example.unknown_depth)
    return entry_of(example, files), files
