"""Orbax checkpoints as training writes them, and goes on from them; `loading` has the model alone.

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
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from nucseg_jax import __version__, devices
from nucseg_jax.data.json_values import sha256_of
from nucseg_jax.errors import DiskFullError, UserError
from nucseg_jax.io.disk import check_room, named_when_full
from nucseg_jax.io.files import filled_folder
from nucseg_jax.io.locks import alone, lock_inside
from nucseg_jax.models.network import Weights
from nucseg_jax.runs.manager import abstract, directory_of, has_training, opened, score_of
from nucseg_jax.runs.restoring import (
    METRICS,
    SHA256,
    info_digest,
    parameter_digest,
    read_scores,
    restore,
)

CLASSES = ("background", "nucleus", "boundary")

SCORES = ("aji", "dice")
"""What `checkpoint.best_by` may be: scores of the held-out images, saved with each checkpoint."""


class Checkpoints:
    """The checkpoints of one run: the last `keep`, and the best on the held-out images.

    A context manager: at its end, however it comes, the checkpoint being written is completed. No two
    processes may train into one folder.

    Raises:
      CheckpointError: the scores of one are not those that were written.
      InUseError: another process does.
      UserError: the first of several processes cannot train there; that one says why.
      DiskFullError: at the end: the disk became full.
    """

    def __init__(self, workdir: Path, keep: int):
        self._workdir = workdir
        policies = [
            preservation_policy.LatestN(keep),
            preservation_policy.BestN(get_metric_fn=score_of, n=1, keep_checkpoints_without_metrics=False),
        ]
        options = ocp.CheckpointManagerOptions(
            best_fn=score_of,
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
        )
        with contextlib.ExitStack() as stack:
            _enter_alone(workdir, stack)
            with named_when_full(workdir):
                self._manager = opened(directory_of(workdir), options)
            stack.callback(self._close)
            for step in self._manager.all_steps():  # the best of them is kept, the others go
                read_scores(self._manager, step)
            self._stack = stack.pop_all()

    @property
    def latest(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """Step of the best checkpoint by its score; None where none has scores."""
        return self._manager.best_step()

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
        self._check_room(sum(leaf.nbytes for leaf in jax.tree.leaves(trees)))
        items = {name: ocp.args.StandardSave(_once(tree)) for name, tree in trees.items()}
        sha256 = {name: parameter_digest(tree) for name, tree in trees.items()} | {"info": info_digest(info)}
        metrics = None
        if scores is not None:
            metrics = {**scores, "score": scores[info["config"]["checkpoint"]["best_by"]]}
            sha256[METRICS] = sha256_of(metrics)
        items["info"] = ocp.args.JsonSave({**info, SHA256: sha256})
        with named_when_full(self._workdir):  # of this one, or the one before, whose writing has ended
            self._manager.save(step, args=ocp.args.Composite(**items), metrics=metrics)

    def _check_room(self, needed: int) -> None:
        """Raise DiskFullError, in every process, unless the disk of each has room for `needed` bytes."""
        failure: Exception | None = None
        try:
            check_room(directory_of(self._workdir), needed)
        except DiskFullError as error:
            failure = error
        _raise_together(failure, DiskFullError(f"{self._workdir}: the disk of another process is full"))

    def restore(
        self, weights: Weights, optimizer: Any, average: Weights
    ) -> tuple[Weights, Weights | None, Any]:
        """The newest checkpoint's (model, training, optimizer), shaped and placed like the arguments.

        Args:
          weights: that training goes on from.
          optimizer: its state.
          average: the model, where that is an average.

        Raises:
          CheckpointError: it is damaged.
        """
        trees = {"model": weights._asdict(), "optimizer": optimizer}
        if has_training(self._manager, self.latest):
            trees |= {"model": average._asdict(), "training": weights._asdict()}
        args = {name: ocp.args.StandardRestore(abstract(tree)) for name, tree in trees.items()}
        latest = self.latest
        assert latest is not None
        items = restore(self._manager, latest, args)
        training = Weights(**items.training) if "training" in args else None
        return Weights(**items.model), training, items.optimizer

    def wait(self) -> None:
        """Return when the checkpoints that were asked for are complete."""
        with named_when_full(self._workdir):
            self._manager.wait_until_finished()

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
    init: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The `info` item of a checkpoint.

    Args:
      config: the experiment.
      dataset_metadata: how the training images were prepared, and which they are.
      stain: that of `runs.stain_target.describe`.
      resolution: image_mpp and network_mpp, µm a pixel of the images as they came and as the network sees
        them, and `source`, how that is known; None where nothing says so.
      init: the network that training started from (`training.origin`); None: random weights.
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
        "init": init,
        "version": __version__,
        "devices": jax.device_count(),
    }


def _enter_alone(workdir: Path, stack: contextlib.ExitStack) -> None:
    """Keep other trainings out of a folder until the stack ends, and delete what a killed one has left.

    The first process does it. Orbax would delete in a thread that nobody waits for.
    """
    failure: Exception | None = None
    if devices.is_first_process():
        try:
            stack.enter_context(filled_folder(directory_of(workdir)))
            stack.enter_context(alone(lock_inside(workdir), workdir, devices.say))
            for unfinished in directory_of(workdir).glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)
        except (UserError, OSError) as error:
            failure = error
    _raise_together(failure, UserError(f"{workdir}: training cannot use it; the first process says why"))


def _raise_together(failure: Exception | None, of_another: Exception) -> None:
    """Raise a failure in every process: in those that have none, `of_another`.

    Orbax waits for every process, and one that is missing would stop the others for ever.
    """
    if devices.any_process(failure is not None):
        raise failure or of_another


def _once(tree: Any) -> Any:
    """Replicated arrays, each as the first device has it; others as they are.

    Given as they are, Orbax cuts each in as many slices as there are devices, by a call each: with eight
    simulated devices CE2P took 8 s to save. Between processes it shares the work so.
    """
    if jax.process_count() > 1:
        return tree
    return jax.tree.map(_first_copy, tree)


def _first_copy(array: Any) -> Any:
    is_copied = isinstance(array, jax.Array) and array.is_fully_replicated
    return array.addressable_data(0) if is_copied else array
