"""What a training starts from, where that is a trained network: `--init`.

Its weights are taken by name and shape. Batch statistics are among them; the optimizer starts anew.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import pretrained, runs
from nucseg_jax.data.dataset import Dataset
from nucseg_jax.errors import UserError, listed
from nucseg_jax.inference import magnification
from nucseg_jax.models.network import Weights
from nucseg_jax.runs import stain_target, started
from nucseg_jax.runs.compatibility import changed_input
from nucseg_jax.runs.model import model_of_tensors, understood
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.runs.tensors import filled, named
from nucseg_jax.runs.unseen import Trained, trained_on

_FARTHEST = 1.1
"""Between the resolutions of two networks of which one can start from the other."""

_ENCODER = "encoder"


@dataclass(frozen=True)
class Origin:
    """A trained network that a training starts from.

    Attributes:
      source: how the user has named it.
      run: with the settings that it is used with, tuned ones included.
      magnification: the resolution that it sees.
      file_sha256: digest of the model's file; None for a run's folder.
    """

    source: str
    run: runs.Run
    magnification: magnification.Magnification
    file_sha256: str | None

    @property
    def trained_on(self) -> Trained:
        """The images that it was trained on."""
        return trained_on(self.run.model.info)

    def record(self) -> dict[str, Any]:
        """What checkpoints of the new run say of it.

        `source`, `model`, `step`, `params_sha256` and `sha256` (of its file), `network_mpp`, `version`,
        `images` (id and SHA-256 of those that it was trained on), `images_complete` (it says all of them) and
        `init`, the same of what it started from itself, without its images, which are among these.
        """
        model = self.run.model
        seen = self.trained_on
        return {
            "source": self.source,
            "model": self.run.config.model.name,
            "step": model.step,
            "params_sha256": parameter_digest(model.params),
            "sha256": self.file_sha256,
            "network_mpp": self.magnification.network_mpp,
            "version": model.info["version"],
            "images": [list(image) for image in seen.images],
            "images_complete": seen.is_complete,
            "init": started.shown(model.info),
        }


def read(source: str, mesh: Mesh) -> Origin:
    """Read a trained network.

    Args:
      source: an installed model's name, a file that ends with .safetensors, or a run's folder, of which the
        best checkpoint (or the last) is taken.
      mesh: where its weights go.

    Raises:
      UserError: there is none, or it is damaged.
      CheckpointError: a run's folder without a checkpoint, or with a damaged one.
    """
    if source in pretrained.names() or source.endswith(pretrained.SUFFIX):
        file = pretrained.load(source)
        model = model_of_tensors(file.tensors, file.info, file.step, mesh, str(file.path))
        run, sha256 = runs.run_of_model(model, file.name, {}, str(file.path)), file.sha256
    elif Path(source).is_dir():
        run, sha256 = runs.open_run(Path(source), mesh, {}), None
    else:
        known = pretrained.names()
        near = difflib.get_close_matches(source, known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(
            f"--init {source}: there is no such run's folder or model: {hint}Installed are "
            f"{', '.join(known) or 'none'}; a file of your own ends with {pretrained.SUFFIX}"
        )
    found = Origin(source, run, magnification.of_checkpoint(run.model.info, where=source), sha256)
    with understood(source):
        found.record()
    return found


def check_resolution(origin: Origin, dataset: Dataset) -> str | None:
    """Raise UserError where a network would see its images at another resolution than before.

    Returns:
      A line for the user where the network does not say what it was trained at, and another one is assumed.
    """
    ours, theirs = dataset.prepared_mpp, origin.magnification.network_mpp
    if max(ours, theirs) <= _FARTHEST * min(ours, theirs):
        return None
    if origin.magnification.assumed:
        return (
            f"{origin.source} is taken to be trained at {theirs:g} µm a pixel "
            f"({origin.magnification.source}), and {dataset.name} has {ours:.3g}"
        )
    raise UserError(
        f"{dataset.name}: its images have {ours:.3g} µm a pixel ({dataset.mpp_source}), and {origin.source} "
        f"was trained at {theirs:g}. {_remedy(dataset, theirs)}"
    )


def _remedy(dataset: Dataset, mpp: float) -> str:
    """How images come to another resolution."""
    shapes = {e.original_size for examples in dataset.splits.values() for e in examples}
    side = max(shape[0] for shape in shapes)
    rescale = f"Cut them out of their slides with nucseg prepare cut --to-mpp {mpp:g}, or rescale them"
    if shapes == {(side, side)}:
        rescale = f"Prepare them with --size {round(side * dataset.mpp / mpp)}"
    wrong = f"or, if {dataset.mpp:g} is not what the raw images have, with the right --mpp"
    return f"{rescale}; {wrong}; or start from a network of that resolution"


def stain_of(origin: Origin | None, config: ConfigDict, dataset: Dataset) -> dict[str, Any] | None:
    """How stains are normalised in a new run: in the network as the origin's are, to its target.

    Args:
      origin: what the run starts from, if anything.
      config: `config.stain`.
      dataset: that it is trained on.

    Raises:
      DataError: see `runs.stain_target.describe`.
    """
    before = None if origin is None else origin.run.model.info.get("stain")
    is_same = before is not None and before["where"] == config.where == "model" and config.target is None
    if before is not None and is_same and before["method"] == config.method:
        return before
    return stain_target.describe(config, dataset)


def notes(origin: Origin, info: dict[str, Any]) -> list[str]:
    """What reaches the new network otherwise than its origin, or what its classes say otherwise: lines.

    Args:
      origin: what the run starts from.
      info: of the run's checkpoints.
    """
    before = origin.run.model.info
    found = changed_input(before["config"], info["config"])
    styles = [(x.get("dataset") or {}).get("stain_style") for x in (before, info)]
    if None not in styles and styles[0] != styles[1]:
        found.append("the stains that images are normalised to")
    return [f"{origin.source} was trained otherwise: {line}" for line in found]


def taken(origin: Origin, drawn: Weights) -> tuple[Weights, str]:
    """The origin's weights, by name and shape; what it does not have in that shape stays as it was drawn.

    Args:
      origin: whose weights they are.
      drawn: the new network's weights.

    Returns:
      The new network's weights, and a line for the user.

    Raises:
      UserError: the two have too little in common: not all of the encoder, or, of networks without one, not
        half of the weights.
    """
    source, new = named(origin.run.model.weights), named(drawn)
    fits = {name for name, value in new.items() if name in source and source[name].shape == value.shape}
    missing = [f"{name} ({_change(source.get(name), new[name])})" for name in new if name not in fits]
    if not _has_enough(new, fits):
        raise UserError(
            f"--init {origin.source}: its network is another ({_described(origin)}): {len(missing)} of "
            f"{len(new)} tensors cannot be taken, such as {listed(missing, 2)}. Leave model.name and "
            "model.width to be its own (configs/finetune.py does), or start from another network"
        )
    values = {name: np.asarray((source if name in fits else new)[name][...]) for name in new}
    left = [name for name in source if name not in new]
    return filled(drawn, values), _line(origin, len(new), missing, left)


def _line(origin: Origin, count: int, missing: list[str], left: list[str]) -> str:
    line = f"training starts from {origin.source}, step {origin.run.model.step:,}: "
    if not missing and not left:
        return f"{line}all {count} tensors are taken"
    if missing:
        line += f"{len(missing)} of {count} tensors are not taken, and start at random: {listed(missing)}"
    else:
        line += f"all {count} tensors are taken"
    return f"{line}; of its own {len(left)} are left out: {listed(left)}" if left else line


def _has_enough(new: Mapping[str, Any], fits: set[str]) -> bool:
    encoder = {name for name in new if name.split(".")[1] == _ENCODER}
    if encoder:
        return encoder <= fits
    return 2 * sum(new[name].size for name in fits) >= sum(value.size for value in new.values())


def _described(origin: Origin) -> str:
    model = origin.run.config.model
    return f"{model.name}, model.width {model.width:g}, {model.num_classes} classes"


def _change(before: Any, now: Any) -> str:
    return f"{'none' if before is None else _shape(before)} → {_shape(now)}"


def _shape(value: Any) -> str:
    return "×".join(map(str, value.shape))
