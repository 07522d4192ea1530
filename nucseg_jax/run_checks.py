"""Checks before work begins: config values that would fail late, or silently mean another thing."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nucseg_jax import instances
from nucseg_jax.checkpoint import SCORES
from nucseg_jax.errors import UserError
from nucseg_jax.models.functional import InputFormat
from nucseg_jax.objectives import OBJECTIVES
from nucseg_jax.pipelines import PIPELINES
from nucseg_jax.self_correction import AVERAGES
from nucseg_jax.stain import experiment

# What may differ between a run and its continuation without making it another run.
FREE_KEYS = (
    "log_every",
    "steps_per_dispatch",
    "checkpoint.every",
    "checkpoint.keep",
    "eval",
    "instances",
    "data.dir",
    "data.pipeline",
    "model.encoder_weights",
)

# What the weights were fitted to; nothing else may be put before them. (Channel order and scale of the
# images are the checkpoint's own, whatever the config says.)
INPUT_KEYS = (
    "model.name",
    "model.num_classes",
    "model.width",
    "model.dtype",
    "data.stain",
    "stain.where",
    "stain.method",
    "data.crop_size",
)


# What releases did that did not have these keys in their configs.
EARLIER = {"optim.loss": "cross_entropy", "self_correction.cycles": 0, "checkpoint.best_by": "dice"}

# Metadata of the dataset that decides its pixels and labels.
PREPARED_BY = {
    "sha256": "SHA-256 of their sources",
    "stain_backend": "what normalised their stains",
    "stain_style": "the stains they were normalised to",
    "label_noise": "errors added to their training labels",
}


def check_values(config: ConfigDict, devices: int) -> None:
    """Raise UserError for a value out of its range, naming key and value.

    Args:
      config: the experiment.
      devices: how many the batch is split over.
    """
    _check_pipeline(config)
    experiment.check(config.stain, config.data.stain)
    at_least_one = {
        "num_steps": 1 if config.num_steps is None else config.num_steps,
        "log_every": config.log_every,
        "steps_per_dispatch": config.steps_per_dispatch,
        "checkpoint.every": config.checkpoint.every,
        "checkpoint.keep": config.checkpoint.keep,
        "optim.accumulate": config.optim.accumulate,
        "eval.batch_size": config.eval.batch_size,
    }
    for key, value in at_least_one.items():
        if value < 1:
            raise UserError(f"{key} must be at least 1, got {value}")
    above_zero = {"num_epochs": config.num_epochs, "optim.restart_epochs": config.optim.restart_epochs}
    above_zero["self_correction.cycle_epochs"] = config.self_correction.cycle_epochs
    for key, value in above_zero.items():
        if not value > 0:
            raise UserError(f"{key} must be positive, got {value}")
    _check_objective(config)
    _check_nuclei(config)
    input_format = InputFormat(config.model.channel_order, config.model.input_scale)
    side = round(config.data.crop_size * input_format.scale)
    if side < 16 or side % 16:
        raise UserError(
            f"data.crop_size × model.input_scale = {config.data.crop_size} × {config.model.input_scale} is "
            f"{side} pixels for the network, which needs a multiple of 32 (unet, self_correction: 16)"
        )
    if config.batch_size < 1 or config.batch_size % (config.optim.accumulate * devices):
        raise UserError(
            f"batch_size = {config.batch_size} must be a multiple of optim.accumulate × devices = "
            f"{config.optim.accumulate} × {devices}"
        )


def _check_pipeline(config: ConfigDict) -> None:
    pipeline = config.data.pipeline
    if pipeline not in PIPELINES:
        near = difflib.get_close_matches(pipeline, PIPELINES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown data.pipeline {pipeline!r}: {hint}known are {', '.join(PIPELINES)}")
    if config.steps_per_dispatch > 1 and pipeline != "resident":
        raise UserError(
            f"steps_per_dispatch = {config.steps_per_dispatch} needs data.pipeline = 'resident', got "
            f"{pipeline!r}, whose batches come from the host one by one"
        )


def _check_objective(config: ConfigDict) -> None:
    """What is minimised, and how cycles of self-correction go."""
    chosen = config.self_correction
    for key, value, known in (
        ("optim.loss", config.optim.loss, tuple(OBJECTIVES)),
        ("self_correction.average", chosen.average, AVERAGES),
    ):
        if value not in known:
            raise UserError(f"{key} must be one of {', '.join(known)}, got {value!r}")
    if config.optim.loss == "ce2p" and config.model.name != "self_correction":
        raise UserError(
            "optim.loss = 'ce2p' is for the three branches of model.name = 'self_correction', got "
            f"{config.model.name!r}: set optim.loss to cross_entropy"
        )
    ranges = {
        "cycles": (0, float("inf")),
        "warmup_epochs": (0, float("inf")),
        "restart": (0, 1),
        "floor": (0, 1),
    }
    for key, (low, high) in ranges.items():
        if not low <= chosen[key] <= high:
            raise UserError(f"self_correction.{key} must be from {low} to {high}, got {chosen[key]}")
    if chosen.restart < chosen.floor:
        raise UserError(
            "self_correction.restart must be at least self_correction.floor, got "
            f"{chosen.restart} and {chosen.floor}"
        )


def _check_nuclei(config: ConfigDict) -> None:
    """What the held-out images are scored by."""
    instances.check(config.instances)
    if config.instances.method == "boundary" and config.model.num_classes < 3:
        raise UserError(instances.NEEDS_BOUNDARY)
    chosen = config.checkpoint.best_by
    if chosen is not None and chosen not in SCORES:
        raise UserError(f"checkpoint.best_by must be one of {', '.join(SCORES)}, got {chosen!r}")


def best_by(config: ConfigDict, saved: dict[str, Any] | None) -> str:
    """The score that a run's best checkpoint is chosen by.

    Args:
      config: the experiment; where its `checkpoint.best_by` is None, a run that goes on keeps its own.
      saved: the `info` of the checkpoint that a run goes on from; None: the run is new.
    """
    given = config.checkpoint.best_by
    if given is None and saved is not None:
        given = (EARLIER | flatten(saved["config"]))["checkpoint.best_by"]
    if given is not None:
        return str(given)
    # AJI says how well nuclei are cut, which components do not do.
    return "dice" if config.instances.method == "components" else "aji"


def check_same_run(saved: dict[str, Any], now: dict[str, Any], workdir: Path) -> None:
    """Raise UserError where a checkpoint is of another run than the one that would continue it.

    Args:
      saved, now: the `info` of the checkpoint and of the run (`checkpoint.describe`).
      workdir: for the message.
    """
    different = [
        line
        for line in _differences(saved["config"], now["config"])
        if not line.startswith(_prefixes(FREE_KEYS))
    ]
    for key, meaning in PREPARED_BY.items():
        if saved["dataset"].get(key) != now["dataset"].get(key):
            different.append(f"the prepared dataset itself ({meaning})")
    before, after = (info["dataset"].get("mpp") for info in (saved, now))
    if None not in (before, after) and before != after:
        different.append(f"the prepared dataset itself (µm a pixel: {before:g} → {after:g})")
    if different:
        raise UserError(
            f"{workdir} holds a run of another config:\n  "
            + "\n  ".join(different)
            + "\nUse another --workdir, or the config it was started with."
        )


def notes_on_changes(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What a run that goes on does not do as it was started: sentences that begin with its folder.

    Args:
      saved, now: the `info` of the checkpoint and of the run, which `check_same_run` has passed.
    """
    notes = [
        f"was started with {what} {before} and goes on with {after}: equal to float rounding, not always to "
        "the bit"
        for what, before, after in _other_arithmetic(saved, now)
    ]
    config = now["config"]
    if "best_by" not in saved["config"]["checkpoint"] and config["num_steps"]:
        if not config["self_correction"]["cycles"]:
            notes.append(
                "was started by a release that did not squeeze optim.restart_epochs into num_steps = "
                f"{config['num_steps']}: its learning rate goes on by the squeezed ones"
            )
    if config["data"]["validation"] and config["checkpoint"]["best_by"] == "aji":
        keys = ("instances.method", f"instances.{config['instances']['method']}")
        for line in _differences(saved["config"], config):
            if line.startswith(_prefixes(keys)):
                notes.append(
                    f"scored its checkpoints with other nuclei so far ({line}): the best by AJI is chosen "
                    "among unlike scores"
                )
    return notes


