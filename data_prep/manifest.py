"""Manifests: which images make up a dataset, in which split, with which pixels."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nucseg_jax.errors import DataError, in_short
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.names import is_plain

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
    content = read_json(Path(path), "A manifest is a JSON file: data_prep/splits has some to copy")
    images = _object(content, Manifest, str(path)).pop("images")
    if not isinstance(images, list) or not images:
        raise DataError(f"{path}: images must be a list with at least one image. {_EXAMPLES}")
    entries = [_object(image, ImageEntry, f"{path}: images[{i}]") for i, image in enumerate(images)]
    header = {key: value for key, value in content.items() if key != "images"}
    manifest = Manifest(**header, images=tuple(ImageEntry(**entry) for entry in entries))
    check(manifest, str(path))
    return manifest


def check(manifest: Manifest, where: str) -> None:
    """Raise a DataError that starts with `where` unless the manifest makes sense."""
    repeated = _repeated(entry.id for entry in manifest.images)
    if repeated:
        names = in_short(", ".join(repeated))
        raise DataError(f"{where}: ids appear more than once: {names}. Keep one of each")
    for entry in manifest.images:
        if not is_plain(entry.id):
            raise DataError(
                f"{where}: id {in_short(repr(entry.id))} is no file name. Use the image's, no suffix"
            )
        if not re.fullmatch(r"[a-z][a-z0-9_]*", entry.split):
            raise DataError(
                f"{where}: {entry.id}: split {in_short(repr(entry.split))} is no name. Use one like train or "
                "test_same"
            )
        if not re.fullmatch(r"([0-9a-f]{64})?", entry.sha256):
            raise DataError(
                f"{where}: {entry.id}: sha256 {in_short(repr(entry.sha256))} is not 64 lower-case hex "
                "digits. Leave it empty if you don't know it"
            )
    train = {entry.id for entry in manifest.in_split("train")}
    if not train:
        raise DataError(
            f"{where}: no image is in the split train (splits: {in_short(', '.join(manifest.splits))}). Put "
            "some images into it"
        )
    if manifest.stain_target and manifest.stain_target not in train:
        raise DataError(
            f"{where}: stain_target {in_short(repr(manifest.stain_target))} is not one of the {len(train)} "
            "training images. Choose one of them: a test image must not shape the training images"
        )


def committed() -> dict[str, Path]:
    """The manifests in `data_prep/splits`, by name."""
    return {path.stem: path for path in sorted(SPLITS_FOLDER.glob("*.json"))}


_EXAMPLES = "data_prep/splits has manifests to copy from"


def _object(value: Any, kind: type, where: str) -> dict[str, Any]:
    """A copy of a JSON object that has the keys of a dataclass; all but `images` are strings.

    Keys whose field has a default may be missing.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: must be an object, not a {type(value).__name__}. {_EXAMPLES}")
    known = {field.name for field in fields(kind)}
    needed = {field.name for field in fields(kind) if field.default is MISSING}
    problems = [f"unknown key {key!r}" for key in sorted(value.keys() - known)]
    problems += [f"missing key {key!r}" for key in sorted(needed - value.keys())]
    if problems:
        raise DataError(
            f"{where}: {in_short(', '.join(problems))}. The keys must be {', '.join(sorted(known))}"
        )
    for key in value.keys() - {"images"}:
        if not isinstance(value[key], str):
            raise DataError(f"{where}: {key} must be a string, not {in_short(repr(value[key]))}")
    return dict(value)


def _repeated(values: Iterable[str]) -> list[str]:
    return sorted(value for value, count in Counter(values).items() if count > 1)
