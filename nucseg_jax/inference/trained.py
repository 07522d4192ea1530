"""A trained network, of a run or of a model that ships, with all that finding nuclei takes from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import devices, pretrained
from nucseg_jax.devices import compilation_cache
from nucseg_jax.errors import UserError
from nucseg_jax.inference import magnification
from nucseg_jax.inference.magnification import Magnification
from nucseg_jax.inference.scan import Network
from nucseg_jax.inference.tile_network import TileNetwork
from nucseg_jax.instances import WITH_BOUNDARY
from nucseg_jax.io.files import printable
from nucseg_jax.runs import Run, open_run, run_of_model, started
from nucseg_jax.runs.model import model_of_tensors, understood
from nucseg_jax.runs.restoring import parameter_digest

_OVERRIDES = ("eval.augment", "eval.batch_size", "eval.overlap_px", "eval.step", "eval.tile_px")


class Trained(NamedTuple):
    """What a `Segmenter` is made of.

    Attributes:
      network: on the device.
      instances: `config.instances`: how nuclei are made of probabilities.
      magnification: at what resolution the network was trained.
      facts: what a summary says of the run.
      notes: what a user should be told before the first slide.
    """

    network: Network
    instances: ConfigDict
    magnification: Magnification
    facts: Mapping[str, Any]
    notes: Sequence[str]


def load(
    workdir: Path, overrides: Mapping[str, Any], network_mpp: float | None, mesh: Mesh | None = None
) -> Trained:
    """A run's best (or last) checkpoint; see `Segmenter.load`."""
    compilation_cache.enable()
    mesh = devices.make_mesh() if mesh is None else mesh
    return _for_slides(open_run(workdir, mesh, overrides), mesh, overrides, network_mpp, str(workdir))


def load_pretrained(
    name: str, overrides: Mapping[str, Any], network_mpp: float | None, mesh: Mesh | None = None
) -> Trained:
    """A model that comes with the install, or a file of one; see `Segmenter.from_pretrained`."""
    compilation_cache.enable()
    mesh = devices.make_mesh() if mesh is None else mesh
    file = pretrained.load(name)
    model = model_of_tensors(file.tensors, file.info, file.step, mesh, str(file.path))
    run = run_of_model(model, file.name, overrides, str(file.path))
    trained = _for_slides(run, mesh, overrides, network_mpp, str(file.path))
    facts = {key: value for key, value in trained.facts.items() if key != "workdir"}
    facts["pretrained"] = {"name": file.name, "sha256": file.sha256}
    return trained._replace(facts=facts)


def _for_slides(
    run: Run, mesh: Mesh, overrides: Mapping[str, Any], network_mpp: float | None, where: str
) -> Trained:
    with understood(where):
        if not isinstance(run.model.info["version"], str):
            raise TypeError("its version is no text")
        if run.config.data.crop_size < 1:
            raise ValueError(f"data.crop_size is {run.config.data.crop_size}")
        started.shown(run.model.info)
    found = magnification.of_checkpoint(run.model.info, network_mpp, where)
    _check_overrides(overrides)
    return of_run(run, mesh, found)


def of_run(
    run: Run,
    mesh: Mesh,
    found: Magnification,
    *,
    prepared: bool = False,
    keep_boundary: bool | None = None,
) -> Trained:
    """A run that is open already.

    Args:
      run: with the choices of evaluation made.
      mesh: where its weights are.
      found: at what resolution it was trained.
      prepared: images come with normalised stains.
      keep_boundary: maps have the network's boundaries; None: where the run's method looks at them.
    """
    config, model = run.config, run.model
    if keep_boundary is None:
        keep_boundary = config.instances.method in WITH_BOUNDARY
    network = TileNetwork.of(
        config,
        model.network,
        model.weights,
        mesh,
        stain=None if prepared else model.stain,
        augment=config.eval.augment,
        has_boundary=keep_boundary and config.model.num_classes > 2,
    )
    notes = list(run.notes)
    if found.assumed:
        notes.append(
            f"{run.workdir}: taken to be trained at {found.network_mpp:g} µm a pixel ({found.source}). "
            "--network-mpp, or network_mpp= in Python, says otherwise"
        )
    if not prepared and run.lacks_target:
        notes.append(
            f"{run.workdir}: was trained on images with normalised stains ({config.data.stain}), but "
            "holds no target for that: images are taken as they are, which costs accuracy"
        )
    facts = {
        "workdir": printable(run.workdir),
        "model": config.model.name,
        "step": model.step,
        "params_sha256": parameter_digest(model.params),
        **started.facts(model.info),
        "config": model.info["config"],
        "trained_with": model.info["version"],
        **run.settings(),
    }
    return Trained(network, config.instances, found, facts, notes)


def _check_overrides(overrides: Mapping[str, Any]) -> None:
    """Raise UserError for those that change nothing of how slides are segmented."""
    for key in overrides:
        if not key.startswith("instances.") and key not in _OVERRIDES:
            raise UserError(
                f"--set {key}: has no effect on slides. There are {', '.join(_OVERRIDES)} and instances.…"
            )
