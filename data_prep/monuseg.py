"""MoNuSeg as a TFDS dataset: ``python -m data_prep.monuseg --source DIR --out DIR``.

Importing this module also registers it with TFDS:
``tfds.load("monuseg/paper_none", download_and_prepare_kwargs=...)`` with the source as manual folder.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from data_prep import manifest
from data_prep.builder import NucleiBuilder, add_arguments, build, make_config, positive, run
from data_prep.normalize import METHODS

SIZE = 1024  # the paper's: four 512 x 512 tiles an image


class Monuseg(NucleiBuilder):
    """H&E images of seven organs with every nucleus outlined (Kumar et al., IEEE TMI 36(7), 2017).

    Configs are named SPLIT_STAIN: a manifest of `data_prep/splits` and a stain normalisation.
    """

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Download MoNuSeg from https://monuseg.grand-challenge.org/Data/ and give the folder that holds "
        "'Tissue Images' and 'Annotations'. Licence of the data: CC BY-NC-SA 4.0."
    )
    BUILDER_CONFIGS = [
        make_config(manifest.load(path), stain=stain, size=SIZE, default_size=SIZE)
        for path in manifest.committed().values()
        for stain in METHODS
    ]


class _AsAsked(Monuseg, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
    """Monuseg with any target and backend: TFDS takes no other config under the name of a listed one."""

    name = "monuseg"
    BUILDER_CONFIGS = []


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see ``--help``."""
    parser = argparse.ArgumentParser(prog="data_prep.monuseg", description="Prepare MoNuSeg.")
    add_arguments(parser)
    parser.add_argument("--split", choices=manifest.committed(), default="paper")
    parser.add_argument("--stain", choices=METHODS, default="vahadane")
    parser.add_argument(
        "--size", type=positive, default=SIZE, help=f"side of the images in pixels (default: {SIZE})"
    )
    args = parser.parse_args(arguments)
    run(lambda: _prepare(args))


def _prepare(args: argparse.Namespace) -> None:
    images = manifest.load(manifest.committed()[args.split])
    if args.stain_target:
        images = replace(images, stain_target=args.stain_target)
        manifest.check(images, f"--stain-target {args.stain_target}")
    config = make_config(
        images,
        stain=args.stain,
        stain_backend=args.stain_backend,
        size=args.size,
        default_size=SIZE,
        mpp=args.mpp,
    )
    build(lambda: _AsAsked(config=config, data_dir=args.out), args.source, overwrite=args.overwrite)


if __name__ == "__main__":
    main()