def _other_arithmetic(saved: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, before, now) of what changes how the same sums are compiled."""
    pairs = [("devices", saved["devices"], now["devices"])]
    before, after = saved["config"], now["config"]
    pairs.append(("data.pipeline", before["data"]["pipeline"], after["data"]["pipeline"]))
    # A run of an earlier version did one step a call.
    pairs.append(("steps_per_dispatch", before.get("steps_per_dispatch", 1), after["steps_per_dispatch"]))
    return [pair for pair in pairs if pair[1] != pair[2]]


def check_same_input(saved: dict[str, Any], now: dict[str, Any], workdir: Path) -> None:
    """Raise UserError where images would reach the checkpoint's network otherwise than in training.

    Args:
      saved, now: the checkpoint's config and the command's, as plain dicts.
      workdir: for the message.
    """
    different = [line for line in _differences(saved, now) if line.startswith(_prefixes(INPUT_KEYS))]
    if different:
        raise UserError(
            f"{workdir} holds a network trained with another config:\n  "
            + "\n  ".join(different)
            + "\nGive the config it was trained with."
        )


def _prefixes(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{key}{end}" for key in keys for end in (".", ":"))


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`key: before → after` for each key that both have; a key of another version says nothing."""
    before, after = EARLIER | flatten(saved), flatten(now)
    return [
        f"{key}: {before[key]!r} → {after[key]!r}"
        for key in sorted(before.keys() & after.keys())
        if before[key] != after[key]
    ]


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts → one dict with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
