"""A finished run as one takes it up again: checkpoint, config, curves, and what it says of an image."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import checkpoint, instances
from nucseg_jax.checkpoint import LoadedModel
from nucseg_jax.errors import UserError
from nucseg_jax.inference import TiledInference
from nucseg_jax.maps import NucleusMap
from nucseg_jax.models import count_parameters
from nucseg_jax.models.functional import forward_flops

TUNING = "tuning.json"
"""In a run's folder: what `python -m nucseg_jax.tune` found best on its validation images."""


@dataclass(frozen=True)
class Run:
    """A trained network and its experiment.

    Attributes:
      workdir: the run's folder.
      model: as loaded.
      config: the experiment, with the choices of evaluation that were asked for.
      tuned: the instance parameters are those of TUNING.
      inference: tiles through the network.
    """

    workdir: Path
    model: LoadedModel
    config: ConfigDict
    tuned: bool
    inference: TiledInference

    def nucleus_map(self, image: np.ndarray, size: tuple[int, int]) -> NucleusMap:
        """uint8[H,W,3], prepared → probabilities at `size`."""
        return self.inference.nucleus_map(self.model.params, self.model.batch_stats, image, size)

    def facts(self) -> dict[str, Any]:
        """What a report says of it; see `comparison.Entry`."""
        chosen = self.config.instances
        weights = self.model.network, self.model.params, self.model.batch_stats
        return {
            "model": self.config.model.name,
            "parameters": count_parameters(self.model.params),
            "gflops": forward_flops(*weights, (1, 512, 512, 3)) / 1e9,
            "step": self.model.step,
            "config": self.model.info["config"],
            "versions": {"nucseg_jax": self.model.info["version"], "jax": jax.__version__},
            "instances": {"method": chosen.method, **chosen[chosen.method].to_dict(), "tuned": self.tuned},
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

    How nuclei are made of probabilities is taken from TUNING, where it is there and `overrides` name no
    method; they may change some of its parameters.

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
    step = overrides.get("eval.step")
    model = checkpoint.load_model(workdir, mesh, step)
    config = experiment_of(model.info["config"])
    tuned = (workdir / TUNING).exists() and "instances.method" not in overrides
    if tuned:
        _apply(config, _read_tuning(workdir / TUNING), str(workdir / TUNING))
    _apply(config, overrides, "--set")
    _check_choices(workdir, config, overrides)
    tuned = tuned and not any(key.startswith("instances.") for key in overrides)
    return Run(workdir, model, config, tuned, TiledInference.by_config(model.network, mesh, config))


def experiment_of(saved: Mapping[str, Any]) -> ConfigDict:
    """A checkpoint's config; keys that a release before this one did not have get today's defaults."""
    from configs import default

    config = default.get_config()
    known = set(_flat(config.to_dict()))
    values = {key: value for key, value in _flat(saved).items() if key in known and value is not None}
    config.update_from_flattened_dict(values)
    return config


def _apply(config: ConfigDict, values: Mapping[str, Any], where: str) -> None:
    try:
        config.update_from_flattened_dict(dict(values))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{where}: {' '.join(str(error).split())}") from error


def _check_choices(workdir: Path, config: ConfigDict, overrides: Mapping[str, Any]) -> None:
    """Raise UserError unless the choices of evaluation can be met, and all overrides matter."""
    chosen = config.instances
    instances.check(chosen)
    for key in overrides:
        group = key.split(".")[1:-1]
        if key.startswith("instances.") and group and group[0] != chosen.method:
            raise UserError(
                f"--set {key}: has no effect on {workdir}, whose nuclei are made by {chosen.method}. Add "
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
