"""The training loop: steps, what is logged of them, and checkpoints."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from nucseg_jax import devices
from nucseg_jax.models.network import Weights
from nucseg_jax.runs.checkpoint import Checkpoints
from nucseg_jax.training import feeds
from nucseg_jax.training.divergence import ImagesOf, check_finite, finite_losses
from nucseg_jax.training.feeds import Advance
from nucseg_jax.training.logs import RunLog
from nucseg_jax.training.self_correction import SelfCorrection
from nucseg_jax.training.step import TrainState

Validate = Callable[[Weights], Mapping[str, float]]
"""Weights → means over the held-out images, each of `checkpoint.SCORES` by its name."""


class Interruption(Protocol):
    """How someone asks a training to stop (`cli.interruption` has the signals of the system)."""

    @property
    def asked(self) -> bool:
        """Whether it shall stop."""

    def postponed(self) -> AbstractContextManager[None]:
        """A block that is not interrupted: a request that comes in it is seen after it, by `asked`."""


class NeverAsked:
    """A training that nobody interrupts."""

    asked = False

    def postponed(self) -> AbstractContextManager[None]:
        return nullcontext()


class TrainingStopped(Exception):
    """Training has ended early, as it was asked to.

    Args:
      step: of the checkpoint that it goes on from.
    """

    def __init__(self, step: int):
        super().__init__(f"training was stopped after step {step}, which is saved")
        self.step = step


@dataclass
class Loop:
    """Runs the phases of a training, and saves what they come to.

    Attributes:
      config: the experiment.
      rates: the learning rate of each step, for the log.
      checkpoints: where they are saved.
      info: what is saved with each (`checkpoint.describe`).
      correction: what the cycles of self-correction have beside the state.
      validate: scores the held-out images; None where there are none.
      log: what the run tells.
      images_of: which images a step's patches are cut from, for messages.
      interruption: asks for an end before the last step.
    """

    config: ConfigDict
    rates: NDArray[np.float32]
    checkpoints: Checkpoints
    info: dict[str, Any]
    correction: SelfCorrection
    validate: Validate | None
    log: RunLog
    images_of: ImagesOf
    interruption: Interruption = field(default_factory=NeverAsked)

    def begin(self, state: TrainState) -> None:
        """Save and score what training starts from, as a checkpoint of step 0 that may be the best."""
        with self.interruption.postponed():
            self._save(state, new=True)

    def is_over(self, step: int) -> bool:
        """Whether the best checkpoint has become too old for training to go on (`checkpoint.patience`)."""
        chosen, best = self.config.checkpoint, self.checkpoints.best
        if not chosen.patience or best is None:
            return False
        return devices.any_process(step - best >= chosen.patience * chosen.every)

    def run(self, state: TrainState, advance: Advance, phase: range) -> TrainState:
        """Train the steps of a phase; logs and saves between, but for what is due at its end (`end`).

        It ends before the phase does where training `is_over`: the last step is saved then.

        Raises:
          NonFiniteLossError: the loss, a parameter or a batch statistic became infinite or NaN.
          TrainingStopped: someone has asked for it; the last step is saved, without scores.
        """
        log_every, save_every = self.config.log_every, self.config.checkpoint.every
        pending: list[tuple[range, jax.Array]] = []
        pieces = feeds.dispatches(
            phase, at_most=self.config.steps_per_dispatch, boundaries=(log_every, save_every)
        )
        with self.interruption.postponed():
            for done in pieces:
                state, losses = advance(state, done)
                pending.append((done, losses))
                step = done.stop
                is_last, is_due = step == phase.stop, step % save_every == 0
                is_logged = step % log_every == 0 or is_due or is_last
                is_asked = not is_last and self._is_asked(is_logged)
                if is_logged or is_asked:
                    # The losses are fetched here only: the loop never waits for the device otherwise.
                    rate = self.rates[step - 1].item()
                    self.log.training(finite_losses(pending, self.images_of), learning_rate=rate)
                    since = range(pending[0][0].start + 1, step + 1)
                    pending.clear()
                    check_finite((state.weights, state.opt_state), since, self.images_of)
                if is_asked or (is_due and not is_last):
                    self._save(state, new=is_due and self.correction.weights is None)
                    if is_due and self.is_over(step):
                        self.checkpoints.wait()
                        break
                    self._stop_if(is_asked or self._is_asked(True), step)
        return state

    def _is_asked(self, is_logged: bool) -> bool:
        """Whether to stop after this step. Several processes agree on it where they log, to save together."""
        if jax.process_count() == 1:
            return self.interruption.asked
        return is_logged and devices.any_process(self.interruption.asked)

    def end(self, state: TrainState) -> TrainState:
        """Average where a cycle of self-correction ends, and save.

        Raises:
          NonFiniteLossError: a parameter became infinite or NaN.
          TrainingStopped: someone has asked for it, and steps are left.
        """
        step = int(state.step)
        with self.interruption.postponed():
            check_finite(state.weights, range(step, step + 1), self.images_of)
            self.log.correction(step, self.correction.end_phase(step, state.weights))
            self._save(state, new=True)
            if self.correction.weights is not None:
                self.checkpoints.wait()
                self.correction.forget(step)
            self._stop_if(step < self.correction.num_steps and self._is_asked(True), step)
        return state

    def _stop_if(self, is_asked: bool, step: int) -> None:
        """Raise TrainingStopped where it is asked for, when the checkpoint of the step is complete."""
        if is_asked:
            self.checkpoints.wait()
            raise TrainingStopped(step)

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
