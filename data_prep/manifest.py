"""Manifests: which images make up a dataset, in which split, with which pixels."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nucseg_jax.errors import DataError

SPLITS_FOLDER = Path(__file__).parent / "splits"


@dataclass(frozen=True)
class ImageEntry:
    """One image.

    Attributes:
      sha256: of its decoded RGB bytes (`images.pixel_sha256`), or empty if not known.
      source: where it is from, such as "monuseg"; empty: the name of the dataset is its source.
    """

    id: str
    split: str
    organ: str
    sha256: str
    source: str = ""

    def to_json(self) -> dict[str, str]:
        """What `load` reads; without an empty source, as manifests of earlier releases are."""
        return {key: value for key, value in asdict(self).items() if key != "source" or value}


@dataclass(frozen=True)
class Manifest:
    """The images of a dataset; `stain_target` is the id the others are normalised to, or empty."""

    name: str
    description: str
    stain_target: str
    images: tuple[ImageEntry, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits, in the order of their first image."""
        return tuple(dict.fromkeys(entry.split for entry in self.images))

    def in_split(self, split: str) -> tuple[ImageEntry, ...]:
        """The images of one split, in the order of the file."""
        return tuple(entry for entry in self.images if entry.split == split)

    def to_json(self) -> dict[str, Any]:
        """What `load` reads, as plain dicts and lists."""
        return {**asdict(self), "images": [entry.to_json() for entry in self.images]}


def load(path: str | os.PathLike[str]) -> Manifest:
    """Read and check a manifest.

    Args:
      path: a JSON file with the keys of `Manifest`; `images` is a list of objects with those of
        `ImageEntry`, all of them strings. `source` may be left out.

    Raises:
      DataError: the file is missing or no JSON; a key is unknown, missing or no string; an id appears
        twice; the stain target is no training image; there is no `train` split.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot read the manifest: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: not a JSON file ({error})") from error
    images = _object(content, Manifest, str(path)).pop("images")
    if not isinstance(images, list) or not images:
        raise DataError(f"{path}: images must be a list with at least one image")
    entries = [_object(image, ImageEntry, f"{path}: images[{i}]") for i, image in enumerate(images)]
    header = {key: value for key, value in content.items() if key != "images"}
    manifest = Manifest(**header, images=tuple(ImageEntry(**entry) for entry in entries))
    check(manifest, str(path))
    return manifest


def check(manifest: Manifest, where: str) -> None:
    """Raise a DataError that starts with `where` unless the manifest makes sense."""
    repeated = _repeated(entry.id for entry in manifest.images)
    if repeated:
        raise DataError(f"{where}: ids appear more than once: {', '.join(repeated)}. Keep one of each")
    for entry in manifest.images:
        if not re.fullmatch(r"[^/\\\0]+", entry.id):
            raise DataError(f"{where}: id {entry.id!r} is no file name. Use the image's, no suffix")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", entry.split):
            raise DataError(f"{where}: {entry.id}: split {entry.split!r} is no name like train or test_same")
        if not re.fullmatch(r"([0-9a-f]{64})?", entry.sha256):
            raise DataError(
                f"{where}: {entry.id}: sha256 {entry.sha256!r} is not 64 lower-case hex digits. "
                "Leave it empty if you don't know it"
            )
    train = {entry.id for entry in manifest.in_split("train")}
    if not train:
        raise DataError(f"{where}: no image has the split train; splits: {manifest.splits}")
    if manifest.stain_target and manifest.stain_target not in train:
        raise DataError(
            f"{where}: stain_target {manifest.stain_target!r} is not one of the {len(train)} training "
            "images. Choose one of them: a test image must not shape the training images"
        )


def committed() -> dict[str, Path]:
    """The manifests in `data_prep/splits`, by name."""
    return {path.stem: path for path in sorted(SPLITS_FOLDER.glob("*.json"))}


def _object(value: Any, kind: type, where: str) -> dict[str, Any]:
    """A copy of a JSON object that has the keys of a dataclass; all but `images` are strings.

    Keys whose field has a default may be missing.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object, found {type(value).__name__}")
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    problems = [f"unknown key {key!r}" for key in sorted(value.keys() - known)]
    problems += [f"missing key {key!r}" for key in sorted(needed - value.keys())]
    if problems:
        raise DataError(f"{where}: {', '.join(problems)}. The keys are {', '.join(sorted(known))}")
    for key in value.keys() - {"images"}:
        if not isinstance(value[key], str):
            raise DataError(f"{where}: {key} must be a string, not {value[key]!r}")
    return dict(value)


def _repeated(values: Iterable[str]) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count > 1)
