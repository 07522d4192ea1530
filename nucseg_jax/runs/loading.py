"""A trained network from a run's checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh

from nucseg_jax import devices
from nucseg_jax.models.network import Weights
from nucseg_jax.runs import stain_target
from nucseg_jax.runs.manager import abstract, directory_of, has_training, opened_to_read, score_of
from nucseg_jax.runs.model import LoadedModel, network_of
from nucseg_jax.runs.restoring import CheckpointError, read_info, read_scores, restore, whole


def load_model(workdir: Path, mesh: Mesh, step: int | None = None) -> LoadedModel:
    """Load a trained network for inference.

    Args:
      workdir: a run's folder.
      mesh: where the weights go.
      step: which checkpoint; None: the best on the validation images, or the last if none were held out.

    Raises:
      CheckpointError: no such checkpoint, or it is damaged.
    """
    directory = directory_of(workdir)
    if not directory.is_dir():
        raise CheckpointError(
            f"no checkpoint in {directory}: train first (--mode train), or name another --workdir"
        )
    with opened_to_read(directory) as manager:
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
        args = {"model": ocp.args.StandardRestore(abstract(template._asdict(), mesh))}
        weights = restore(manager, step, args).model
    return LoadedModel(network, weights["params"], weights["batch_stats"], step, info, before)


def newest_info(workdir: Path) -> dict[str, Any] | None:
    """The `info` of a run's newest checkpoint; None where it has none.

    All processes ask for it together: none makes the folder before the others have looked.

    Raises:
      CheckpointError: it is damaged.
    """
    directory = directory_of(workdir)
    if not devices.any_process(directory.is_dir()):
        return None
    with opened_to_read(directory) as manager:
        latest = manager.latest_step()
        return None if latest is None else read_info(manager, latest)


def training_weights(workdir: Path, model: LoadedModel) -> Weights:
    """What training went on from at a model's step: not the model itself where that is an average.

    Args:
      workdir: the run's folder, which `model` was loaded from.
      model: where its weights are, these go.
    """
    with opened_to_read(directory_of(workdir)) as manager:
        if not has_training(manager, model.step):
            return Weights(model.params, model.batch_stats)
        template = abstract(Weights(model.params, model.batch_stats)._asdict())
        args = {"training": ocp.args.StandardRestore(template)}
        return Weights(**restore(manager, model.step, args).training)


def _best(manager: ocp.CheckpointManager, steps: Sequence[int]) -> int:
    """The best step by its scores; the last where none has any."""
    scored = False
    for step in steps:
        metrics = read_scores(manager, step)
        with whole(manager, step):
            scored |= bool(metrics) and bool(np.isfinite(score_of(metrics)))
    return manager.best_step() if scored else steps[-1]
