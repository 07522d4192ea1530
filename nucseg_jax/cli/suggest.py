"""`nucseg suggest`: slides → regions that are worth annotating."""

from pathlib import Path
from typing import Annotated

import typer

from nucseg_jax.cli.arguments import NoCrop, SlideMpp, White

_WORK = "Work"


def suggest(
    slides: Annotated[
        list[Path],
        typer.Argument(metavar="SLIDE", help="Slides, images, or folders of them."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE|FOLDER",
            help="FILE.geojson for one slide; or a folder, which gets SLIDE.geojson of each.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The model that is to learn: an installed one (nucseg models), or a file of one. "
            "Default: he.",
        ),
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A trained run's folder, in place of a model.")
    ] = None,
    regions: Annotated[int, typer.Option(metavar="N", help="How many regions of each slide.")] = 8,
    size_um: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="Side of a region. Default: 256 pixels of the network: 64 µm with he, 128 µm with he-fast.",
        ),
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Regions lie in these annotations only: GeoJSON, as QuPath exports them. For one slide.",
        ),
    ] = None,
    no_nuclei: Annotated[
        bool,
        typer.Option(
            "--no-nuclei", help="Write the regions alone, without the model's nuclei in them to correct."
        ),
    ] = False,
    sample: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Places that are looked at, at most; more take longer.",
            rich_help_panel=_WORK,
        ),
    ] = 400,
    seed: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Of the sample, where a slide has more places than that.",
            rich_help_panel=_WORK,
        ),
    ] = 0,
    mpp: SlideMpp = None,
    white: White = None,
    no_crop: NoCrop = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
) -> None:
    """Suggest which regions of slides to annotate: where the model is least certain, spread over the tissue.

    Writes GeoJSON for QuPath: locked annotations of class Region*, the most useful one first, and the model's
    nuclei in them. Correct the nuclei, export both, and train on them.

    \b
    nucseg suggest slide.svs --out regions.geojson
    nucseg suggest SLIDES/ --out regions --workdir runs/mine --regions 4
    """
    from nucseg_jax.errors import UserError, shown
    from nucseg_jax.suggest.all_suggestions import check, plan, suggest_all
    from nucseg_jax.suggest.finding import SuggestionRequest

    request = SuggestionRequest(regions, size_um, sample, seed, with_nuclei=not no_nuclei)
    check(request)
    jobs = plan(slides, out, overwrite=overwrite)
    if model is not None and workdir is not None:
        raise UserError(f"--model {model} and --workdir {workdir}: give one of them")
    if roi is not None and len(jobs) > 1:
        raise UserError(
            f"--roi {roi}: is for one slide, and there are {len(jobs)}. Give them one after the other"
        )
    if mpp is not None:
        from nucseg_jax.slides.resolution import check_given

        check_given(mpp)
    if white is not None:
        from nucseg_jax.slides.white import check_given as check_white

        check_white(white)
    from nucseg_jax.regions import read_regions

    areas = None if roi is None else read_regions(roi)
    from nucseg_jax.cli.session import begin
    from nucseg_jax.inference import trained
    from nucseg_jax.inference.segmenter import Segmenter
    from nucseg_jax.pretrained import DEFAULT

    begin()
    found = (
        trained.load(workdir, {}, None)
        if workdir is not None
        else trained.load_pretrained(model or DEFAULT, {}, None)
    )
    with Segmenter(*found) as segmenter:
        for note in segmenter.notes:
            print(shown(note))
        suggest_all(jobs, segmenter, request, roi=areas, mpp=mpp, white=white, crop=not no_crop)
