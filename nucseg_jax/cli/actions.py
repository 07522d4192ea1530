"""Training, scoring and tuning of a config: what the user's command and the verbs both call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from nucseg_jax import config as settings
from nucseg_jax.cli.session import begin
from nucseg_jax.errors import UserError


class Experiment(NamedTuple):
    """A config as a command has it.

    Attributes:
      name: of its file.
      config: changed as the command says.
      workdir: the run's folder.
      given: dotted keys that the command names → values.
      option: what these keys follow on the command line, for messages.
      own_batch: the batch size that the config has in its file.
    """

    name: str
    config: ConfigDict
    workdir: Path
    given: Mapping[str, Any]
    option: str
    own_batch: int


def read(
    experiment: str,
    changes: Sequence[str],
    workdir: Path | None,
    option: str = "--set ",
    init: str | None = None,
) -> Experiment:
    """Read a config and change it.

    Args:
      experiment: its name or file.
      changes: KEY=VALUE.
      workdir: the run's folder; None: runs/NAME.
      option: what the changes follow on the command line, for messages.
      init: what training starts from: the setting init.source.

    Raises:
      UserError: no such config, an unknown key, or a value of another type.
    """
    name, config = settings.load(experiment)
    given = settings.read_values(settings.read_pairs(changes, f"{option}KEY=VALUE"), option, config)
    if init is not None:
        if given.setdefault("init.source", init) != init:
            raise UserError(f"--init {init} and {option}init.source={given['init.source']}: give one of them")
    own_batch = config.batch_size
    settings.apply(config, given, option)
    return Experiment(name, config, workdir or Path("runs") / name, given, option, own_batch)


def train(experiment: Experiment, *, distributed: bool = False) -> None:
    """Train, or go on, to the last step; then score. Prints the scores and the parameters' digest.

    A dataset without images to score is said, and no error: one may train on all of them. SIGTERM and Ctrl-C
    end it after the step that runs, with a checkpoint; the exit code is that of the signal.
    """
    begin(distributed=distributed, deterministic=experiment.config.deterministic)
    experiment = _with_inherited(experiment)
    from nucseg_jax import devices, runs
    from nucseg_jax.cli.interruption import Stopped, signals
    from nucseg_jax.errors import NothingToScoreError
    from nucseg_jax.runs.restoring import parameter_digest
    from nucseg_jax.training.loop import TrainingStopped
    from nucseg_jax.training.train import train as train_config

    # Evaluation would find it after the training.
    runs.check_effect(experiment.workdir, experiment.config, experiment.given, experiment.option)
    if note := _note_on_batch(experiment):
        devices.say(note)
    try:
        weights = train_config(experiment.config, experiment.workdir, interruption=signals)
    except TrainingStopped as stop:
        devices.say(f"step {stop.step} is saved: the same command goes on from there")
        raise Stopped(signals.number) from stop
    signals.check()
    digest = parameter_digest(weights.params)
    try:
        _score(experiment)
    except NothingToScoreError as error:
        devices.say(f"note: {error}")
    finally:  # the training is done, whatever becomes of the scores
        devices.say(f"params sha256 {digest}")


def estimate(experiment: Experiment, *, distributed: bool = False) -> None:
    """Print what a training takes on this machine; it is not started."""
    begin(distributed=distributed)
    experiment = _with_inherited(experiment)
    from nucseg_jax import devices
    from nucseg_jax.training import estimate as estimates

    for line in estimates.told(estimates.estimate(experiment.config), experiment.config):
        devices.say(line)


def _note_on_batch(experiment: Experiment) -> str | None:
    """A line on a batch that has grown while the learning rate has not; None where that is not so."""
    config, before = experiment.config, experiment.own_batch
    settled = config.optim.reference_batch is not None or "optim.learning_rate" in experiment.given
    if settled or config.batch_size <= before:
        return None
    changes = [f"optim.reference_batch={before}"]
    if not config.self_correction.cycles and not config.optim.warmup_epochs:  # else there is a warm-up
        changes.append("optim.warmup_epochs=5")
    return (
        f"note: batch_size = {config.batch_size} is {config.batch_size / before:.3g} times that of "
        f"{experiment.name} ({before}), and optim.learning_rate is the same. For a rate that grows with the "
        f"batch, after a warm-up: {' '.join(experiment.option + change for change in changes)}"
    )


def evaluate(experiment: Experiment, *, distributed: bool = False) -> None:
    """Score a run's checkpoint; prints the scores."""
    begin(distributed=distributed, deterministic=experiment.config.deterministic)
    _score(_with_inherited(experiment))


def tune(experiment: Experiment) -> None:
    """Find how nuclei are best made of a run's probabilities; writes tuning.json."""
    begin(deterministic=experiment.config.deterministic)
    experiment = _with_inherited(experiment)
    from nucseg_jax.evaluation.tuning import tune as tune_run

    tune_run(experiment.config, experiment.workdir)


def _with_inherited(experiment: Experiment) -> Experiment:
    """An experiment with the settings that it takes from its run, or from what a new run starts from.

    Raises:
      UserError: there is neither.
    """
    from nucseg_jax import devices
    from nucseg_jax.runs import inherited
    from nucseg_jax.runs.loading import newest_info

    config = experiment.config
    if not inherited.takes_any(config):
        return experiment
    info = newest_info(experiment.workdir)
    if info is not None:
        values = inherited.of_run(config, info)
    elif config.init.source is not None:
        from nucseg_jax.training import origin

        source = origin.read(config.init.source, devices.make_mesh())
        values = inherited.of_source(config, source.run.config, source.magnification.network_mpp)
    elif config.init.settings:
        raise UserError(
            f"{experiment.name} takes {', '.join(config.init.settings)} from a trained network: give one "
            "with --init, the name of an installed model, its file, or a run's folder"
        )
    else:
        return experiment
    settings.apply(config, {k: v for k, v in values.items() if k not in experiment.given}, "")
    return experiment


def _score(experiment: Experiment) -> None:
    from nucseg_jax import devices
    from nucseg_jax.evaluation.evaluate import evaluate as evaluate_run

    scores = evaluate_run(experiment.config, experiment.workdir, experiment.given, experiment.option)
    for split, result in scores.items():
        label = experiment.name if split == "test" else f"{experiment.name} {split}"
        devices.say(f"{label}: nucleus F1 {result['network']['dice']:.3f}")
