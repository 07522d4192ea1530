"""What an experiment does about stains: its config and its dataset → normaliser and augmentation."""

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from nucseg_jax.data.dataset import TRAIN, Dataset
from nucseg_jax.errors import DataError, shown
from nucseg_jax.models.network import Augmentation
from nucseg_jax.slides import read_image
from nucseg_jax.slides.white import UnknownWhite
from nucseg_jax.stain.augmentation import augment
from nucseg_jax.stain.normalization import Stains
from nucseg_jax.stain.normalizers import NORMALIZERS, StainNormalizer, from_dict
from nucseg_jax.stain.stained_pixels import REFERENCE, unit_rows


def describe(config: ConfigDict, dataset: Dataset) -> dict[str, Any] | None:
    """The normalisation that images need before or in the network, for checkpoints; None if none.

    `where`, `target` (the image's name) and all that `StainNormalizer.to_dict` gives.

    Args:
      config: `config.stain`.
      dataset: what is trained on; it has the target image, unless `config.target` names a file.

    Raises:
      DataError: no such target, or it shows no stains; the dataset was normalised to another.
    """
    if config.where == "prepare":
        target = dataset.metadata.get("stain_target")
        if config.target not in (None, target):
            raise DataError(
                f"stain.target = {config.target!r}, but {dataset.name} was normalised to {target!r}. Prepare "
                "it again with --stain-target, or leave stain.target out"
            )
        style = dataset.metadata.get("stain_style")
        return None if style is None else {"where": "prepare", "target": target, **style}
    name = config.target or dataset.metadata.get("manifest", {}).get("stain_target")
    image = _target_image(name, dataset)
    try:
        normalizer = NORMALIZERS[config.method]().fit(image)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    return {"where": "model", "target": name, **normalizer.to_dict()}


def in_network(description: Mapping[str, Any] | None) -> StainNormalizer | None:
    """The normaliser in the network's input, from what `describe` gave."""
    return from_dict(description) if description and description["where"] == "model" else None


def before_network(description: Mapping[str, Any] | None) -> StainNormalizer | None:
    """The normaliser for images on their way to the network, from what `describe` gave."""
    return from_dict(description) if description and description["where"] == "prepare" else None


def augmentation(config: ConfigDict, description: Mapping[str, Any] | None) -> Augmentation | None:
    """Stain augmentation by `config.stain`, or None where it changes nothing.

    Its stain vectors are the normalisation target's; where there is none, or it has none, Macenko's.
    """
    if not (config.augment_scale or config.augment_shift or config.augment_residual):
        return None
    target = from_dict(description).target if description else None
    matrix = target.matrix if isinstance(target, Stains) else unit_rows(REFERENCE, jnp.float32)
    return partial(
        augment,
        matrix=jnp.asarray(matrix),
        scale=config.augment_scale,
        shift=config.augment_shift,
        residual=config.augment_residual,
    )


def _target_image(name: str | None, dataset: Dataset) -> Any:
    if not name:
        raise DataError(
            f"{dataset.name} names no stain target: set stain.target to the id of a training image or to an "
            "image file"
        )
    for example in dataset.splits[TRAIN]:
        if example.id == name:
            return example.image
    if not Path(name).is_file():
        known = ", ".join(e.id for e in dataset.splits[TRAIN])
        raise DataError(
            f"stain.target = {name!r} is neither a file nor a training image of {dataset.name}, which has: "
            f"{known}"
        )
    try:
        image = read_image(name)
    except UnknownWhite as error:  # whose remedy is an option that training does not have
        raise DataError(
            f"stain.target {error.finding}. Export it again as 8-bit RGB, or name a training image by its id"
        ) from error
    for note in image.notes:
        warnings.warn(shown(f"stain.target {name}: {note}"), stacklevel=2)
    return image.pixels
