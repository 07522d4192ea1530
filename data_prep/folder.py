"""Your own images as a TFDS dataset: ``python -m data_prep.folder --source DIR --out DIR --name NAME``.

A manifest says which images, and in which split (``--manifest``, or ``manifest.json`` in a source folder).
The images of a folder without one are all that it holds (layouts: `data_prep.sources`): those named with
``--test`` are in the test split, the others in the train split. With ``--no-test`` all are for training.

Several folders (``--source`` again) make one dataset. Its ids are unique over all folders. Each image has a
source: the one that its manifest says, else the name of its folder's manifest.json, else its folder's name.
In a dataset of one folder, images without a source have the dataset's name for it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nucseg_jax.data.dataset import TRAIN
from nucseg_jax.errors import DataError, UserError

from . import manifest, sources
from .builder import make_config
from .datasets import Folder
from .manifest import ImageEntry, Manifest
from .on_disk import build
from .plain_warnings import plain_warnings

MANIFEST = "manifest.json"
"""In a source folder: its images, their splits and organs."""


def prepare(
    folders: Sequence[Path],
    out: Path | None,
    *,
    name: str,
    test: Sequence[str],
    no_test: bool,
    manifest_file: Path | None,
    stain: str,
    size: int | None,
    mpp: float | None,
    white: int | None,
    stain_target: str | None,
    stain_backend: str,
    overwrite: bool,
    region_classes: Sequence[str] = (),
) -> None:
    """Prepare folders of images as one dataset, unless it is prepared; prints what was made.

    Args:
      folders: those with images and annotations, at least one.
      out: folder for prepared datasets; None: TFDS's.
      name: of the dataset.
      test: ids of the test images; empty with a manifest.
      no_test: no image is for testing.
      manifest_file: says which images are in which split; None: manifest.json in each folder that has one.
      stain: one of `normalize.METHODS`.
      size: side of the prepared images in pixels; None: each keeps its own.
      mpp: µm a pixel of the images as they are in `folders`; None: as their files say.
      white: the value that is white in images of 16 bits; None: as their pixels say.
      stain_target: training image whose stains the others get; None: the manifest's.
      stain_backend: one of `normalize.BACKENDS`.
      overwrite: do it again.
      region_classes: names of classes of regions in GeoJSON, besides Region*.

    Raises:
      UserError: a name that is none; files are missing or damaged; see `images_of`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"--name {name!r}: is no name. Use letters, digits, - and _, since a folder gets it")
    config = make_config(
        images_of(folders, manifest_file, test, name, stain_target, no_test=no_test),
        stain=stain,
        stain_backend=stain_backend,
        size=size,
        default_size=None,
        mpp=mpp,
        white=white,
        region_classes=region_classes,
    )
    with plain_warnings():
        build(lambda root: Folder(config=config, data_dir=root), out, folders, overwrite=overwrite)


def images_of(
    folders: Sequence[Path],
    manifest_file: Path | None,
    test: Sequence[str],
    name: str,
    stain_target: str | None,
    *,
    no_test: bool = False,
) -> Manifest:
    """The manifest the options ask for: a file's, or one made of what the source folders hold.

    Raises:
      DataError: see `manifest.load`; --test naming no image, or with manifests only; an empty split, unless a
        manifest or --no-test says so; --no-test, and a manifest has test images; a folder that is none, or
        is given twice; an id in several folders, or several folders of one name.
      UserError: both --test and --no-test.
    """
    if test and no_test:
        raise UserError("--test and --no-test exclude each other: name test images, or have none. Omit one")
    sources.check_folders(folders)
    files = [manifest_file] if manifest_file else [f / MANIFEST for f in folders if (f / MANIFEST).exists()]
    unlisted = [] if manifest_file else [f for f in folders if f / MANIFEST not in files]
    if test and not unlisted:
        raise DataError(f"{files[0]}: says which images are in the test split, so --test cannot. Omit one")
    if manifest_file:
        images = manifest.load(manifest_file)
        if len(folders) > 1:
            images = _with_folders_as_sources(images, folders)
    else:
        parts = {f: _all_images(f, test) if f in unlisted else manifest.load(f / MANIFEST) for f in folders}
        if unlisted:
            _check_known(test, unlisted, [entry.id for f in unlisted for entry in parts[f].images])
        images = _joined(parts) if len(parts) > 1 else parts[folders[0]]
    _check_splits(images, _shown(files or folders), unlisted=bool(unlisted), no_test=no_test)
    images = replace(images, name=name, stain_target=stain_target or images.stain_target)
    manifest.check(images, _shown([*files, *unlisted]))
    return images


