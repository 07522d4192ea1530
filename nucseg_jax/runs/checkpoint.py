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

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nucseg_jax import __version__, devices
from nucseg_jax.errors import UserError
from nucseg_jax.io.disk import check_room, named_when_full
from nucseg_jax.io.locks import alone, lock_inside
from nucseg_jax.models.network import Weights
from nucseg_jax.runs import stain_target
from nucseg_jax.runs.model import LoadedModel, network_of
from nucseg_jax.runs.restoring import (
    SHA256,
    CheckpointError,
    first_copy,
    info_digest,
    parameter_digest,
    read_info,
    readable,
    restore,
    whole,
)

CLASSES = ("background", "nucleus", "boundary")

SCORES = ("aji", "dice")
"""What `checkpoint.best_by` may be: scores of the held-out images, saved with each checkpoint."""


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best on the held-out images.

    A context manager: at its end, however it comes, the checkpoint being written is completed. No two
    processes may train into one folder.

    Raises:
      InUseError: another process does.
      UserError: the first of several processes cannot train there; that one says why.
      DiskFullError: at the end: the disk became full.
    """

    def __init__(self, workdir: Path, keep: int):
        self._workdir = workdir
        policies = [
            preservation_policy.LatestN(keep),
            preservation_policy.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=_score,
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            cleanup_tmp_directories=True,
        )
        with contextlib.ExitStack() as stack:
            _enter_alone(workdir, stack)
            with named_when_full(workdir):
                self._manager = _open(_directory(workdir), options)
            stack.callback(self._close)
            self._stack = stack.pop_all()

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

        Raises:
          DiskFullError: the disk has no room for it.
        """
        trees: dict[str, Any] = {"model": model._asdict()}
        if training is not None:
            trees["training"] = training._asdict()
        if optimizer is not None:
            trees["optimizer"] = optimizer
        # Before Orbax finds it, whose threads fail with pages of text.
        check_room(_directory(self._workdir), sum(leaf.nbytes for leaf in jax.tree.leaves(trees)))
        items = {name: ocp.args.StandardSave(_once(tree)) for name, tree in trees.items()}
        sha256 = {name: parameter_digest(tree) for name, tree in trees.items()} | {"info": info_digest(info)}
        items["info"] = ocp.args.JsonSave({**info, SHA256: sha256})
        metrics = None
        if scores is not None:
            metrics = {**scores, "score": scores[info["config"]["checkpoint"]["best_by"]]}
        with named_when_full(self._workdir):  # of this one, or the one before, whose writing has ended
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
        items = restore(self._manager, latest, args)
        training = Weights(**items.training) if "training" in args else None
        return Weights(**items.model), training, items.optimizer

    def wait(self) -> None:
        """Return when the checkpoints that were asked for are complete."""
        with named_when_full(self._workdir):
            self._manager.wait_until_finished()

    def info(self) -> dict[str, Any]:
        """The newest checkpoint's `info`."""
        return read_info(self._manager, self.latest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def _close(self) -> None:
        with named_when_full(self._workdir):
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
    if not directory.is_dir():
        raise CheckpointError(
            f"no checkpoint in {directory}: train first (--mode train), or name another --workdir"
        )
    with _reader(directory) as manager:
        steps = sorted(manager.all_steps())
        if not steps:
            raise CheckpointError(f"no complete checkpoint in {directory}: train first (--mode train)")
        if step is None:
            step = _best(manager, steps)
        if step not in steps:
            raise CheckpointError(f"no checkpoint of step {step} in {directory}, which has steps {steps}")
        info = read_info(manager, step)
        with whole(manager, step):
            network, template = network_of(info)
            before = stain_target.before_network(info.get("stain"))
        args = {"model": ocp.args.StandardRestore(_abstract(template._asdict(), mesh))}
        weights = restore(manager, step, args).model
    return LoadedModel(network, weights["params"], weights["batch_stats"], step, info, before)


def training_weights(workdir: Path, model: LoadedModel) -> Weights:
    """What training went on from at a model's step: not the model itself where that is an average.

    Args:
      workdir: the run's folder, which `model` was loaded from.
      model: where its weights are, these go.
    """
    with _reader(_directory(workdir)) as manager:
        if not _has_training(manager, model.step):
            return Weights(model.params, model.batch_stats)
        template = _abstract(Weights(model.params, model.batch_stats)._asdict())
        args = {"training": ocp.args.StandardRestore(template)}
        return Weights(**restore(manager, model.step, args).training)


def _enter_alone(workdir: Path, stack: contextlib.ExitStack) -> None:
    """Keep other trainings out of a folder until the stack ends.

    The first process does it, and all learn whether it could: Orbax waits for every process, and one that is
    missing would stop the others for ever.
    """
    failure: Exception | None = None
    if devices.is_first_process():
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            stack.enter_context(alone(lock_inside(workdir), workdir, devices.say))
        except (UserError, OSError) as error:
            failure = error
    if devices.any_process(failure is not None):
        raise failure or UserError(f"{workdir}: cannot be trained in; the first process says why")


def _directory(workdir: Path) -> Path:
    return Path(workdir).resolve() / "checkpoints"


def _reader(directory: Path) -> ocp.CheckpointManager:
    """Checkpoints to read. Orbax warns of each option that this changes: of what was meant."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        return _open(directory, ocp.CheckpointManagerOptions(best_fn=_score, read_only=True))
    finally:
        logging.set_verbosity(verbosity)


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
    return jax.tree.map(first_copy, tree)


def _abstract(tree: Any, mesh: Mesh | None = None) -> Any:
    """Shapes, dtypes and placement of a tree; placement on `mesh` where given, else the tree's own."""

    def leaf(x: Any) -> jax.ShapeDtypeStruct:
        placement = x.sharding if mesh is None else devices.replicated(mesh)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement)

    return jax.tree.map(leaf, tree)
