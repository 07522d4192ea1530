"""Your own images as a TFDS dataset: ``python -m data_prep.folder --source DIR --out DIR --name NAME``.

Which images, and in which split, says a manifest (``--manifest``, or ``manifest.json`` in the source
folder); without one they are all that the folder holds (layouts: `data_prep.sources`), those named with
``--test`` in the test split, the others in the train split.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nucseg_jax.errors import DataError, UserError

from . import manifest, sources
from .builder import make_config
from .datasets import Folder
from .manifest import ImageEntry, Manifest
from .on_disk import build
from .plain_warnings import plain_warnings


def prepare(
    source: Path,
    out: Path | None,
    *,
    name: str,
    test: Sequence[str],
    manifest_file: Path | None,
    stain: str,
    size: int | None,
    mpp: float | None,
    stain_target: str | None,
    stain_backend: str,
    overwrite: bool,
) -> None:
    """Prepare a folder of images, unless it is prepared; prints what was made.

    Args:
      source: folder with images and annotations.
      out: folder for prepared datasets; None: TFDS's.
      name: of the dataset.
      test: ids of the test images; empty with a manifest.
      manifest_file: says which images are in which split; None: manifest.json in `source`, if there.
      stain: one of `normalize.METHODS`.
      size: side of the prepared images in pixels; None: each keeps its own.
      mpp: µm a pixel of the images as they are in `source`; None: as their files say.
      stain_target: training image whose stains the others get; None: the manifest's.
      stain_backend: one of `normalize.BACKENDS`.
      overwrite: do it again.

    Raises:
      UserError: a name that is none; files are missing or damaged; see `images_of`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise UserError(f"--name {name!r}: is no name. Use letters, digits, - and _, since a folder gets it")
    config = make_config(
        images_of(source, manifest_file, test, name, stain_target),
        stain=stain,
        stain_backend=stain_backend,
        size=size,
        default_size=None,
        mpp=mpp,
    )
    with plain_warnings():
        build(lambda: Folder(config=config, data_dir=out), source, overwrite=overwrite)


def images_of(
    source: Path, manifest_file: Path | None, test: Sequence[str], name: str, stain_target: str | None
) -> Manifest:
    """The manifest the options ask for: a file's, or one made of what the source folder holds.

    Raises:
      DataError: see `manifest.load`; --test with a manifest, or naming no image; an empty split.
    """
    found = source / "manifest.json"
    path = manifest_file or (found if found.exists() else None)
    if path and test:
        raise DataError(f"{path}: says which images are in the test split, so --test cannot. Omit one")
    images = manifest.load(path) if path else _all_images(source, test)
    images = replace(images, name=name, stain_target=stain_target or images.stain_target)
    manifest.check(images, str(path or source))
    return images


def _all_images(folder: Path, test: Sequence[str]) -> Manifest:
    ids = sources.scan(folder).ids()
    unknown = sorted(set(test) - set(ids))
    if unknown:
        raise DataError(
            f"{folder}: --test names images that are not there: {', '.join(unknown)}. "
            f"There are: {', '.join(ids) or 'none'}"
        )
    if not test or len(set(test)) == len(ids):
        raise DataError(
            f"{folder}: {len(set(test))} of {len(ids)} images are for testing; neither split may be "
            "empty. Name some, but not all, with --test ID, or write a manifest"
        )
    return Manifest(
        name="",
        description=f"Images and annotations of the folder {folder.resolve().name}.",
        stain_target="",
        images=tuple(
            ImageEntry(image_id, "test" if image_id in test else "train", "unknown", "") for image_id in ids
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """`nucseg prepare folder`."""
    from nucseg_jax.cli import door

    door("prepare", "folder", arguments=arguments)


if __name__ == "__main__":
    main()
