"""A finished run as one takes it up again: checkpoint, config, curves, and how it makes nuclei."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import instances
from nucseg_jax.config import apply, flatten, get_config
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.models import count_parameters
from nucseg_jax.models.network import forward_flops
from nucseg_jax.nuclei import TYPICAL_MPP
from nucseg_jax.runs import curves, earlier, started, tuned
from nucseg_jax.runs.compatibility import check_same_input
from nucseg_jax.runs.model import LoadedModel, understood
from nucseg_jax.runs.restoring import SHA256, parameter_digest, readable
from nucseg_jax.runs.tuned import TUNING
from nucseg_jax.slides import tissue_mask


@dataclass(frozen=True)
class Run:
    """A trained network and its experiment.

    Attributes:
      workdir: the run's folder.
      model: as loaded.
      config: the experiment, with the choices of evaluation that were made.
      instances_from: where `config.instances` comes from: "the config", TUNING, "the command line", or the
        last two together.
      notes: what a user should be told of it.
    """

    workdir: Path
    model: LoadedModel
    config: ConfigDict
    instances_from: str
    notes: tuple[str, ...] = ()

    @property
    def lacks_target(self) -> bool:
        """It was trained on images with normalised stains, and does not say to which."""
        prepared = self.config.data.stain if self.config.stain.where == "prepare" else "none"
        return prepared != "none" and self.model.stain is None

    def settings(self) -> dict[str, Any]:
        """How it makes nuclei, for summaries: all of it that changes the result."""
        chosen, how = self.config.instances, self.config.eval
        return {
            "instances": {
                "method": chosen.method,
                **chosen[chosen.method].to_dict(),
                "from": self.instances_from,
            },
            "masked": list(chosen.masked),
            "augment": how.augment,
            "tile_px": how.tile_px,
            "overlap_px": how.overlap_px,
        }

    def facts(self) -> dict[str, Any]:
        """What a report says of it; see `evaluation.results.Entry`."""
        weights = self.model.network, self.model.params, self.model.batch_stats
        return {
            "model": self.config.model.name,
            "parameters": count_parameters(self.model.params),
            "gflops": forward_flops(*weights, (1, 512, 512, 3)) / 1e9,
            "step": self.model.step,
            **started.facts(self.model.info),
            "config": self.model.info["config"],
            "versions": {"nucseg_jax": self.model.info["version"], "jax": jax.__version__},
            **self.settings(),
        }

    def curves(self) -> tuple[Mapping[str, float], ...]:
        """The records of metrics.jsonl; none where the file is not there.

        What earlier releases called `validation_f1` is `validation_dice` here, too.

        Raises:
          DataError: a line is no record.
        """
        return curves.read(self.workdir / "metrics.jsonl")

    def validation_dice(self) -> float | None:
        """Mean Dice of the held-out images at this checkpoint, None without any."""
        scores = [
            c["validation_dice"]
            for c in self.curves()
            if c["step"] == self.model.step and "validation_dice" in c
        ]
        return scores[-1] if scores else None


def open_run(workdir: Path, mesh: Mesh, overrides: Mapping[str, Any]) -> Run:
    """Load a run's best (or last) checkpoint with the config it was trained with.

    Args:
      workdir: the run's folder.
      mesh: where the weights go.
      overrides: dotted keys of the config → values: where the data lie, `eval.…`, `instances.…`.

    Raises:
      CheckpointError: no checkpoint.
      UserError: an override of something else, of a value that has no effect or is out of its range; or
        TUNING is damaged.
    """
    from nucseg_jax.runs import loading  # Orbax: see `restoring`

    _check_overridable(overrides)
    model = loading.load_model(workdir, mesh, overrides.get("eval.step"))
    with readable(workdir):
        config, converted = experiment_of(model.info)
    return _with_choices(workdir, model, config, overrides, "--set ", converted, with_tuning=True)


def run_of_model(model: LoadedModel, name: str, overrides: Mapping[str, Any], where: str) -> Run:
    """A trained network that is no run's here: its own config says how nuclei are made.

    Args:
      model: with the `info` of the checkpoint that it was taken from.
      name: of the model.
      overrides: as of `open_run`.
      where: the model is from, for messages.

    Raises:
      UserError: as `open_run`.
    """
    _check_overridable(overrides)
    if "eval.step" in overrides:
        raise UserError(f"--set eval.step: {name} has one step only, {model.step}")
    with understood(where):
        config, converted = experiment_of(model.info)
    return _with_choices(Path(name), model, config, overrides, "--set ", converted, with_tuning=False)


def open_as(
    config: ConfigDict,
    workdir: Path,
    mesh: Mesh,
    given: Mapping[str, Any],
    option: str = "--set ",
    *,
    with_tuning: bool = True,
) -> Run:
    """Load a run's checkpoint to be evaluated with the config of a command.

    Args:
      config: the command's, which the run was trained with; `eval.step` names another checkpoint.
      workdir: the run's folder.
      mesh: where the weights go.
      given: dotted keys that the command line names → values, which are in `config` already.
      option: what the keys follow there, for messages.
      with_tuning: TUNING holds; not where it is about to be made.

    Raises:
      CheckpointError: no checkpoint.
      UserError: the checkpoint was trained with another network, stain normalisation or patch size; a value
        that is out of its range; or TUNING is damaged.
    """
    from nucseg_jax.runs import loading  # Orbax: see `restoring`

    model = loading.load_model(workdir, mesh, config.eval.step)
    check_same_input(model.info["config"], json.loads(config.to_json_best_effort()), workdir)
    config = config.copy_and_resolve_references()
    # Channel order and scale of the images are the checkpoint's own, whatever the config says.
    config.model.channel_order = model.info["config"]["model"]["channel_order"]
    config.model.input_scale = model.info["config"]["model"].get("input_scale", 1.0)
    choices = {key: value for key, value in given.items() if key.startswith(("eval.", "instances."))}
    return _with_choices(workdir, model, config, choices, option, {}, with_tuning)


def experiment_of(info: Mapping[str, Any]) -> tuple[ConfigDict, dict[str, str]]:
    """A checkpoint's config; keys that a release before this one did not have get today's defaults.

    Args:
      info: of the checkpoint.

    Returns:
      The config, and the sizes that were converted from an earlier release's pixels (`earlier.physical`).
    """
    config = get_config()
    values, converted = earlier.physical(flatten(info["config"]), mpp_of(info))
    if converted and values.get("eval.overlap_px") == 0:  # then what nobody had asked for
        del values["eval.overlap_px"]
    known = set(flatten(config.to_dict()))
    apply(config, {key: value for key, value in values.items() if key in known and value is not None}, "")
    return config, converted


def mpp_of(info: Mapping[str, Any]) -> float:
    """µm a pixel of the original images that a checkpoint was trained on."""
    return float((info.get("resolution") or {}).get("image_mpp", TYPICAL_MPP))


def _with_choices(
    workdir: Path,
    model: LoadedModel,
    config: ConfigDict,
    given: Mapping[str, Any],
    where: str,
    converted: Mapping[str, str],
    with_tuning: bool,
) -> Run:
    """The run with nuclei made as what comes first says: `given`, TUNING, the config.

    TUNING has the best parameters of each method: those of the method that is given, else of the best.
    """
    mpp = mpp_of(model.info)
    source, notes = "the config", []
    tuning = tuned.read(workdir / TUNING) if with_tuning and (workdir / TUNING).exists() else None
    method = given.get("instances.method", tuning and tuning.best)
    if tuning is not None and method in tuning.parameters:
        values, of_tuning = earlier.physical(tuning.parameters[method], mpp)
        converted = {**converted, **of_tuning}
        try:
            apply(config, {"instances.method": method, **values}, "")
            instances.check(config.instances)
        except UserError as error:
            raise DataError(f"{workdir / TUNING}: {error}. {tuned.REMEDY}") from error
        source = TUNING
        if tuning.params_sha256 not in (None, parameter_digest(model.params)):
            notes.append(f"{workdir / TUNING}: was tuned on other weights ({tuning.model}) than those taken")
    if any(key.startswith("instances.") for key in given):
        source = "the command line" if source == "the config" else f"{TUNING} and the command line"
    apply(config, given, where)
    _check_choices(workdir, config)
    check_effect(workdir, config, given, where)
    pixels = [
        was for key, was in converted.items() if key.startswith(f"instances.{config.instances.method}.")
    ]
    note = (
        f"{workdir}: is of an earlier release, whose sizes are in pixels: {', '.join(pixels)} are taken at "
        f"{mpp:g} µm a pixel"
    )
    return Run(workdir, model, config, source, (*notes, note) if pixels else tuple(notes))


def portable_info(run: Run) -> dict[str, Any]:
    """The `info` of a run's checkpoint for another machine: with tuned settings, without paths of this one.

    Args:
      run: open.
    """
    config = run.config.copy_and_resolve_references()
    config.data.dir = config.eval.step = None
    weights = Path(config.model.encoder_weights or "")
    if weights.suffix or weights.parent != Path():  # a file of this machine, and not a name
        config.model.encoder_weights = None
    if config.init.source is not None:
        config.init.source = Path(config.init.source).name
    info = {key: value for key, value in run.model.info.items() if key != SHA256}  # of the checkpoint
    return {
        **info,
        "init": started.portable(info.get("init")),
        "config": json.loads(config.to_json_best_effort()),
    }


def _check_overridable(overrides: Mapping[str, Any]) -> None:
    for key in overrides:
        if not key.startswith(("data.dir", "eval.", "instances.")):
            raise UserError(
                f"--set {key}: only data.dir, eval.… and instances.… can differ from the run's own"
            )


def check_effect(workdir: Path, config: ConfigDict, given: Mapping[str, Any], where: str) -> None:
    """Raise UserError for a parameter that is given of a method that is not taken."""
    method = config.instances.method
    for key in given:
        group = key.split(".")[1:-1]
        if key.startswith("instances.") and group and group[0] != method:
            raise UserError(
                f"{where}{key}: has no effect on {workdir}, whose nuclei are made by {method}. Add "
                f"instances.method={group[0]}"
            )


def _check_choices(workdir: Path, config: ConfigDict) -> None:
    """Raise UserError unless the choices of evaluation can be met."""
    chosen = config.instances
    instances.check(chosen)
    tissue_mask.check_masked(chosen.masked)
    if chosen.method in instances.WITH_BOUNDARY and config.model.num_classes < 3:
        raise UserError(f"{workdir}: {instances.NEEDS_BOUNDARY}")
    if config.eval.batch_size < 1:
        raise UserError(f"eval.batch_size must be at least 1, got {config.eval.batch_size}")
