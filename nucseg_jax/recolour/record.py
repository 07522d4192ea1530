"""stain.json: what a run of the command did, and a target for later runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import nucseg_jax
from nucseg_jax.errors import UserError, in_short
from nucseg_jax.io.files import write_text
from nucseg_jax.io.json_files import read_json
from nucseg_jax.slides import read_image
from nucseg_jax.stain.normalization import Style
from nucseg_jax.stain.normalizers import NORMALIZERS, Estimate, StainNormalizer, from_dict

DEFAULT_METHOD = "vahadane"


class Target(NamedTuple):
    """A fitted normaliser.

    Attributes:
      normalizer: fitted to the target.
      name: the target's file name.
      image: uint8 [H, W, 3], or None where the target is known from a stain.json alone.
      notes: what was done about its pixels (`slides.Slide`).
    """

    normalizer: StainNormalizer
    name: str
    image: np.ndarray | None
    notes: tuple[str, ...] = ()


def read_target(path: Path, method: str | None, *, white: int | None = None, crop: bool = True) -> Target:
    """Fit to an image, or take over the fitted target of an earlier run.

    Args:
      path: an image, or a .json file that `write_record` wrote.
      method: one of NORMALIZERS; None: the record's, or DEFAULT_METHOD.
      white, crop: as of `slides.read_image`.

    Raises:
      UserError: the file cannot be read, the image shows no stains, the record is damaged or of
        another method.
    """
    if path.suffix.lower() == ".json":
        return _recorded_target(path, method)
    image, _, notes = read_image(path, white=white, crop=crop)
    normalizer = NORMALIZERS[method or DEFAULT_METHOD]()
    try:
        normalizer.fit(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return Target(normalizer, path.name, image, notes)


def write_record(
    path: Path,
    target: Target,
    images: Mapping[str, Estimate],
    notes: Mapping[str, Sequence[str]],
    skipped: Mapping[str, str],
    *,
    together: bool,
) -> None:
    """Write stain.json, whole or not at all.

    Args:
      path: of the file.
      target: what the images were normalised to.
      images: by the input's file name the style it was taken to have, and whether it was found.
      notes: by the file name what was done about an image's pixels, where there is something to tell.
      skipped: by the file name why an image was left out.
      together: the style is one of all images, not each image's own.
    """
    record = {
        **target.normalizer.to_dict(),
        "target": target.name,
        "together": together,
        "images": {
            name: {"fell_back": not estimate.found, **_numbers(estimate.style)}
            for name, estimate in images.items()
        },
        "notes": {name: list(of_image) for name, of_image in notes.items()},
        "target_notes": list(target.notes),
        "skipped": dict(skipped),
        "versions": {"nucseg_jax": nucseg_jax.__version__, "jax": jax.__version__},
    }
    write_text(path, json.dumps(record, indent=2) + "\n")


def _numbers(style: Style) -> dict[str, Any]:
    return {key: np.asarray(value, np.float32).tolist() for key, value in style._asdict().items()}


def _recorded_target(path: Path, method: str | None) -> Target:
    record = read_json(path, _REMEDY)
    if not isinstance(record, dict) or not isinstance(record.get("method"), str):
        raise UserError(f"{path}: names no method, so this command did not write it. {_REMEDY}")
    try:
        normalizer = from_dict(record)
    except UserError as error:
        raise UserError(f"{path}: {in_short(error, 400)}. {_REMEDY}") from error
    if method not in (None, normalizer.name):
        raise UserError(
            f"{path}: holds a target of {normalizer.name}, not of {method}. Leave --method out, or give the "
            "target's image with --target"
        )
    return Target(normalizer, in_short(record.get("target", path.name)), None)


_REMEDY = "Give the target's image with --target, or the stain.json of another run"
