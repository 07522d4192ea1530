"""Train and score, or score only.

python -m nucseg_jax.main --config configs/psp.py [--workdir DIR] [--init MODEL] [--mode train|eval]
    [--config.KEY=VALUE …]

The same as `nucseg train psp --set KEY=VALUE` and `nucseg evaluate psp`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from nucseg_jax.cli import be_quiet_when_interrupted
from nucseg_jax.cli.arguments import Command, Init
from nucseg_jax.cli.config_flags import FLAGS, changes_in
from nucseg_jax.cli.large_pages import start_again
from nucseg_jax.cli.running import run
from nucseg_jax.errors import UserError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=Command, context_settings=FLAGS)
def experiment(
    context: typer.Context,
    config: Annotated[str, typer.Option(metavar="FILE", help="The experiment, such as configs/psp.py.")],
    workdir: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/NAME.")] = None,
    init: Init = None,
    mode: Annotated[Literal["train", "eval"], typer.Option(help="Train and then score, or score.")] = "train",
    distributed: Annotated[
        bool, typer.Option(help="One of several processes: under SLURM, on a TPU pod, or see launch/.")
    ] = False,
) -> None:
    """Train and score, or score only. --config.KEY=VALUE changes a setting of the config."""
    from nucseg_jax.cli import actions

    if mode == "eval" and init is not None:
        raise UserError(f"--init {init} is for training: leave it out with --mode eval")
    chosen = actions.read(config, changes_in(context.args), workdir, "--config.", init)
    if mode == "train":
        actions.train(chosen, distributed=distributed)
    else:
        actions.evaluate(chosen, distributed=distributed)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code (`cli.main`)."""
    return run(app, argv, "python -m nucseg_jax.main")


if __name__ == "__main__":
    be_quiet_when_interrupted()
    start_again(sys.argv[1:])
    sys.exit(main())
