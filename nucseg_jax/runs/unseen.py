"""Whether a run was trained on the images that it is scored on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nucseg_jax.data.dataset import TRAIN, Dataset, Example, check_nuclei
from nucseg_jax.errors import UserError
from nucseg_jax.io.images import pixel_sha256

_DATASET_KEYS = ("data.dataset", "data.split", "data.stain", "data.size")


def trained_on(info: Mapping[str, Any]) -> dict[str, str | None] | None:
    """The images that a checkpoint's network was trained on.

    Args:
      info: of the checkpoint.

    Returns:
      id → SHA-256 of its pixels as they came (None where that was not recorded); None for a checkpoint that
      does not say, as those that were converted from PyTorch.
    """
    dataset = info.get("dataset") or {}
    if "converted_from" in info or "images" not in dataset.get("manifest", {}):
        return None
    held_out = info["config"]["data"]["validation"]
    known = dataset.get("sha256", {})
    return {
        entry["id"]: known.get(entry["id"]) or entry["sha256"] or None
        for entry in dataset["manifest"]["images"]
        if entry["split"] == TRAIN and entry["id"] not in held_out
    }


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
    trained = trained_on(info)
    if trained is None:
        return (
            f"{workdir}: does not record which images it was trained on. Its scores on such images are too "
            "high"
        )
    seen = [e.id for e in examples if _is_among(e, dataset, trained)]
    if not seen:
        return None
    start = (
        f"{workdir} was trained on {len(seen)} of these {len(examples)} images of {dataset.name}: "
        f"{', '.join(seen)}. "
    )
    if dataset.metadata.get("manifest") == info["dataset"]["manifest"] and not set(seen) & set(trained):
        raise UserError(f"{start}Their pixels are in both splits of it: prepare it with each image once")
    own = {key: info["config"]["data"].get(key.removeprefix("data.")) for key in _DATASET_KEYS}
    own_data = " ".join(f"{key}={value}" for key, value in own.items() if value is not None)
    held_out = tuple(info["config"]["data"]["validation"])
    raise UserError(
        f"{start}It has not seen the test images of its own dataset ({own_data})"
        + (f" and those that it held out (data.validation = {held_out})" if held_out else "")
    )


def _is_among(example: Example, dataset: Dataset, trained: Mapping[str, str | None]) -> bool:
    sha256 = dataset.metadata.get("sha256", {}).get(example.id)
    if sha256 is None and example.original_image is not None:
        sha256 = pixel_sha256(example.original_image)
    if sha256 is not None and sha256 in trained.values():
        return True
    return example.id in trained and None in (sha256, trained[example.id])
