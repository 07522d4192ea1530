"""Your own images as a TFDS dataset: ``python -m data_prep.folder --source DIR --out DIR --name NAME``.

Which images, and in which split, says a manifest (``--manifest``, or ``manifest.json`` in the source
folder); without one they are all that the folder holds (layouts: `data_prep.sources`), those named with
``--test`` in the test split, the others in the train split.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from data_prep import manifest, sources
from data_prep.builder import NucleiBuilder, add_arguments, build, make_config, positive, run
from data_prep.manifest import ImageEntry, Manifest
from data_prep.normalize import METHODS
from nucseg_jax.errors import DataError


class Folder(NucleiBuilder):
    """H&E images with every nucleus labelled, from a folder. Configs are made by the command."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Give the folder with images and annotations; see data_prep.sources."


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see ``--help``."""
    parser = argparse.ArgumentParser(
        prog="data_prep.folder",
        description=__doc__.partition("\n\n")[2],
    )
    add_arguments(parser)
    parser.add_argument("--name", type=_name, required=True, help="of the dataset")
    parser.add_argument(
        "--manifest", type=Path, help="a JSON file (default: manifest.json in --source, if there)"
    )
    parser.add_argument(
        "--test",
        action="extend",
        nargs="+",
        metavar="ID",
        default=[],
        help="test images (without a manifest)",
    )
    parser.add_argument("--stain", choices=METHODS, default="none")
    parser.add_argument(
        "--size", type=positive, help="side of the images in pixels (default: keep each one's own)"
    )
    args = parser.parse_args(arguments)
    run(lambda: _prepare(args))


def images_of(args: argparse.Namespace) -> Manifest:
    """The manifest the options ask for: a file's, or one made of what the source folder holds.

    Raises:
      DataError: see `manifest.load`; --test with a manifest, or naming no image; an empty split.
    """
    found = args.source / "manifest.json"
    path = args.manifest or (found if found.exists() else None)
    if path and args.test:
        raise DataError(f"{path}: says which images are in the test split, so --test cannot. Omit one")
    images = manifest.load(path) if path else _all_images(args.source, args.test)
    images = replace(images, name=args.name, stain_target=args.stain_target or images.stain_target)
    manifest.check(images, str(path or args.source))
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


def _prepare(args: argparse.Namespace) -> None:
    config = make_config(
        images_of(args),
        stain=args.stain,
        stain_backend=args.stain_backend,
        size=args.size,
        default_size=None,
        mpp=args.mpp,
    )
    build(lambda: Folder(config=config, data_dir=args.out), args.source, overwrite=args.overwrite)


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name: use letters, digits, - and _, since a folder gets it"
        )
    return text


if __name__ == "__main__":
    main()
