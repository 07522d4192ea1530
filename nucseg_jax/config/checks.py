"""Checks before work begins: values that would fail late, or silently mean another thing.

Rooms that need JAX or SciPy are imported in the functions: commands read a config before they load these.
"""

import difflib

from ml_collections import ConfigDict

from nucseg_jax.config.names import AVERAGES, LOSSES, PIPELINES, SCORES, STAIN_WHERE
from nucseg_jax.errors import UserError


def check_values(config: ConfigDict, devices: int) -> None:
    """Raise UserError for a value out of its range, naming key and value.

    Args:
      config: the experiment.
      devices: how many the batch is split over.
    """
    _check_pipeline(config)
    _check_stain(config.stain, config.data.stain)
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
    from nucseg_jax.models.network import InputFormat

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
        ("optim.loss", config.optim.loss, LOSSES),
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
    from nucseg_jax import instances

    instances.check(config.instances)
    if config.instances.method == "boundary" and config.model.num_classes < 3:
        raise UserError(instances.NEEDS_BOUNDARY)
    chosen = config.checkpoint.best_by
    if chosen is not None and chosen not in SCORES:
        raise UserError(f"checkpoint.best_by must be one of {', '.join(SCORES)}, got {chosen!r}")


def _check_stain(config: ConfigDict, prepared: str) -> None:
    """Raise UserError for a value of `config.stain` that means nothing.

    Args:
      config: `config.stain`.
      prepared: `config.data.stain`.
    """
    if config.where not in STAIN_WHERE:
        raise UserError(f"stain.where must be one of {', '.join(STAIN_WHERE)}, got {config.where!r}")
    from nucseg_jax.stain.normalizers import NORMALIZERS

    if config.method not in NORMALIZERS:
        raise UserError(f"stain.method must be one of {', '.join(NORMALIZERS)}, got {config.method!r}")
    if config.where == "model" and prepared != "none":
        raise UserError(
            f"stain.where = 'model' normalises in the network, but data.stain = {prepared!r} names a dataset "
            "that is normalised already. Set data.stain = 'none' (and prepare it with --stain none)"
        )
    for key, most in (("augment_scale", 1.0), ("augment_shift", float("inf"))):
        if not 0 <= config[key] <= most:
            raise UserError(f"stain.{key} must be in 0 … {most:g}, got {config[key]}")
