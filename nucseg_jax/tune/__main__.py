"""Choose how nuclei are made of a trained network's probabilities, on its validation images.

python -m nucseg_jax.tune --config configs/unet_small.py [--workdir DIR] [--config.KEY=VALUE …]

The same as `nucseg tune unet_small`.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nucseg_jax.cli import be_quiet_when_interrupted
from nucseg_jax.cli.arguments import Command
from nucseg_jax.cli.config_flags import FLAGS, changes_in
from nucseg_jax.cli.running import run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=Command, context_settings=FLAGS)
def tune(
    context: typer.Context,
    config: Annotated[str, typer.Option(metavar="FILE", help="The experiment, such as configs/psp.py.")],
    workdir: Annotated[Path | None, typer.Option(help="The run's folder. Default: runs/NAME.")] = None,
) -> None:
    """Tune on a run's held-out images. --config.KEY=VALUE changes a setting of the config."""
    from nucseg_jax.cli import actions

    actions.tune(actions.read(config, changes_in(context.args), workdir, "--config."))


if __name__ == "__main__":
    be_quiet_when_interrupted()
    sys.exit(run(app, None, "python -m nucseg_jax.tune"))
