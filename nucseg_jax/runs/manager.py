"""Orbax's manager of a run's checkpoints: where they are, opened, and what all users of it need."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Mesh

from nucseg_jax import devices
from nucseg_jax.runs.restoring import readable


def directory_of(workdir: Path) -> Path:
    """Of a run's checkpoints."""
    return Path(workdir).resolve() / "checkpoints"


def opened_to_read(directory: Path) -> ocp.CheckpointManager:
    """Checkpoints to read. Orbax warns of each option that this changes: of what was meant."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        return opened(directory, ocp.CheckpointManagerOptions(best_fn=score_of, read_only=True))
    finally:
        logging.set_verbosity(verbosity)


def opened(directory: Path, options: ocp.CheckpointManagerOptions) -> ocp.CheckpointManager:
    """A manager; a CheckpointError where its folder cannot be read."""
    with readable(directory):
        return ocp.CheckpointManager(directory, options=options)


def has_training(manager: ocp.CheckpointManager, step: int | None) -> bool:
    """Whether training goes on from other weights than the model's."""
    return (manager.directory / str(step) / "training").exists()


def score_of(metrics: Any) -> float:
    """What a checkpoint is chosen by; an earlier release's has its Dice only."""
    return metrics["score"] if "score" in metrics else metrics["f1"]


def abstract(tree: Any, mesh: Mesh | None = None) -> Any:
    """Shapes, dtypes and placement of a tree; placement on `mesh` where given, else the tree's own."""

    def leaf(x: Any) -> jax.ShapeDtypeStruct:
        placement = x.sharding if mesh is None else devices.replicated(mesh)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placement)

    return jax.tree.map(leaf, tree)
