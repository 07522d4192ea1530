"""`nucseg prepare cut`: slides and their annotated regions → images with annotations."""

from pathlib import Path
from typing import Annotated

import typer

from nucseg_jax.cli.arguments import RESOLUTION, NoCrop, Overwrite, RegionClass, SlideMpp, White
from nucseg_jax.cli.preparing import module_of


def cut(
    slides: Annotated[
        list[Path], typer.Argument(metavar="SLIDE", help="Slides, images, or folders of them.")
    ],
    annotations: Annotated[
        Path,
        typer.Option(
            metavar="FILE|FOLDER",
            help="GeoJSON of the slide, as QuPath exports it; or a folder that has SLIDE.geojson of each.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to make: the --source of nucseg prepare folder.")
    ],
    margin_um: Annotated[
        float,
        typer.Option(
            metavar="UM",
            help="Tissue around a region that is cut out with it, for training patches to reach into.",
        ),
    ] = 32.0,
    region_class: RegionClass = None,
    mpp: SlideMpp = None,
    to_mpp: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="µm a pixel of the images that are written, such as what the network sees (he 0.25, he-fast "
            "0.5). Default: the slide's.",
            rich_help_panel=RESOLUTION,
        ),
    ] = None,
    white: White = None,
    no_crop: NoCrop = False,
    overwrite: Overwrite = False,
) -> None:
    """Cut the annotated regions out of whole slides, for `prepare folder`.

    \b
    Regions are what `prepare folder` takes for regions: annotations of the
    class Region*. Each becomes SLIDE_1.tif, SLIDE_2.tif, … with its objects
    beside it as GeoJSON. Regions that lie close together share an image.

    \b
    nucseg prepare cut slide.svs --annotations regions.geojson --out CROPS
    nucseg prepare folder --source CROPS --name mine --no-test
    """
    module_of("cut").cut(
        slides,
        annotations,
        out,
        margin_um=margin_um,
        region_classes=region_class or (),
        mpp=mpp,
        to_mpp=to_mpp,
        white=white,
        crop=not no_crop,
        overwrite=overwrite,
    )
