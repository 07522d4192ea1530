"""Which training images are held out, to choose the best checkpoint and to end training early."""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nucseg_jax.data.dataset import TRAIN, Dataset
from nucseg_jax.errors import UserError, listed
from nucseg_jax.runs.unseen import seen_of
from nucseg_jax.training.origin import Origin

FEWEST = 3
"""Training images from which on `data.hold_out` holds one out."""


def choose(config: ConfigDict, dataset: Dataset, origin: Origin | None) -> tuple[tuple[str, ...], str | None]:
    """The ids of the images that a new run holds out.

    Args:
      config: `config.data`: `validation` names them; where it names none, `hold_out` lets one be chosen.
      dataset: that it is trained on.
      origin: what it starts from, which may have seen them.

    Returns:
      The ids, and a line for the user where they are chosen here.

    Raises:
      UserError: the origin was trained on one that `validation` names.
    """
    images = dataset.splits[TRAIN]
    named = tuple(config.validation)
    seen = [] if origin is None else seen_of(origin.trained_on.images, dataset, images)
    if known := [image_id for image_id in named if image_id in seen]:
        assert origin is not None
        raise UserError(
            f"data.validation names {listed(known)}, and {origin.source} was trained on these images: their "
            "scores would be too high. Hold out others, or none"
        )
    if named or not config.hold_out:
        return named, None
    if len(images) < FEWEST:
        return (), (
            f"no image is held out, since there are fewer than {FEWEST} training images: training has its "
            "full length, and the last checkpoint counts"
        )
    counts = {e.id: e.nuclei for e in images if e.id not in seen}
    able = sorted((count, image_id) for image_id, count in counts.items() if count)
    if not able:
        return (), (
            "no image is held out, since what training starts from has seen all that have nuclei: training "
            "has its full length, and the last checkpoint counts"
        )
    count, chosen = able[(len(able) - 1) // 2]
    return (chosen,), (
        f"{chosen} is held out: of {len(images)} training images it has the median number of nuclei "
        f"({count}). data.validation=ID,… names others"
    )


def with_chosen(
    config: ConfigDict, dataset: Dataset, saved: dict[str, Any] | None, origin: Origin | None
) -> tuple[ConfigDict, str | None]:
    """The config with what a run that goes on keeps, or with the image that a new one holds out.

    Args:
      config: the experiment; it is not changed.
      dataset: that it is trained on.
      saved: the `info` of the checkpoint that it goes on from; None: it is new.
      origin: what a new one starts from.

    Returns:
      The config, and a line for the user where an image is chosen here, or could not be.

    Raises:
      UserError: see `choose`.
    """
    config = config.copy_and_resolve_references()
    if saved is None:
        config.data.validation, line = choose(config.data, dataset, origin)
        return config, line
    config.init.source = config.init.source or saved["config"].get("init", {}).get("source")
    if config.data.hold_out and not config.data.validation:
        config.data.validation = tuple(saved["config"]["data"]["validation"])
    return config, None


def how_it_ended(
    workdir: Path, info: dict[str, Any], steps: tuple[int, int, int], best: int | None
) -> list[str]:
    """What a user should know of the held-out images' part in a training: lines.

    Args:
      workdir: the run's folder.
      info: of its checkpoints.
      steps: that this command went on from, that it came to, and of the config.
      best: step of the best checkpoint; None where none has scores.
    """
    lines = []
    first, step, num_steps = steps
    if best is not None and step < num_steps:
        when = "is finished: it ended" if first == step else "ends early,"
        lines.append(
            f"{workdir} {when} at step {step} of {num_steps}, since the best checkpoint is of step {best} "
            f"(checkpoint.patience = {info['config']['checkpoint']['patience']})"
        )
    if best == 0:
        lines.append(
            f"note: no checkpoint is better on the held-out images than {info['init']['source']}, which "
            "training started from: the best one, which is loaded by default, is that of step 0"
        )
    return lines
