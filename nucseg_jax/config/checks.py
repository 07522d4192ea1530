"""Checks before work begins: values that would fail late, or silently mean another thing.

Rooms that need JAX or SciPy are imported in the functions: commands read a config before they load these.
"""

import difflib
import math

from ml_collections import ConfigDict

from nucseg_jax.config.names import (
    AVERAGES,
    BOUNDARIES,
    LOSSES,
    OPTIMIZERS,
    PIPELINES,
    RECOMPUTE,
    SCORES,
    SHARDS,
    STAIN_WHERE,
)
from nucseg_jax.config.overrides import flatten
from nucseg_jax.errors import UserError, in_short


def check_values(config: ConfigDict, devices: int) -> None:
    """Raise UserError for a value out of its range, naming key and value.

    Args:
      config: the experiment.
      devices: how many the batch is split over.
    """
    for key, value in flatten(config.to_dict()).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key} must be a finite number, got {value}")
        bits = 63 if key == "seed" else 31
        if isinstance(value, int) and value.bit_length() > bits:  # which may have too many digits to be shown
            raise UserError(f"{key} must be below 2**{bits}, got a number of {value.bit_length()} bits")
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
    _check_recipe(config)
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


def _shown(value: str) -> str:
    return in_short(repr(value))


def _check_pipeline(config: ConfigDict) -> None:
    pipeline = config.data.pipeline
    if pipeline not in PIPELINES:
        near = difflib.get_close_matches(pipeline, PIPELINES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UserError(f"unknown data.pipeline {_shown(pipeline)}: {hint}known are {', '.join(PIPELINES)}")
    if config.steps_per_dispatch > 1 and pipeline != "resident":
        raise UserError(
            f"steps_per_dispatch = {config.steps_per_dispatch} needs data.pipeline = 'resident', got "
            f"{_shown(pipeline)}, whose batches come from the host one by one"
        )
    correction = config.self_correction
    if pipeline == "streamed" and correction.cycles and correction.average != "nothing":
        raise UserError(
            f"self_correction.average = {_shown(correction.average)} needs all training images in memory at "
            "the end of each cycle, and data.pipeline = 'streamed' keeps none: set data.pipeline to 'tfdata' "
            "or 'resident', or self_correction.average to 'nothing'"
        )


def _check_objective(config: ConfigDict) -> None:
    """What is minimised, how the devices share it, and how cycles of self-correction go."""
    chosen = config.self_correction
    for key, value, known in (
        ("shard", config.shard, SHARDS),
        ("optim.method", config.optim.method, OPTIMIZERS),
        ("optim.loss", config.optim.loss, LOSSES),
        ("model.boundary", config.model.boundary, BOUNDARIES),
        ("model.recompute", config.model.recompute, RECOMPUTE),
        ("self_correction.average", chosen.average, AVERAGES),
    ):
        if value not in known:
            raise UserError(f"{key} must be one of {', '.join(known)}, got {_shown(value)}")
    if config.optim.loss == "ce2p" and config.model.name != "self_correction":
        raise UserError(
            "optim.loss = 'ce2p' is for the three branches of model.name = 'self_correction', got "
            f"{_shown(config.model.name)}: set optim.loss to cross_entropy"
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


def _check_recipe(config: ConfigDict) -> None:
    """The patches, the optimizer, the moving average, the boundary's class and the augmentation."""
    optim, augment, cycles = config.optim, config.augment, config.self_correction.cycles
    allowed = {
        "data.random_crops": (config.data.random_crops >= 0, "0 or more"),
        "checkpoint.patience": (config.checkpoint.patience >= 0, "0 or more"),
        "init.crop_um": (config.init.crop_um is None or config.init.crop_um > 0, "None or positive"),
        "data.size": (config.data.size is None or config.data.size > 0, "None or at least 1"),
        "optim.learning_rate": (optim.learning_rate > 0, "positive"),
        "optim.encoder_learning_rate": (
            optim.encoder_learning_rate is None or optim.encoder_learning_rate >= 0,
            "0 or more",
        ),
        "optim.reference_batch": (
            optim.reference_batch is None or optim.reference_batch >= 1,
            "None or at least 1",
        ),
        "optim.warmup_epochs": (optim.warmup_epochs >= 0, "0 or more"),
        "optim.boundary_weight": (optim.boundary_weight > 0, "positive"),
        "optim.average_decay": (0 <= optim.average_decay < 1, "at least 0 and below 1"),
        "augment.smallest_scale": (0.1 <= augment.smallest_scale <= 1, "from 0.1 to 1"),
        "augment.largest_scale": (1 <= augment.largest_scale <= 10, "from 1 to 10"),
        "augment.gamma": (1 <= augment.gamma <= 10, "from 1 to 10"),
        "augment.blur_px": (0 <= augment.blur_px <= 10, "from 0 to 10"),
        "augment.noise": (0 <= augment.noise <= 255, "from 0 to 255 grey levels"),
    }
    for key, (is_allowed, range_) in allowed.items():
        if not is_allowed:
            section, _, name = key.partition(".")
            raise UserError(f"{key} must be {range_}, got {config[section][name]}")
    if cycles and optim.average_decay and config.self_correction.average != "nothing":
        raise UserError(
            "optim.average_decay and self_correction.cycles both average the weights: set one of them to 0"
        )
    if cycles and optim.warmup_epochs:
        raise UserError(
            "optim.warmup_epochs is for trainings without cycles of self-correction, which have "
            "self_correction.warmup_epochs: set it to 0"
        )
    if cycles and config.checkpoint.patience:
        raise UserError(
            "checkpoint.patience is for trainings without cycles of self-correction, which end with the last "
            "one: set it to 0"
        )
    weighs = optim.loss == "cross_entropy_dice"
    if optim.boundary_weight != 1 and not (weighs and config.model.num_classes == 3):
        raise UserError(
            f"optim.boundary_weight = {optim.boundary_weight} has an effect with optim.loss = "
            "'cross_entropy_dice' and model.num_classes = 3 only: set these, or 1"
        )
    if config.model.boundary == "distance" and cycles and config.self_correction.average == "both":
        raise UserError(
            "model.boundary = 'distance' and refined labels exclude each other, since these begin as edges: "
            "set self_correction.average to parameters or nothing, or model.boundary to edge"
        )
    if config.model.boundary == "distance" and not (weighs and config.model.num_classes == 3):
        raise UserError(
            "model.boundary = 'distance' needs optim.loss = 'cross_entropy_dice' and model.num_classes = 3"
        )


def _check_nuclei(config: ConfigDict) -> None:
    """What the held-out images are scored by."""
    from nucseg_jax import instances
    from nucseg_jax.slides import tissue_mask

    instances.check(config.instances)
    tissue_mask.check_masked(config.instances.masked)
    if config.instances.method in instances.WITH_BOUNDARY and config.model.num_classes < 3:
        raise UserError(instances.NEEDS_BOUNDARY)
    chosen = config.checkpoint.best_by
    if chosen is not None and chosen not in SCORES:
        raise UserError(f"checkpoint.best_by must be one of {', '.join(SCORES)}, got {_shown(chosen)}")


def _check_stain(config: ConfigDict, prepared: str) -> None:
    """Raise UserError for a value of `config.stain` that means nothing.

    Args:
      config: `config.stain`.
      prepared: `config.data.stain`.
    """
    if config.where not in STAIN_WHERE:
        raise UserError(f"stain.where must be one of {', '.join(STAIN_WHERE)}, got {_shown(config.where)}")
    from nucseg_jax.stain.normalizers import NORMALIZERS

    if config.method not in NORMALIZERS:
        raise UserError(f"stain.method must be one of {', '.join(NORMALIZERS)}, got {_shown(config.method)}")
    if config.where == "model" and prepared != "none":
        raise UserError(
            f"stain.where = 'model' normalises in the network, but data.stain = {_shown(prepared)} names a "
            "dataset that is normalised already. Set data.stain = 'none' (and prepare it with --stain none)"
        )
    for key, most in (("augment_scale", 1.0), ("augment_shift", float("inf")), ("augment_residual", 1.0)):
        if not 0 <= config[key] <= most:
            raise UserError(f"stain.{key} must be in 0 … {most:g}, got {config[key]}")
