"""`nucseg view`: a page in the browser."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

_TRUTH = "Ground truth"


def view(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH", help="Slides, images, results of nucseg predict, and folders of them."
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            metavar="N", help="Port to listen on, of this machine alone.", show_default="a free one"
        ),
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
    workdir: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A trained run's folder, which jobs take in place of a model."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for jobs, their results, uploads and corrections.",
            show_default="nucseg_jax/view in the user's data folder",
        ),
    ] = None,
    max_upload_mb: Annotated[int, typer.Option(metavar="N", help="How large an upload may be, MB.")] = 2000,
    truth: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Ground truth to compare with: QuPath GeoJSON, ImageScope XML or a label map, named as its "
            "slide; or a folder of them. May be given again.",
            rich_help_panel=_TRUTH,
        ),
    ] = None,
    region_class: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A class of QuPath's annotations that are regions, besides Region*. May be given again.",
            rich_help_panel=_TRUTH,
        ),
    ] = None,
) -> None:
    """Look at slides and their nuclei in the browser. Nothing leaves this machine.

    The page shows what is named here, and nothing else. Its address is a secret: who knows it sees the page.

    \b
    nucseg view nuclei
    nucseg view slide.svs nuclei --no-browser
    nucseg view images nuclei --truth annotations
    """
    from nucseg_jax.errors import MissingExtraError

    try:
        from nucseg_jax.view.serving import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise MissingExtraError("view", error) from error
    from nucseg_jax.cli.interruption import signals

    with signals.postponed():
        serve(
            paths or (),
            port=port,
            browser=not no_browser,
            workdir=workdir,
            state=state,
            most_upload_mb=max_upload_mb,
            truths=truth or (),
            region_classes=region_class or (),
            load_outlines=_load_outlines,
            is_asked_to_stop=lambda: signals.asked,
        )
    signals.check()


def _load_outlines() -> Callable[[Path, tuple[int, int], float, Sequence[str]], Any]:
    """What draws the outlines of truths, as `nucseg prepare` draws them."""
    from nucseg_jax.cli.preparing import module_of

    read = module_of("label_files").read_labels
    return lambda path, shape, mpp, classes: read(path, shape, mpp=mpp, region_classes=classes)
