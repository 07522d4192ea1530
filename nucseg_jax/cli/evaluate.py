"""`nucseg evaluate`: a run → its scores."""

from typing import Annotated

import typer

from nucseg_jax.cli.arguments import Changes, Experiment, Workdir


def evaluate(
    config: Experiment,
    changes: Changes = None,
    workdir: Workdir = None,
    distributed: Annotated[bool, typer.Option(help="One of several processes.")] = False,
) -> None:
    """Score a run's checkpoint on the test images.

    \b
    nucseg evaluate unet_small
    nucseg evaluate unet_small --set eval.step=500 eval.augment=True
    """
    from nucseg_jax.cli import actions

    actions.evaluate(actions.read(config, changes or (), workdir), distributed=distributed)
