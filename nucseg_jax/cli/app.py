"""`nucseg` and its verbs."""

from typing import Annotated

import typer

from nucseg_jax.cli.arguments import Command
from nucseg_jax.cli.compare import compare
from nucseg_jax.cli.convert import convert, to_torch
from nucseg_jax.cli.evaluate import evaluate
from nucseg_jax.cli.export import export
from nucseg_jax.cli.merge import merge
from nucseg_jax.cli.models import models
from nucseg_jax.cli.predict import predict
from nucseg_jax.cli.prepare import prepare
from nucseg_jax.cli.report import report
from nucseg_jax.cli.stain import stain
from nucseg_jax.cli.suggest import suggest
from nucseg_jax.cli.train import train
from nucseg_jax.cli.tune import tune
from nucseg_jax.cli.view import view

app = typer.Typer(
    name="nucseg",
    help="Nuclei of H&E-stained tissue: find them, train networks that do, and score them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)

_USE, _TRAIN, _OTHERS = "Find nuclei", "Train and score", "PyTorch, ONNX, StableHLO"


def _show_version(asked: bool) -> None:
    if asked:
        from nucseg_jax import __version__

        print(f"nucseg_jax {__version__}")
        raise typer.Exit


@app.callback()
def nucseg(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end."),
    ] = False,
) -> None:
    pass


app.command(cls=Command, rich_help_panel=_USE)(predict)
app.command(cls=Command, rich_help_panel=_USE)(view)
app.command(cls=Command, rich_help_panel=_USE)(merge)
app.add_typer(models, name="models", rich_help_panel=_USE)
app.command(cls=Command, rich_help_panel=_USE)(stain)
app.command(cls=Command, rich_help_panel=_TRAIN)(suggest)
app.add_typer(prepare, name="prepare", rich_help_panel=_TRAIN)
app.command(cls=Command, rich_help_panel=_TRAIN)(train)
app.command(cls=Command, rich_help_panel=_TRAIN)(evaluate)
app.command(cls=Command, rich_help_panel=_TRAIN)(tune)
app.command(cls=Command, rich_help_panel=_TRAIN)(report)
app.command(cls=Command, rich_help_panel=_OTHERS)(convert)
app.command(cls=Command, name="to-torch", rich_help_panel=_OTHERS)(to_torch)
app.command(cls=Command, rich_help_panel=_OTHERS)(compare)
app.command(cls=Command, rich_help_panel=_OTHERS)(export)
