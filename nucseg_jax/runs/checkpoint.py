"""Orbax checkpoints: save, restore, and load a model with its config.

A checkpoint (`WORKDIR/checkpoints/STEP`) has these items: `model` (parameters and batch statistics: all
that inference needs), `optimizer`, `info`, a JSON with the config, the classes, the channel order, the
stain normalisation with its fitted target, µm a pixel, and the package version; and where `model`
is an average (in the cycles of self-correction, or a moving one) `training`: the weights that training goes
on from.

Where images are held out, `metrics` has their scores: those of SCORES and, under `score`, the one that the
best checkpoint is chosen by (`checkpoint.best_by` of the config in `info`). Earlier releases wrote the Dice
alone, as `f1`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nucseg_jax import __version__, devices
from nucseg_jax.models.network import Weights
from nucseg_jax.runs import stain_target
from nucseg_jax.runs.damage import CheckpointError, damaged, readable, whole
from nucseg_jax.runs.model import LoadedModel, network_of

CLASSES = ("background", "nucleus", "boundary")

SCORES = ("aji", "dice")
"""What `checkpoint.best_by` may be: scores of the held-out images, saved with each checkpoint."""


SHA256 = "sha256"
"""In `info`: by item the digest of what it holds; that of `info` is of what else it holds."""


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best on the held-out images.

    A context manager: at its end, however it comes, the checkpoint being written is completed.
    """

    def __init__(self, workdir: Path, keep: int):
        policies = [
            preservation_policy.LatestN(keep),
            preservation_policy.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            cleanup_tmp_directories=True,
        )
        self._manager = _open(_directory(workdir), options)

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        model: Weights,
        info: dict[str, Any],
        *,
        optimizer: Any | None = None,
        training: Weights | None = None,
        scores: Mapping[str, float] | None = None,
    ) -> None:
        """Write a checkpoint in the background; it appears under its name only when complete.

        Args:
          step: training steps done.
          model: what inference takes.
          info: see `describe`.
          optimizer: the optimizer's state, None for weights that were not trained here.
          training: what training goes on from, None where it is `model`.
          scores: means over the held-out images with `model`, SCORES among them; None without any, or where
            they have been saved with an earlier step.
        """
        trees: dict[str, Any] = {"model": model._asdict()}
        if training is not None:
            trees["training"] = training._asdict()
        if optimizer is not None:
            trees["optimizer"] = optimizer
        items = {name: ocp.args.StandardSave(_once(tree)) for name, tree in trees.items()}
        sha256 = {name: parameter_digest(tree) for name, tree in trees.items()}
        sha256["info"] = _info_digest(info)
        items["info"] = ocp.args.JsonSave({**info, SHA256: sha256})
        metrics = None
        if scores is not None:
            metrics = {**scores, "score": scores[info["config"]["checkpoint"]["best_by"]]}
        self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)

    def restore(self, model: Weights, optimizer: Any) -> tuple[Weights, Weights | None, Any]:
        """The newest checkpoint's (model, training, optimizer), shaped and placed like the arguments.

        Raises:
          CheckpointError: it is damaged.
        """
        weights = ocp.args.StandardRestore(_abstract(model._asdict()))
        args = {"model": weights, "optimizer": ocp.args.StandardRestore(_abstract(optimizer))}
        if _has_training(self._manager, self.latest):
            args["training"] = weights
        latest = self.latest
        assert latest is not None
        items = _restore(self._manager, latest, args)
        training = Weights(**items.training) if "training" in args else None
        return Weights(**items.model), training, items.optimizer

    def wait(self) -> None:
        """Return when the checkpoints that were asked for are complete."""
        self._manager.wait_until_finished()

    def info(self) -> dict[str, Any]:
        """The newest checkpoint's `info`."""
        return _restore_info(self._manager, self.latest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()


def describe(
    config: ConfigDict,
    dataset_metadata: dict[str, Any],
    stain: dict[str, Any] | None,
    resolution: dict[str, Any] | None,
) -> dict[str, Any]:
    """The `info` item of a checkpoint.

    Args:
      config: the experiment.
      dataset_metadata: how the training images were prepared, and which they are.
      stain: that of `runs.stain_target.describe`.
      resolution: image_mpp and network_mpp, µm a pixel of the images as they came and as the network sees
        them, and `source`, how that is known; None where nothing says so.
    """
    return {
        "config": json.loads(config.to_json_best_effort()),
        "classes": [*CLASSES, *(f"class {i}" for i in range(3, config.model.num_classes))][
            : config.model.num_classes
        ],
        "channel_order": config.model.channel_order,
        "scaling": "divided by 255",
        "input_scale": config.model.input_scale,
        "dataset": dataset_metadata,
        "stain": stain,
        "resolution": resolution,
        "version": __version__,
        "devices": jax.device_count(),
    }


def load_model(workdir: Path, mesh: Mesh, step: int | None = None) -> LoadedModel:
    """Load a trained network for inference.

    Args:
      workdir: a run's folder.
      mesh: where the weights go.
      step: which checkpoint; None: the best on the validation images, or the last if none were held out.

    Raises:
      CheckpointError: no such checkpoint, or it is damaged.
    """
    directory = _directory(workdir)
    options = ocp.CheckpointManagerOptions(best_fn=_score, read_only=True)
    if not directory.is_dir():
        raise CheckpointError(
            f"no checkpoint in {directory}: train first (--mode train), or name another --workdir"
        )
    with _open(directory, options) as manager:
        steps = sorted(manager.all_steps())
        if not steps:
            raise CheckpointError(f"no complete checkpoint in {directory}: train first (--mode train)")
        if step is None:
            step = _best(manager, steps)
        if step not in steps:
            raise CheckpointError(f"no checkpoint of step {step} in {directory}, which has steps {steps}")
        info = _restore_info(manager, step)
        with whole(manager, step):
            network, template = network_of(info)
            before = stain_target.before_network(info.get("stain"))
        args = {"model": ocp.args.StandardRestore(_abstract(template._asdict(), mesh))}
        weights = _restore(manager, step, args).model
    return LoadedModel(network, weights["params"], weights["batch_stats"], step, info, before)


def training_weights(workdir: Path, model: LoadedModel) -> Weights:
    """What training went on from at a model's step: not the model itself where that is an average.

    Args:
      workdir: the run's folder, which `model` was loaded from.
      model: where its weights are, these go.
    """
    options = ocp.CheckpointManagerOptions(best_fn=_score, read_only=True)
    with _open(_directory(workdir), options) as manager:
        if not _has_training(manager, model.step):
            return Weights(model.params, model.batch_stats)
        template = _abstract(Weights(model.params, model.batch_stats)._asdict())
        args = {"training": ocp.args.StandardRestore(template)}
        return Weights(**_restore(manager, model.step, args).training)


def parameter_digest(params: Any) -> str:
    """SHA-256 over every parameter's path and bytes: equal digests mean identical parameters."""
    digest = hashlib.sha256()
    for path, value in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(_local(value)).tobytes())
    return digest.hexdigest()


