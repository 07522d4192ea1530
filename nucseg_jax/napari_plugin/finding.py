"""Runs the engine on the pixels of a layer; the widget calls it in a thread."""

import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax import __version__
from nucseg_jax.errors import UserError
from nucseg_jax.export.batches import Gathering
from nucseg_jax.export.measurements import Measurements
from nucseg_jax.inference.opened import Opened, opened
from nucseg_jax.inference.segmenter import Segmenter, painted
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.slides import Slide


@dataclass(frozen=True)
class Found:
    """The nuclei of an image.

    Attributes:
      label_map: int32 [H, W], as a `Segmenter` gives it.
      features: a value for each nucleus, by column: `index`, its number in the label map, and the other
        measurements of nuclei.csv (`export.measurements`). Empty without nuclei.
      notes: what the user should be told of the model and of the image.
      made_with: the model, the resolution and how it is known, for the layer's metadata.
    """

    label_map: NDArray[np.int32]
    features: dict[str, NDArray[Any]]
    notes: tuple[str, ...]
    made_with: dict[str, Any]


def find(
    model: str | Path,
    image: Opened,
    mpp: float | None,
    mpp_source: str,
    name: str,
    is_cancelled: Callable[[], bool],
) -> Generator[float, None, Found | None]:
    """Find the nuclei of an image: what is yielded is the part that is done, 0 … 1.

    Args:
      model: the name of an installed one, or a run's folder.
      image: as of `Segmenter`.
      mpp: its µm a pixel; None: the model's.
      mpp_source: how that is known.
      name: of the image, for messages.
      is_cancelled: is asked again and again, so that the work ends in the thread that does it.

    Returns:
      The nuclei; None where it was cancelled.

    Raises:
      UserError: the model cannot be loaded, or the image not be used.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the segmenter's notes, which are told below
        segmenter = _installed(model) if isinstance(model, str) else Segmenter.load(model)
    yield 0.0
    with _slide(image, mpp, segmenter.magnification.network_mpp, name) as slide:
        done: list[float] = []
        nuclei = segmenter.stream(slide, on_progress=done.append)
        taken: list[Nucleus] = []
        for nucleus in nuclei:
            if is_cancelled():
                return None
            taken.append(nucleus)
            if done:
                yield done.pop()
        made_with = {
            "model": str(model),
            "params_sha256": segmenter.facts["params_sha256"],
            "version": __version__,
            "mpp": slide.mpp,
            "mpp_source": mpp_source,
        }
        notes = (*segmenter.notes, *(f"{name}: {note}" for note in (*slide.notes, *nuclei.notes())))
        return Found(painted(taken, nuclei.frame), _features(taken, nuclei.frame), notes, made_with)


@lru_cache(maxsize=1)
def _installed(name: str) -> Segmenter:
    """A model that comes with the install, kept for the next image: compiling takes longer than an image."""
    return Segmenter.from_pretrained(name)


def _slide(image: Opened, mpp: float | None, assumed_mpp: float, name: str) -> Slide:
    """As `opened`; what it refuses is a UserError that names the layer."""
    try:
        return opened(image, mpp, assumed_mpp=assumed_mpp)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {error}") from error


def _features(nuclei: Sequence[Nucleus], frame: Frame) -> dict[str, NDArray[Any]]:
    gathering = Gathering(frame)
    batches = [gathering.add(nucleus) for nucleus in nuclei]
    measured = [batch.measurements for batch in (*batches, gathering.rest()) if batch is not None]
    if not measured:
        return {}
    columns = {
        field.name: np.concatenate([getattr(some, field.name) for some in measured])
        for field in fields(Measurements)
    }
    return {"index": columns.pop("id"), **columns}  # "index": napari finds a label's row by it
