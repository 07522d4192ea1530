"""`nucseg tune`: a run → how its nuclei are best made."""

from nucseg_jax.cli.arguments import Changes, Experiment, Workdir


def tune(config: Experiment, changes: Changes = None, workdir: Workdir = None) -> None:
    """Find how nuclei are best made of a network's probabilities, on the run's held-out images.

    Writes tuning.json into the run's folder, which all commands take up from then on.

    \b
    nucseg tune unet_small
    """
    from nucseg_jax.cli import actions

    actions.tune(actions.read(config, changes or (), workdir))
