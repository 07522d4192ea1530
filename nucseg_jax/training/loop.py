"""The training loop: steps, what is logged of them, and checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from nucseg_jax.models.network import Weights
from nucseg_jax.runs.checkpoint import Checkpoints
from nucseg_jax.training import feeds
from nucseg_jax.training.divergence import check_finite, finite_losses
from nucseg_jax.training.feeds import Advance
from nucseg_jax.training.logs import RunLog
from nucseg_jax.training.optim import Schedule
from nucseg_jax.training.self_correction import SelfCorrection
from nucseg_jax.training.step import TrainState

Validate = Callable[[Weights], Mapping[str, float]]
"""Weights → means over the held-out images, each of `checkpoint.SCORES` by its name."""


@dataclass
class Loop:
    """Runs the phases of a training, and saves what they come to.

    Attributes:
      config: the experiment.
      schedule: the learning rate, for the log.
      checkpoints: where they are saved.
      info: what is saved with each (`checkpoint.describe`).
      correction: what the cycles of self-correction have beside the state.
      validate: scores the held-out images; None where there are none.
      log: what the run tells.
    """

    config: ConfigDict
    schedule: Schedule
    checkpoints: Checkpoints
    info: dict[str, Any]
    correction: SelfCorrection
    validate: Validate | None
    log: RunLog

    def run(self, state: TrainState, advance: Advance, phase: range) -> TrainState:
        """Train the steps of a phase; logs and saves between, but for what is due at its end (`end`).

        Raises:
          NonFiniteLossError: the loss, or a parameter at a checkpoint, became infinite or NaN.
        """
        log_every, save_every = self.config.log_every, self.config.checkpoint.every
        pending: list[tuple[range, jax.Array]] = []
        pieces = feeds.dispatches(
            phase, at_most=self.config.steps_per_dispatch, boundaries=(log_every, save_every)
        )
        for done in pieces:
            state, losses = advance(state, done)
            pending.append((done, losses))
            step = done.stop
            if step % log_every == 0 or step % save_every == 0 or step == phase.stop:
                # The losses are fetched here only: the loop never waits for the device otherwise.
                rate = np.asarray(self.schedule(step - 1)).item()
                self.log.training(finite_losses(pending), learning_rate=rate)
                pending.clear()
            if step % save_every == 0 and step != phase.stop:
                check_finite(state.weights, int(state.step))
                self._save(state, new=self.correction.weights is None)
        return state

    def end(self, state: TrainState) -> TrainState:
        """Average where a cycle of self-correction ends, and save.

        Raises:
          NonFiniteLossError: a parameter became infinite or NaN.
        """
        check_finite(state.weights, int(state.step))
        step = int(state.step)
        self.log.correction(step, self.correction.end_phase(step, state.weights))
        self._save(state, new=True)
        if self.correction.weights is not None:
            self.checkpoints.wait()
            self.correction.forget(step)
        return state

    def _save(self, state: TrainState, *, new: bool) -> None:
        """Save a checkpoint, scored on the held-out images where its model is a `new` one."""
        step, averaged = int(state.step), self.correction.weights or state.average
        model = averaged or state.weights
        scores = None
        if new and self.validate is not None:
            scores = self.validate(model)
            self.log.validation(step, scores)
        self.checkpoints.save(
            step,
            model,
            self.info,
            optimizer=state.opt_state,
            training=None if averaged is None else state.weights,
            scores=scores,
        )
