"""A finished run as one takes it up again: checkpoint, config, curves, and how it makes nuclei."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import checkpoint, earlier, instances
from nucseg_jax.checkpoint import LoadedModel
from nucseg_jax.errors import UserError
from nucseg_jax.models import count_parameters
from nucseg_jax.models.functional import forward_flops
from nucseg_jax.run_checks import check_same_input
from nucseg_jax.slides.resolution import TYPICAL_MPP

TUNING = "tuning.json"
"""In a run's folder: what `python -m nucseg_jax.tune` found best on its validation images."""


@dataclass(frozen=True)
class Run:
    """A trained network and its experiment.

    Attributes:
      workdir: the run's folder.
      model: as loaded.
      config: the experiment, with the choices of evaluation that were made.
      instances_from: where `config.instances` comes from: "config", TUNING, "given", or TUNING with some
        parameters given.
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
            "augment": how.augment,
            "tile_px": how.tile_px,
            "overlap_px": how.overlap_px,
        }

    def facts(self) -> dict[str, Any]:
        """What a report says of it; see `comparison.Entry`."""
        weights = self.model.network, self.model.params, self.model.batch_stats
        return {
            "model": self.config.model.name,
            "parameters": count_parameters(self.model.params),
            "gflops": forward_flops(*weights, (1, 512, 512, 3)) / 1e9,
            "step": self.model.step,
            "config": self.model.info["config"],
            "versions": {"nucseg_jax": self.model.info["version"], "jax": jax.__version__},
            **self.settings(),
        }

    def curves(self) -> tuple[Mapping[str, float], ...]:
        """The records of metrics.jsonl; none where the file is not there.

        What earlier releases called `validation_f1` is `validation_dice` here, too.
        """
        path = self.workdir / "metrics.jsonl"
        if not path.exists():
            return ()
        return tuple(_record(line) for line in path.read_text().splitlines() if line.strip())

    def validation_dice(self) -> float | None:
        """Mean Dice of the held-out images at this checkpoint, None without any."""
        scores = [
            c["validation_dice"]
            for c in self.curves()
            if c["step"] == self.model.step and "validation_dice" in c
        ]
        return scores[-1] if scores else None


def _record(line: str) -> dict[str, float]:
    """A line of metrics.jsonl, by today's names."""
    return {"validation_dice" if k == "validation_f1" else k: v for k, v in json.loads(line).items()}


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
    for key in overrides:
        if not key.startswith(("data.dir", "eval.", "instances.")):
            raise UserError(
                f"--set {key}: only data.dir, eval.… and instances.… can differ from the run's own"
            )
    model = checkpoint.load_model(workdir, mesh, overrides.get("eval.step"))
    config, converted = experiment_of(model.info)
    return _with_choices(workdir, model, config, overrides, "--set", converted)


def open_as(config: ConfigDict, workdir: Path, mesh: Mesh, given: Mapping[str, Any]) -> Run:
    """Load a run's checkpoint to be evaluated with the config of a command.

    Args:
      config: the command's, which the run was trained with; `eval.step` names another checkpoint.
      workdir: the run's folder.
      mesh: where the weights go.
      given: dotted keys that the command line names → values, which are in `config` already.

    Raises:
      CheckpointError: no checkpoint.
      UserError: the checkpoint was trained with another network, stain normalisation or patch size; a value
        that is out of its range; or TUNING is damaged.
    """
    instances.check(config.instances)
    model = checkpoint.load_model(workdir, mesh, config.eval.step)
    check_same_input(model.info["config"], json.loads(config.to_json_best_effort()), workdir)
    config = config.copy_and_resolve_references()
    # Channel order and scale of the images are the checkpoint's own, whatever the config says.
    config.model.channel_order = model.info["config"]["model"]["channel_order"]
    config.model.input_scale = model.info["config"]["model"].get("input_scale", 1.0)
    return _with_choices(workdir, model, config, given, "--config", {})


