"""`nucseg train`: a dataset → a run."""

from typing import Annotated

import typer

from nucseg_jax.cli.arguments import Changes, Experiment, Init, Workdir


def train(
    config: Experiment,
    changes: Changes = None,
    workdir: Workdir = None,
    init: Init = None,
    distributed: Annotated[
        bool, typer.Option(help="One of several processes: under SLURM, on a TPU pod, or see launch/.")
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Print the memory and the time that the training takes here; train nothing."
        ),
    ] = False,
) -> None:
    """Train a network, and score it on the test images. Started again, it goes on.

    \b
    nucseg train unet_small
    nucseg train psp --set batch_size=8 model.dtype=bfloat16 --workdir runs/psp_bf16
    nucseg train my_experiment.py
    nucseg train finetune --init he --set data.split=mine
    nucseg train psp --estimate
    """
    from nucseg_jax.cli import actions

    experiment = actions.read(config, changes or (), workdir, init=init)
    if estimate:
        actions.estimate(experiment, distributed=distributed)
    else:
        actions.train(experiment, distributed=distributed)
