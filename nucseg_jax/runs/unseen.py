"""Whether a run was trained on the images that it is scored on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from nucseg_jax.data.annotation import check_nuclei
from nucseg_jax.data.dataset import TRAIN, Dataset, Example
from nucseg_jax.errors import UserError, listed
from nucseg_jax.io.images import pixel_sha256

_DATASET_KEYS = ("data.dataset", "data.split", "data.stain", "data.size")


class Seen(NamedTuple):
    """An image that a network was trained on.

    Attributes:
      id: its name.
      sha256: of its pixels as they came; None where that was not recorded.
    """

    id: str
    sha256: str | None


class Trained(NamedTuple):
    """What a network is known to be trained on.

    Attributes:
      images: the known ones.
      is_complete: there were no others.
    """

    images: list[Seen]
    is_complete: bool


def trained_on(info: Mapping[str, Any]) -> Trained:
    """The images that a checkpoint's network was trained on, and what it started from before it.

    Args:
      info: of the checkpoint; one that was converted from PyTorch does not say.
    """
    own, before = _in_the_run(info), _before_the_run(info)
    images = list(dict.fromkeys([*own.images, *before.images]))
    return Trained(images, own.is_complete and before.is_complete)


def _in_the_run(info: Mapping[str, Any]) -> Trained:
    dataset = info.get("dataset") or {}
    if "converted_from" in info or "images" not in dataset.get("manifest", {}):
        return Trained([], False)
    held_out = info["config"]["data"]["validation"]
    known = dataset.get("sha256", {})
    images = [
        Seen(entry["id"], known.get(entry["id"]) or entry["sha256"] or None)
        for entry in dataset["manifest"]["images"]
        if entry["split"] == TRAIN and entry["id"] not in held_out
    ]
    return Trained(images, True)


def _before_the_run(info: Mapping[str, Any]) -> Trained:
    """Of the network that the run started from (`training.origin`)."""
    before = info.get("init")
    if before is None:
        return Trained([], True)
    return Trained([Seen(*image) for image in before["images"]], before["images_complete"])


def check_scored(workdir: Path, info: Mapping[str, Any], dataset: Dataset) -> None:
    """Raise the error now that scoring a run on the other splits of its dataset would end with.

    Args:
      workdir: the run's folder, for the message.
      info: of its checkpoints.
      dataset: that it is trained on.

    Raises:
      UserError: an image is in the training split, too.
      DataError: no image of a split has a nucleus.
    """
    for examples in dataset.scored().values():
        check_unseen(workdir, info, dataset, examples)
        check_nuclei(dataset.name, "images", examples)


def check_unseen(
    workdir: Path, info: Mapping[str, Any], dataset: Dataset, examples: Sequence[Example]
) -> str | None:
    """Raise UserError if a run was trained on some of the images to score or to tune on.

    Images are the same if their pixels are; where a SHA-256 is not known, if their ids are.

    Args:
      workdir: the run's folder, for the message.
      info: of its checkpoint.
      dataset: that the images are of.
      examples: the images.

    Returns:
      A line for the user where the checkpoint does not say what it was trained on.
    """
    own, before = _in_the_run(info), _before_the_run(info)
    if seen := seen_of(own.images, dataset, examples):
        _refuse(workdir, info, dataset, seen, len(examples), own.images)
    if seen := seen_of(before.images, dataset, examples):
        raise UserError(
            f"{workdir} started from {info['init']['source']}, which was trained on {len(seen)} of these "
            f"{len(examples)} images of {dataset.name}: {listed(seen)}. Its scores on them are too high. "
            "Leave them out of what is scored (nucseg prepare folder --no-test leaves out all), or start "
            "from another network"
        )
    if own.is_complete and before.is_complete:
        return None
    unknown = f"{workdir}: does not record which images it was trained on"
    if own.is_complete:
        unknown = f"{workdir}: started from {info['init']['source']}, which does not record all its images"
    return f"{unknown}. Its scores on such images are too high"


def seen_of(trained: Sequence[Seen], dataset: Dataset, examples: Sequence[Example]) -> list[str]:
    """The ids of those images that are among the trained ones.

    Args:
      trained: images that a network was trained on.
      dataset: that the images are of.
      examples: the images.
    """
    return [e.id for e in examples if _is_among(e, dataset, trained)]


def _refuse(
    workdir: Path,
    info: Mapping[str, Any],
    dataset: Dataset,
    seen: Sequence[str],
    count: int,
    own: Sequence[Seen],
) -> NoReturn:
    """Raise UserError: a run was trained on images that it is to be scored on."""
    start = (
        f"{workdir} was trained on {len(seen)} of these {count} images of {dataset.name}: {', '.join(seen)}. "
    )
    if dataset.metadata.get("manifest") == info["dataset"]["manifest"] and not (
        set(seen) & {image.id for image in own}
    ):
        raise UserError(f"{start}Their pixels are in both splits of it: prepare it with each image once")
    keys = {key: info["config"]["data"].get(key.removeprefix("data.")) for key in _DATASET_KEYS}
    own_data = " ".join(f"{key}={value}" for key, value in keys.items() if value is not None)
    held_out = tuple(info["config"]["data"]["validation"])
    raise UserError(
        f"{start}It has not seen the test images of its own dataset ({own_data})"
        + (f" and those that it held out (data.validation = {held_out})" if held_out else "")
    )


def _is_among(example: Example, dataset: Dataset, trained: Sequence[Seen]) -> bool:
    sha256 = dataset.metadata.get("sha256", {}).get(example.id)
    if sha256 is None and example.original_image is not None:
        sha256 = pixel_sha256(example.original_image)
    if sha256 is not None and any(image.sha256 == sha256 for image in trained):
        return True
    return any(image.id == example.id and None in (sha256, image.sha256) for image in trained)
