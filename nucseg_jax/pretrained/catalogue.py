"""The models that come with the install, and what is known of each."""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError, in_short
from nucseg_jax.pretrained.weights_file import REMEDY, SUFFIX, PretrainedModel, read

FOLDER = Path(__file__).parent / "models"
"""Holds NAME.safetensors and NAME.json of each model."""

DEFAULT = "he"


class Card(NamedTuple):
    """What people should know of a model.

    Attributes:
      title: what it is for, in a line.
      licence: of the weights, an SPDX expression.
      training_images: by source.
      scores: of its recipe, on images that were not trained on: rows of trained_on, scored_on, images, and
        some of aji, pq, dice.
    """

    title: str
    licence: str
    training_images: Mapping[str, int]
    scores: tuple[Mapping[str, Any], ...]


def names() -> tuple[str, ...]:
    """Of the models that are installed, the default first."""
    found = sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))
    return tuple(sorted(found, key=lambda name: name != DEFAULT))


def load(name_or_file: str | Path) -> PretrainedModel:
    """Read a model.

    Args:
      name_or_file: one of `names`, or a file of one's own that ends with SUFFIX.

    Raises:
      UserError: no such model; the file is damaged.
    """
    text = str(name_or_file)
    if text.endswith(SUFFIX):
        return read(Path(text))
    known = names()
    if text not in known:
        near = difflib.get_close_matches(text, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"no model {text!r} is installed: {hint}there are {', '.join(known) or 'none'}; a file of your "
            f"own ends with {SUFFIX}. (A run's folder is given with --workdir, or to Segmenter.load)"
        )
    return read(FOLDER / f"{text}{SUFFIX}")


def card(name: str) -> Card:
    """What is known of an installed model.

    Raises:
      UserError: its file is damaged, or cannot be read.
    """
    path = FOLDER / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Card(
            content["title"], content["licence"], content["training_images"], tuple(content["scores"])
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read, or is damaged ({in_short(error)}). {REMEDY}") from error