def _all_images(folder: Path, test: Sequence[str]) -> Manifest:
    """The manifest of a folder that has none; its name is the folder's."""
    name = folder.resolve().name
    return Manifest(
        name=name,
        description=f"Images and annotations of the folder {name}.",
        stain_target="",
        images=tuple(
            ImageEntry(image_id, "test" if image_id in test else TRAIN, "unknown", "")
            for image_id in sources.scan(folder).ids()
        ),
    )


def _joined(parts: Mapping[Path, Manifest]) -> Manifest:
    """One manifest of those of several folders; its stain target is the first that one of them names."""
    ids = [entry.id for part in parts.values() for entry in part.images]
    sources.scan(*parts).check_unique(dict.fromkeys(ids))
    unnamed = {f: part for f, part in parts.items() if not all(entry.source for entry in part.images)}
    _check_names({folder: part.name for folder, part in unnamed.items()})
    return Manifest(
        name="",
        description=" ".join(part.description for part in parts.values()),
        stain_target=next((part.stain_target for part in parts.values() if part.stain_target), ""),
        images=tuple(
            replace(entry, source=entry.source or part.name)
            for part in parts.values()
            for entry in part.images
        ),
    )


def _with_folders_as_sources(images: Manifest, folders: Sequence[Path]) -> Manifest:
    """A manifest whose images have the names of the folders that they lie in, where it says no source."""
    found = sources.scan(*folders)
    homes = {entry.id: found.root_of(entry.id) for entry in images.images if not entry.source}
    names = {folder: folder.resolve().name for folder in homes.values() if folder is not None}
    _check_names(names)
    # An image that is in no folder is an error later on, in which all of them are listed.
    return replace(
        images,
        images=tuple(
            replace(entry, source=entry.source or names.get(homes[entry.id] or Path(), ""))
            for entry in images.images
        ),
    )


def _check_names(names: Mapping[Path, str]) -> None:
    """Raise DataError where two folders have one name: it would be the source of both's images."""
    by_name: dict[str, Path] = {}
    for folder, name in names.items():
        if name in by_name:
            raise DataError(
                f"{by_name[name]} and {folder}: are both named {name!r}, and the name is the source of their "
                "images. Rename one (in its manifest.json, if it has one), or say the source of each image "
                "in a --manifest"
            )
        by_name[name] = folder


def _check_known(test: Sequence[str], folders: Sequence[Path], ids: Sequence[str]) -> None:
    """Raise DataError where --test names an image that is none of `ids`, those without a manifest."""
    unknown = sorted(set(test) - set(ids))
    if unknown:
        raise DataError(
            f"{_shown(folders)}: --test names images that are not there: {', '.join(unknown)}. "
            f"There are: {', '.join(ids) or 'none'}"
        )


def _check_splits(images: Manifest, where: str, *, unlisted: bool, no_test: bool) -> None:
    """Raise DataError where a split is empty, or is not, though nobody has said so.

    Args:
      images: of the dataset.
      where: the files or folders that they are of, for the message.
      unlisted: some of them are in no manifest, which may have one split only.
      no_test: --no-test says that there is one split only.
    """
    count, total = len(images.images) - len(images.in_split(TRAIN)), len(images.images)
    if no_test and count:
        raise DataError(
            f"{where}: {count} of {total} images are not for training, so --no-test cannot be. Omit it, or "
            "put them in the split train"
        )
    if unlisted and not no_test and count in (0, total):
        raise DataError(
            f"{where}: {count} of {total} images are for testing; neither split may be empty. Name some, but "
            "not all, with --test ID, or write a manifest. To train on all images, give --no-test"
        )


def _shown(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def main(arguments: Sequence[str] | None = None) -> None:
    """`nucseg prepare folder`."""
    from nucseg_jax.cli import door

    door("prepare", "folder", arguments=arguments)


if __name__ == "__main__":
    main()