def _directory(workdir: Path) -> Path:
    return Path(workdir).resolve() / "checkpoints"


def _has_training(manager: ocp.CheckpointManager, step: int | None) -> bool:
    return (manager.directory / str(step) / "training").exists()


def _score(metrics: Any) -> float:
    """What a checkpoint is chosen by; an earlier release's has its Dice only."""
    return metrics["score"] if "score" in metrics else metrics["f1"]


def _once(tree: Any) -> Any:
    """Replicated arrays, each as the first device has it.

    Given as they are, Orbax cuts each in as many slices as there are devices, by a call each: with eight
    simulated devices CE2P took 8 s to save. Between processes it shares the work so.
    """
    if jax.process_count() > 1:
        return tree
    return jax.tree.map(_local, tree)


def _local(value: Any) -> Any:
    """A replicated array as the first device of this process has it."""
    return value.addressable_data(0) if isinstance(value, jax.Array) else value


def _abstract(tree: Any, mesh: Mesh | None = None) -> Any:
    """Shapes, dtypes and placement of a tree; placement on `mesh` where given, else the tree's own."""

    def leaf(x: Any) -> jax.ShapeDtypeStruct:
        placement = x.sharding if mesh is None else devices.replicated(mesh)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement)

    return jax.tree.map(leaf, tree)


def _restore(manager: ocp.CheckpointManager, step: int, args: Mapping[str, Any]) -> Any:
    """Items of a checkpoint, held against their digests.

    Raises:
      CheckpointError: an item cannot be read, is not what was written, or is not finite.
    """
    info = _restore_info(manager, step)
    with whole(manager, step):
        items = manager.restore(step, args=ocp.args.Composite(**args))
    for name in args:
        written = (info.get(SHA256) or {}).get(name)  # earlier releases wrote none
        if written is not None and parameter_digest(items[name]) != written:
            raise damaged(manager, step, f"the SHA-256 of its item {name} is not the one that was written")
        if name != "optimizer" and not _is_finite(items[name]):
            raise damaged(manager, step, f"its item {name} has values that are not finite")
    return items


def _is_finite(tree: Any) -> bool:
    return all(np.isfinite(_local(leaf)).all() for leaf in jax.tree.leaves(tree))


def _restore_info(manager: ocp.CheckpointManager, step: int | None) -> dict[str, Any]:
    assert step is not None
    with whole(manager, step):
        info = manager.restore(step, args=ocp.args.Composite(info=ocp.args.JsonRestore())).info
        written = info.get(SHA256, {}).get("info")  # earlier releases wrote none
        if written is not None and written != _info_digest(info):
            raise ValueError("the SHA-256 of its item info is not the one that was written")
        return info


def _info_digest(info: Mapping[str, Any]) -> str:
    content = {key: value for key, value in info.items() if key != SHA256}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _open(directory: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    with readable(directory):
        return ocp.CheckpointManager(directory, options=options)


def _best(manager: ocp.CheckpointManager, steps: Sequence[int]) -> int:
    """The best step by its scores; the last where none has any."""
    scored = False
    for step in steps:
        with whole(manager, step):
            metrics = manager.metrics(step)
            scored |= bool(metrics) and bool(np.isfinite(_score(metrics)))
    return manager.best_step() if scored else steps[-1]
