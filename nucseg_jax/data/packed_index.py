"""packed.json: what a packed dataset says of its files, checked when it is read.

In version 3 the training images lie in shards (`sharded`), and nothing but this file is read before an image
is asked for: an entry has its image's sizes, numbers of nuclei and of unannotated pixels, and where it lies
in shards, the number of each file's record. Readers of earlier releases know versions 1 and 2 alone, and say
so. What entries of these have beside files' digests is for people.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nucseg_jax.data.dataset import MASKS, TRAIN
from nucseg_jax.data.encoded import LARGEST_SIDE, REMEDY, REQUIRED, SUFFIXES
from nucseg_jax.data.json_values import is_as_written, sha256_of
from nucseg_jax.data.metadata import check as check_metadata
from nucseg_jax.data.metadata import has_digest
from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.files import write_text
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.names import is_plain

INDEX = "packed.json"
VERSION = 1
VERSION_WITH_MASKS = 2
"""Of folders with images that are annotated in part: a release that knows no masks must not read them."""
VERSION_WITH_SHARDS = 3
"""Of folders whose training images lie in shards."""

DIGEST = "sha256"
"""In the index: the digest of what else it holds."""

PER_SHARD = "images_per_shard"
"""In an index of version 3: how many records of a kind a shard has; the last one may have fewer."""

SHARDED = {*SUFFIXES, "depth", "unknown_depth"}
"""What records hold."""

_COUNTS = ("nuclei", "unannotated_px", "original_unannotated_px")


def write_index(
    folder: Path, splits: Mapping[str, Any], metadata: Mapping[str, Any], *, per_shard: int | None
) -> None:
    """Write packed.json.

    Args:
      folder: of the dataset.
      splits: by split the entries of its images.
      metadata: how it was prepared.
      per_shard: how many records of a kind a shard has; None: there are no shards.
    """
    entries = [entry for split in splits.values() for entry in split]
    masked = any(set(MASKS) & entry["sha256"].keys() for entry in entries)
    version = VERSION_WITH_MASKS if masked else VERSION
    index: dict[str, Any] = {"version": version, "splits": splits, "metadata": metadata}
    if per_shard is not None:
        index |= {"version": VERSION_WITH_SHARDS, PER_SHARD: per_shard}
    index[DIGEST] = sha256_of(index, DIGEST)
    write_text(folder / INDEX, json.dumps(index, indent=1) + "\n")


def read_index(path: Path) -> dict[str, Any]:
    """The contents of packed.json, its keys checked.

    Raises:
      DataError: it is damaged, or of a version that this release does not know.
    """
    index = read_json(path, REMEDY)
    if not isinstance(index, dict) or "version" not in index:
        raise DataError(f"{path}: damaged (it has no version). {REMEDY}")
    if index["version"] not in (VERSION, VERSION_WITH_MASKS, VERSION_WITH_SHARDS):
        raise DataError(
            f"{path}: is version {in_short(repr(index['version']))} of the format, and this release of "
            f"nucseg_jax reads {VERSION}, {VERSION_WITH_MASKS} and {VERSION_WITH_SHARDS}. Pack the dataset "
            "again with this release, or use the one that packed it"
        )
    known = index.get("metadata")
    has_one = index["version"] != VERSION or (isinstance(known, dict) and has_digest(known))
    if not is_as_written(index, DIGEST, has_one=has_one):
        raise DataError(f"{path}: damaged: its SHA-256 is not the one that was written. {REMEDY}")
    try:
        check_metadata(index["metadata"])
        whole = _is_whole(index)
    except (KeyError, TypeError, AttributeError):
        whole = False
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}). {REMEDY}") from error
    if not whole:
        raise DataError(f"{path}: damaged (splits, ids, organs, sources, SHA-256 or metadata miss). {REMEDY}")
    return index


def _is_whole(index: Mapping[str, Any]) -> bool:
    """Whether all entries say what they should."""
    splits = index["splits"]
    entries = [e for split in splits.values() for e in split]
    if not (entries and all(_names_files(e) for e in entries)):
        return False
    if index["version"] != VERSION_WITH_SHARDS:
        return all(e["sha256"].keys() <= SUFFIXES.keys() for e in entries)
    files = [e for split in splits if split != TRAIN for e in splits[split]]
    return (
        _is_count(index[PER_SHARD], least=1)
        and all(_tells_sizes(e) for e in entries)
        and all(e["sha256"].keys() <= SUFFIXES.keys() for e in files)
        and all(_tells_records(e) for e in splits[TRAIN])
    )


def _names_files(entry: Mapping[str, Any]) -> bool:
    texts = (entry["id"], entry["organ"], entry.get("source", ""), *entry["sha256"].values())
    kinds = entry["sha256"].keys()
    return (
        all(isinstance(text, str) for text in texts)
        and is_plain(entry["id"])
        and kinds >= REQUIRED
        and len(kinds & set(MASKS)) in (0, len(MASKS))
    )


def _tells_sizes(entry: Mapping[str, Any]) -> bool:
    """Whether an entry tells the sizes and the counts of its image."""
    sides = [*entry["size"], *entry["original_size"]]
    return (
        len(entry["size"]) == len(entry["original_size"]) == 2
        and all(_is_count(side, least=1) and side <= LARGEST_SIDE for side in sides)
        and all(_is_count(entry[key]) for key in _COUNTS)
    )


def _tells_records(entry: Mapping[str, Any]) -> bool:
    """Whether the entry of an image in shards tells its records."""
    kinds, records = entry["sha256"].keys(), entry["records"]
    return (
        REQUIRED | {"depth"} <= kinds <= SHARDED
        and ("unknown_depth" in kinds) == ("unannotated" in kinds)
        and records.keys() == kinds
        and all(_is_count(record) for record in records.values())
    )


def _is_count(value: object, *, least: int = 0) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