def experiment_of(info: Mapping[str, Any]) -> tuple[ConfigDict, dict[str, str]]:
    """A checkpoint's config; keys that a release before this one did not have get today's defaults.

    Args:
      info: of the checkpoint.

    Returns:
      The config, and the sizes that were converted from an earlier release's pixels (`earlier.physical`).
    """
    from configs import default

    config = default.get_config()
    values, converted = earlier.physical(_flat(info["config"]), mpp_of(info))
    if converted:  # tiles without overlap were then what nobody had asked for
        values.pop("eval.overlap_px", None)
    known = set(_flat(config.to_dict()))
    config.update_from_flattened_dict(
        {key: value for key, value in values.items() if key in known and value is not None}
    )
    return config, converted


def mpp_of(info: Mapping[str, Any]) -> float:
    """µm a pixel of the original images that a checkpoint was trained on."""
    return (info.get("resolution") or {}).get("image_mpp", TYPICAL_MPP)


def _with_choices(
    workdir: Path,
    model: LoadedModel,
    config: ConfigDict,
    given: Mapping[str, Any],
    where: str,
    converted: Mapping[str, str],
) -> Run:
    """The run with nuclei made as what comes first says: `given`, TUNING, the config.

    TUNING holds unless a method is given; single parameters that are given hold beside it.
    """
    mpp = mpp_of(model.info)
    source = "config"
    if (workdir / TUNING).exists() and "instances.method" not in given:
        values, of_tuning = earlier.physical(_read_tuning(workdir / TUNING), mpp)
        converted = {**converted, **of_tuning}
        _apply(config, values, str(workdir / TUNING))
        source = TUNING
    if any(key.startswith("instances.") for key in given):
        source = "given" if source == "config" else f"{TUNING}, {where}"
    _apply(config, given, where)
    _check_choices(workdir, config, given, where)
    pixels = [
        was for key, was in converted.items() if key.startswith(f"instances.{config.instances.method}.")
    ]
    note = (
        f"{workdir}: is of an earlier release, whose sizes are in pixels: {', '.join(pixels)} are taken at "
        f"{mpp:g} µm a pixel"
    )
    return Run(workdir, model, config, source, (note,) if pixels else ())


def _apply(config: ConfigDict, values: Mapping[str, Any], where: str) -> None:
    try:
        config.update_from_flattened_dict(dict(values))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


def _check_choices(workdir: Path, config: ConfigDict, given: Mapping[str, Any], where: str) -> None:
    """Raise UserError unless the choices of evaluation can be met, and all that are given matter."""
    chosen = config.instances
    instances.check(chosen)
    for key in given:
        group = key.split(".")[1:-1]
        if key.startswith("instances.") and group and group[0] != chosen.method:
            raise UserError(
                f"{where} {key}: has no effect on {workdir}, whose nuclei are made by {chosen.method}. Add "
                f"instances.method={group[0]}"
            )
    if chosen.method == "boundary" and config.model.num_classes < 3:
        raise UserError(f"{workdir}: {instances.NEEDS_BOUNDARY}")
    if config.eval.batch_size < 1:
        raise UserError(f"eval.batch_size must be at least 1, got {config.eval.batch_size}")


def _read_tuning(path: Path) -> dict[str, Any]:
    """The best method and its parameters, as dotted keys of a config."""
    try:
        best = json.loads(path.read_text())["best"]
        method = next(iter(best))  # the best comes first
        found = {f"instances.{method}.{key}": value for key, value in best[method]["parameters"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(
            f"{path}: cannot be read ({error!r}). Delete it, or run python -m nucseg_jax.tune again"
        ) from error
    return {"instances.method": method, **found}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def names_of(workdirs: Sequence[Path]) -> list[str]:
    """A unique name a run: its folder's, or with the folder above where two share it.

    Raises:
      UserError: a folder is named twice.
    """
    resolved = [path.resolve() for path in workdirs]
    if len(set(resolved)) < len(resolved):
        raise UserError(f"--workdirs names a folder twice: {', '.join(map(str, workdirs))}")
    short = [path.name for path in resolved]
    return [
        f"{path.parent.name}-{path.name}" if short.count(path.name) > 1 else path.name for path in resolved
    ]
