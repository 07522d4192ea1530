"""`nucseg stain`: images → the same with the stains of a target."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nucseg_jax.cli.arguments import NoCrop, White


def stain(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="RGB images, of any format that predict reads; a folder stands for those directly in it.",
        ),
    ],
    target: Annotated[
        Path,
        typer.Option(
            help="An image of well-stained tissue whose colours the others get, or an earlier stain.json."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder; made if need be.")],
    method: Annotated[
        Literal["vahadane", "macenko", "reinhard", "identity"] | None,
        typer.Option(help="How. Default: vahadane, or that of stain.json."),
    ] = None,
    white: White = None,
    together: Annotated[
        bool,
        typer.Option(
            "--together",
            help="Estimate the colours once, over all images (the tiles of a slide, a cohort), not of each.",
        ),
    ] = False,
    no_crop: NoCrop = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are in DIR.")] = False,
) -> None:
    """Normalise stains: give images the colours of a target.

    Each image goes to DIR/NAME.png (.tif if it was a TIFF). DIR/stain.json records what was found and may be
    the --target of later runs. DIR/before_after.png shows the first images before and after.

    \b
    nucseg stain tiles/ --target good.png --out normalised
    """
    from nucseg_jax.cli.session import begin

    begin()
    from nucseg_jax.recolour.normalize_files import normalize_files

    normalize_files(
        images,
        target,
        out,
        method=method,
        together=together,
        white=white,
        crop=not no_crop,
        overwrite=overwrite,
    )
