"""What training minimises: losses of a network's branches put together, by the names of `optim.loss`.

A batch has the annotation (`label_map`) and, in the cycles of self-correction, the refined labels:
probabilities of classes, `soft_classes` float16[B,H,W,C], and for `ce2p` of edges, `soft_edges`
float16[B,H,W,2]. Where the boundary is one of distances (`model.boundary`), it has `depth` uint8[B,H,W]
(`data.distances`).

Where some images are annotated in part, it has `unannotated` bool[B,H,W]. These pixels, and those whose
target depends on them, have no influence: each loss ignores what its own target does not know. Classes are
unknown as `targets.unknown_classes` says, edges within reach. With depths the batch calls nuclei unannotated,
too, that the border cuts off (`data.rasters`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from nucseg_jax.data.rasters import DEPTH, UNANNOTATED
from nucseg_jax.models.network import Logits
from nucseg_jax.models.targets import (
    class_map,
    class_probabilities,
    edge_map,
    unknown_classes,
    within_reach,
)
from nucseg_jax.training import losses

if TYPE_CHECKING:  # benchmarks need no configs
    from ml_collections import ConfigDict

Loss = Callable[..., jax.Array]
"""(logits, batch) → scalar."""

SOFT_CLASSES, SOFT_EDGES = "soft_classes", "soft_edges"
CONSISTENCY = 0.1
"""Weight of the edges' consistency in `ce2p`."""


@dataclass(frozen=True)
class Objective:
    """A loss and the refined labels that it can take.

    Attributes:
      loss: of a batch.
      refined: names of the batch's entries that replace annotations where they are there.
      weighs_boundary: the loss takes a `boundary_weight`.
    """

    loss: Loss
    refined: tuple[str, ...]
    weighs_boundary: bool = False

    def __call__(self, logits: Logits, batch: dict[str, jax.Array]) -> jax.Array:
        return self.loss(logits, batch)


def cross_entropy(logits: Logits, batch: dict[str, jax.Array]) -> jax.Array:
    """Cross-entropy of the network's result; the divergence from refined labels where there are some."""
    num_classes = logits.classes.shape[-1]
    labels, ignored = class_map(batch["label_map"], num_classes), _unknown(batch, num_classes)
    return _classes(logits.classes, labels, batch, ignored)


def cross_entropy_dice(
    logits: Logits, batch: dict[str, jax.Array], *, boundary_weight: float = 1.0
) -> jax.Array:
    """Cross-entropy in which the boundary has a weight of its own, plus 1 − Dice."""
    num_classes = logits.classes.shape[-1]
    ignored = _unknown(batch, num_classes)
    if SOFT_CLASSES in batch:
        truth = batch[SOFT_CLASSES].astype(jnp.float32)
    else:
        truth = class_probabilities(batch["label_map"], num_classes, batch.get(DEPTH))
        if DEPTH in batch:
            ignored = batch.get(UNANNOTATED)
    weights = (1.0, 1.0, boundary_weight)[:num_classes]
    weighted = losses.weighted_cross_entropy(logits.classes, truth, weights, ignored)
    return weighted + losses.dice(logits.classes, truth, ignored)


def ce2p(logits: Logits, batch: dict[str, jax.Array]) -> jax.Array:
    """The loss of CE2P's three branches in self-correction (Li et al., TPAMI 2020, as its authors weigh it).

    Parsing and fusion, each: half Lovász-softmax, half cross-entropy (or the divergence from refined labels),
    and a tenth of the edges' consistency. Edges: cross-entropy balanced between edge and no edge (or the
    divergence from refined edges). What is hard about it keeps to the annotation.
    """
    assert logits.parsing is not None and logits.edge is not None
    num_classes = logits.classes.shape[-1]
    labels, ignored = class_map(batch["label_map"], num_classes), _unknown(batch, num_classes)
    total = _edges(logits.edge, batch)
    for branch in (logits.parsing, logits.classes):
        areas = 0.5 * losses.lovasz_softmax(branch, labels, ignored)
        total += areas + 0.5 * _classes(branch, labels, batch, ignored)
        total += CONSISTENCY * losses.edge_consistency(branch, logits.edge, labels, ignored)
    return total


def _unknown(batch: dict[str, jax.Array], num_classes: int) -> jax.Array | None:
    """Pixels of unknown class; None where all images are annotated as a whole."""
    return unknown_classes(batch[UNANNOTATED], num_classes) if UNANNOTATED in batch else None


def _classes(
    logits: jax.Array, labels: jax.Array, batch: dict[str, jax.Array], ignored: jax.Array | None
) -> jax.Array:
    if SOFT_CLASSES in batch:
        return losses.kl_divergence(logits, batch[SOFT_CLASSES], ignored)
    return losses.cross_entropy(logits, labels, ignored)


def _edges(logits: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
    ignored = within_reach(batch[UNANNOTATED]) if UNANNOTATED in batch else None
    if SOFT_EDGES in batch:
        return losses.kl_divergence(logits, batch[SOFT_EDGES], ignored)
    return losses.balanced_cross_entropy(logits, edge_map(batch["label_map"]), ignored)


OBJECTIVES = {
    "cross_entropy": Objective(cross_entropy, (SOFT_CLASSES,)),
    "cross_entropy_dice": Objective(cross_entropy_dice, (SOFT_CLASSES,), weighs_boundary=True),
    "ce2p": Objective(ce2p, (SOFT_CLASSES, SOFT_EDGES)),
}
"""By the names that config.optim.loss takes."""


def of(config: ConfigDict) -> Objective:
    """The objective that a config's `optim` names, with its weights.

    Args:
      config: the experiment.
    """
    objective, optim = OBJECTIVES[config.optim.loss], config.optim
    if objective.weighs_boundary:
        weighing = partial(objective.loss, boundary_weight=optim.boundary_weight)
        objective = replace(objective, loss=weighing)
    return objective
