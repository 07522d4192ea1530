"""`nucseg report`: runs → a page that compares them."""

from pathlib import Path
from typing import Annotated

import typer

_COMPARED, _SETTINGS = "What is compared", "Settings"


def report(
    workdirs: Annotated[list[Path], typer.Option(metavar="DIR", help="Runs.", rich_help_panel=_COMPARED)],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder; made if need be.")],
    ensemble: Annotated[
        str | None,
        typer.Option(
            metavar="EXPRESSION",
            help="Of the runs' folder names, such as or(unet, and(psp, self_correction)); operators: or, "
            "and, majority, mean, weighted, vote.",
            rich_help_panel=_COMPARED,
        ),
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="Label maps of other tools: DIR/ID.png (.tif, .npy, HoVer-Net's .mat).",
            rich_help_panel=_COMPARED,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Of the dataset.", rich_help_panel=_COMPARED)] = "test",
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Settings that differ from the runs' own: data.dir, eval.…, instances.…. Without "
            "instances.…, a run's tuning.json (nucseg tune) says how its nuclei are made.",
            rich_help_panel=_SETTINGS,
        ),
    ] = None,
) -> None:
    """Compare runs, their ensemble, other tools and a classical baseline on the test images.

    DIR/report.html shows everything; DIR/scores.csv has a row an entry and image,
    DIR/label_maps/ENTRY/ID.png the nuclei (16-bit), DIR/figures/ the figures.

    \b
    nucseg report --workdirs runs/unet_small runs/psp_small --out report
    nucseg report --workdirs runs/unet_small --predictions stardist=DIR --out report
    """
    from nucseg_jax import config as settings
    from nucseg_jax.io.files import output_folder

    tools = settings.read_pairs(predictions or (), "--predictions NAME=DIR")
    overrides = settings.read_values(settings.read_pairs(changes or (), "--set KEY=VALUE"), "--set ")

    from nucseg_jax.cli.session import begin

    begin()
    from nucseg_jax import report as report_room
    from nucseg_jax.evaluation.compare import ComparisonRequest, compare

    request = ComparisonRequest(
        workdirs=tuple(workdirs),
        expression=ensemble,
        tools={name: Path(folder) for name, folder in tools.items()},
        split=split,
        overrides=overrides,
    )
    with output_folder(out, "--out"):
        report_room.write_all(compare(request), out)
