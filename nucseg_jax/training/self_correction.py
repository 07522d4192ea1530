"""Self-correction: training in cycles, after each of which parameters and labels are averaged.

Li et al., Self-Correction for Human Parsing, TPAMI 2020; Hassan et al., IJIMAI 2021. An ordinary phase comes
first; then M cycles with warm restarts of the learning rate. At the end of cycle m, with ŵ₀ the parameters
after the ordinary phase and ŷ₀ the annotation:

    ŵ_m = m/(m+1) · ŵ_(m−1) + 1/(m+1) · w_m
    ŷ_m = m/(m+1) · ŷ_(m−1) + 1/(m+1) · y_m      y_m: what ŵ_m says of the training images

Training goes on from w_m, with ŷ_m for labels; ŵ is what comes out. Batch statistics are not averaged: they
are estimated again for ŵ_m.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import devices
from nucseg_jax.data.dataset import Example
from nucseg_jax.data.rasters import Rasters
from nucseg_jax.inference.layout import tilings_of
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.models.network import FunctionalNetwork, Weights
from nucseg_jax.training import objectives, refined_labels
from nucseg_jax.training.batch_statistics import StatisticsEstimator
from nucseg_jax.training.cycles import Cycles
from nucseg_jax.training.divergence import check_finite
from nucseg_jax.training.refined_labels import LabelPredictor, LabelTree


def average(previous: Any, new: Any, m: int) -> Any:
    """m/(m+1) · previous + 1/(m+1) · new, leaf by leaf.

    Computed as previous + (new − previous)/(m+1) in float32 and rounded once to the dtype of `previous`, so
    that equal trees stay equal to the bit.

    Args:
      previous: a tree of arrays, NumPy's or JAX's: the average of what m cycles, 0 … m−1, came to.
      new: a tree of the same structure.
      m: number of the cycle, at least 1.
    """

    def leaf(before: Any, now: Any) -> Any:
        wide = before.astype(np.float32)
        return (wide + (now.astype(np.float32) - wide) / np.float32(m + 1)).astype(before.dtype)

    return jax.tree.map(leaf, previous, new)


def _tilings(config: ConfigDict) -> tuple[Tiling, ...]:
    """What suits the network, whatever is asked for in evaluation: that may change between a run's parts."""
    own = config.copy_and_resolve_references()
    own.eval.tile_px = own.eval.overlap_px = None
    return tilings_of(own)


class SelfCorrection:
    """What a training with cycles has beside its state: the averaged weights and the refined labels.

    Args:
      config: the experiment.
      mesh: where the weights are.
      network: its forward passes.
      examples: the training images.
      cycles: when what happens.
      workdir: the run's folder; labels are kept in WORKDIR/labels.

    Attributes:
      num_steps: of the whole training.
      weights: the averaged ones; None until the first cycle begins.
    """

    def __init__(
        self,
        config: ConfigDict,
        mesh: Mesh,
        network: FunctionalNetwork,
        examples: Sequence[Example],
        cycles: Cycles,
        workdir: Path,
    ):
        self._examples, self._cycles = examples, cycles
        self.num_steps = cycles.num_steps
        self._num_classes = config.model.num_classes
        self._folder = workdir / "labels"
        averaged = config.self_correction.average if cycles.count else "nothing"
        self._averages_weights = averaged != "nothing"
        self._names = objectives.of(config).refined if averaged == "both" else ()
        self._labels: LabelTree | None = None
        self.weights: Weights | None = None  # the averaged ones, from the first cycle on
        tile = config.data.crop_size
        # Of as many tiles as training normalises together.
        part = config.batch_size // config.optim.accumulate
        self._estimate = StatisticsEstimator(network, mesh, tile=tile, batch_size=part)
        self._predict = LabelPredictor(
            network,
            mesh,
            num_classes=self._num_classes,
            names=self._names,
            tilings=_tilings(config),
            batch_px=config.batch_size * tile**2,  # not eval's, which may change between a run's parts
        )

    def resume(self, step: int, weights: Weights) -> None:
        """Take up what a checkpoint of `step` had; its labels are read from their folder.

        Raises:
          DataError: the labels are not there.
        """
        finished = self._cycles.finished(step)
        if finished is None or not self._averages_weights:
            return
        self.weights = weights
        if not self._names or step == self._cycles.num_steps:  # no step is left that needs labels
            return
        if finished == 0:
            self._labels = self._annotation()
        else:
            self._labels = refined_labels.read(self._folder_of(finished), self._examples, self._names)

    def rasters(self) -> Rasters:
        """The refined labels that the next steps are trained on; empty where it is the annotation."""
        if self._labels is None:
            return {}
        return refined_labels.rasters_of(self._labels, self._examples, self._names)

    def end_phase(self, step: int, weights: Weights) -> dict[str, float]:
        """Average, at the end of the ordinary phase and of each cycle.

        Args:
          step: training steps done.
          weights: that training has come to.

        Returns:
          What the log says of it.

        Raises:
          NonFiniteLossError: an average is infinite or NaN.
        """
        finished = self._cycles.finished(step)
        if finished is None or not self._averages_weights:
            return {}
        if self.weights is None:
            # A copy: training gives the memory of its own to the next step.
            self.weights = jax.tree.map(lambda x: x.copy(), weights)
            self._labels = self._annotation() if self._names else None
            return {}
        params = average(self.weights.params, weights.params, finished)
        images = [e.image for e in self._examples]
        whole = devices.gather(params)
        batch_stats = self._estimate(Weights(whole, weights.batch_stats), images)
        self.weights = Weights(params, batch_stats)
        check_finite(self.weights, range(step, step + 1))
        if self._labels is None:
            return {}
        self._labels = {
            e.id: average(self._labels[e.id], self._predict(Weights(whole, batch_stats), e.image), finished)
            for e in self._examples
        }
        if devices.is_first_process():
            refined_labels.write(self._labels, self._folder_of(finished))
        return {"labels_changed": refined_labels.changed(self._labels, self._examples, self._num_classes)}

    def forget(self, step: int) -> None:
        """Delete the labels of all cycles but the last two: the checkpoint of `step` is complete.

        Two, as checkpoints, so that the one before the newest can be gone on from, too.
        """
        finished = self._cycles.finished(step)
        if self._labels is None or not finished or not devices.is_first_process():
            return
        kept = {self._folder_of(finished), self._folder_of(finished - 1)}
        refined_labels.delete_others(self._folder, kept)

    def _folder_of(self, cycle: int) -> Path:
        return self._folder / f"cycle_{cycle}"

    def _annotation(self) -> LabelTree:
        return refined_labels.annotated(self._examples, self._num_classes, self._names)
