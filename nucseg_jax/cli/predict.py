"""`nucseg predict`: slides → nuclei."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nucseg_jax.cli.arguments import RESOLUTION, NoCrop, SlideMpp, White

_NUCLEI, _WORK = "Nuclei", "Work"


def predict(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder; made if need be.")],
    slides: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SLIDE", help="Slides, images, folders of them, or addresses."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="An installed model (nucseg models): he, or he-fast for 20× slides and for 40× ones in a "
            "hurry; or a file of one. Default: he.",
        ),
    ] = None,
    workdir: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A trained run's folder, in place of a model.")
    ] = None,
    lists: Annotated[
        list[Path] | None,
        typer.Option("--list", metavar="FILE", help="Files that name more slides, one a line."),
    ] = None,
    roi: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER",
            help="Only nuclei in these regions: GeoJSON, as QuPath exports annotations (.geojson or "
            ".geojson.gz). For several slides a folder with SLIDE.geojson of each.",
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="What is written. Default: geojson csv parquet neighbours labels overlay density. Only if "
            "named, with the extra of the same name: spatialdata, dicom (annotations of DICOM slides).",
        ),
    ] = None,
    simplify: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="Simplify outlines in files: they may be so many µm off, such as 0.25. "
            "Measurements stay those of the exact ones.",
        ),
    ] = None,
    gzip: Annotated[
        bool, typer.Option("--gzip", help="Write nuclei.geojson.gz, which QuPath opens, too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished slides again.")] = False,
    no_crop: NoCrop = False,
    mpp: SlideMpp = None,
    network_mpp: Annotated[
        float | None,
        typer.Option(
            metavar="UM",
            help="µm a pixel that the network was trained at. Default: as the run says.",
            rich_help_panel=RESOLUTION,
        ),
    ] = None,
    white: White = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Settings that differ from the run's own: eval.…, instances.…. Without instances.… its "
            "tuning.json (nucseg tune) says how nuclei are made.",
            rich_help_panel=_NUCLEI,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that cut nuclei and make the text of files while the device computes, of "
            "0.5 GB each.",
            show_default="one a core, at most 16",
            rich_help_panel=_WORK,
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for temporary files, of up to 4 bytes a pixel of tissue. Default: $TMPDIR, or --out "
            "where that is in memory or too small.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    progress: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep how far it is in this file, as JSON, for other programs.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="local|ADDRESS|FILE.yaml",
            help="Workers of Dask do the slides, largest first: one for each GPU of this machine; those of "
            "the scheduler at an address (tcp://…); or those of a cluster that a file describes (SLURM, LSF, "
            "PBS, Kubernetes, …). What a lost worker was at, another does. Needs the extra `cluster`.",
            rich_help_panel=_WORK,
        ),
    ] = None,
    share: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Only every N-th slide from the K-th: what the K-th of N machines does. Without it, "
            "machines that share --out take slides that no other works on.",
            rich_help_panel=_WORK,
        ),
    ] = None,
) -> None:
    """Find the nuclei of slides and images. Each gets a folder; given again, the command keeps finished ones.

    The same command on several machines over one --out: each takes slides that no other works on. At the end
    it waits for those that others still work on. If it ends without an error, all slides are done.

    \b
    nucseg predict slide.svs --out nuclei
    nucseg predict SLIDES/ --out nuclei --formats csv geojson
    nucseg predict slide.svs --roi tumour.geojson --out nuclei
    nucseg predict SLIDES/ --out nuclei --cluster local
    nucseg predict photo.png --mpp 0.5 --workdir runs/unet_small --out nuclei
    """
    from nucseg_jax import config as settings
    from nucseg_jax.errors import UserError
    from nucseg_jax.predict import jobs

    overrides = settings.read_values(settings.read_pairs(changes or (), "--set KEY=VALUE"), "--set ")
    listed = [slide for path in lists or () for slide in jobs.read_list(path)]
    found = jobs.plan([*(slides or ()), *listed], out)
    if not found:
        raise UserError("no slide is named: give slides, images, folders of them or --list FILE")
    if roi is not None:
        from nucseg_jax.predict.rois import with_regions

        found = with_regions(found, roi)
    if mpp is not None:
        from nucseg_jax.slides.resolution import check_given

        check_given(mpp)
    if white is not None:
        from nucseg_jax.slides.white import check_given as check_white

        check_white(white)
    if model is not None and workdir is not None:
        raise UserError(f"--model {model} and --workdir {workdir}: give one of them")
    if workers is not None and workers < 0:
        raise UserError(f"--workers {workers}: must be 0 or more")
    if share is not None and cluster is not None:
        raise UserError(f"--share {share} and --cluster {cluster}: give one of them")
    chosen = None
    if cluster is not None:
        from nucseg_jax.predict.cluster import read_choice

        chosen = read_choice(cluster)
    if share is not None:
        count = len(found)
        found = jobs.share(found, share)
        if not found:
            print(f"nothing to do: of {count} slides --share {share} has none")
            return

    # What takes seconds to import comes after what can be wrong with the arguments.
    from nucseg_jax.cli.interruption import Stopped
    from nucseg_jax.cli.session import begin
    from nucseg_jax.export import check_formats
    from nucseg_jax.predict.all_slides import check_sources, segment_all
    from nucseg_jax.predict.request import PredictionRequest
    from nucseg_jax.pretrained import DEFAULT

    check_formats(formats, "--formats: ", simplify_um=simplify, gzip=gzip)
    check_sources(found, formats)
    begin()
    try:
        segment_all(
            found,
            PredictionRequest(
                workdir,
                out,
                overrides,
                model=DEFAULT if model is None else model,
                mpp=mpp,
                white=white,
                crop=not no_crop,
                network_mpp=network_mpp,
                formats=formats,
                simplify_um=simplify,
                gzip=gzip,
                workers=workers,
                overwrite=overwrite,
                scratch=scratch,
                progress=progress,
            ),
            chosen,
        )
    except Stopped:
        print("\nThe same command goes on with what is not finished", file=sys.stderr)
        raise
