"""Whether a checkpoint is of the run that goes on from it, and takes the images that it is shown."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nucseg_jax.config import flatten
from nucseg_jax.errors import UserError

# What may differ between a run and its continuation without making it another run.
FREE_KEYS = (
    "log_every",
    "steps_per_dispatch",
    "deterministic",
    "shard",
    "checkpoint.every",
    "checkpoint.keep",
    "eval",
    "instances",
    "data.dir",
    "data.pipeline",
    "model.encoder_weights",
    "model.recompute",
    "init.source",
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

# What a network's weights can be trained to take, or to say, anew.
MEANING_KEYS = (
    "model.boundary",
    "model.channel_order",
    "model.input_scale",
    "data.stain",
    "stain.where",
)


# What releases did that did not have these keys in their configs.
EARLIER: dict[str, Any] = {
    "optim.loss": "cross_entropy",
    "optim.method": "sgd",
    "optim.encoder_learning_rate": None,
    "optim.reference_batch": None,
    "optim.warmup_epochs": 0.0,
    "optim.average_decay": 0.0,
    "optim.average_warmup": True,
    "augment.smallest_scale": 1.0,
    "augment.largest_scale": 1.0,
    "augment.gamma": 1.0,
    "augment.blur_px": 0.0,
    "augment.noise": 0.0,
    "stain.augment_residual": 0.0,
    "model.boundary": "edge",
    "self_correction.cycles": 0,
    "checkpoint.best_by": "dice",
    "data.balance_sources": False,
    "data.hold_out": False,
    "init.source": None,
    "init.settings": [],
    "init.crop_um": None,
    "optim.freeze_statistics": False,
    "checkpoint.patience": 0,
    "shard": "none",
    "model.recompute": "auto",
}

# Metadata of the dataset that decides its pixels and labels.
PREPARED_BY = {
    "sha256": "SHA-256 of their sources",
    "stain_backend": "what normalised their stains",
    "stain_style": "the stains they were normalised to",
    "label_noise": "errors added to their training labels",
}


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
    _check_same_source(saved["config"], now["config"], workdir)
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
            f"{workdir} holds a run of another config:",
            *(f"  {line}" for line in different),
            "Use another --workdir, or the config it was started with.",
        )


def _check_same_source(saved: dict[str, Any], now: dict[str, Any], workdir: Path) -> None:
    """Raise UserError where a run that goes on is given another network to start from.

    One that is given none has it in its checkpoint.
    """
    before, after = saved.get("init", {}).get("source"), now["init"]["source"]
    if after is None or (before is not None and are_same_source(before, after)):
        return
    begun = "from random weights" if before is None else f"from {before}"
    raise UserError(
        f"{workdir} holds a run that started {begun}, not from {after}: use another --workdir, or leave "
        "--init out to go on with it"
    )


def are_same_source(source: str, other: str) -> bool:
    """Whether two texts that `--init` may have name one model or one folder."""
    return source == other or Path(source).resolve() == Path(other).resolve()


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
    for key in ("shard", "model.recompute"):
        pairs.append((key, (EARLIER | flatten(before))[key], flatten(after)[key]))
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
            f"{workdir} holds a network trained with another config:",
            *(f"  {line}" for line in different),
            "Give the config it was trained with.",
        )


def changed_input(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`key: before → after` of what a network that starts from another one sees, or says, otherwise.

    Args:
      saved, now: configs of the two as plain dicts.
    """
    return [line for line in _differences(saved, now) if line.startswith(_prefixes(MEANING_KEYS))]


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
