"""SGD with momentum, AdamW; schedules of the learning rate.

The rate of a step is given to `update` (`rate=`), so that one compiled program serves all schedules.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from numpy.typing import NDArray

from nucseg_jax.errors import UserError

Schedule = Callable[[ArrayLike], ArrayLike]
"""Step, counted from 0 → learning rate."""

_TABLE = 2**16
"""Tables of rates have a multiple of so many entries, so that trainings of other lengths share a program."""


def table(schedule: Schedule, steps: int) -> NDArray[np.float32]:
    """Learning rates by step: float32[K], K ≥ `steps`; past these the last rate is repeated."""
    rates = np.asarray(jax.jit(jax.vmap(schedule))(np.arange(steps)), np.float32)
    return np.pad(rates, (0, -steps % _TABLE), "edge")


def warm_restarts(learning_rate: float, period: int, warmup: int = 0) -> Schedule:
    """Cosine from `learning_rate` towards 0 over `period` ≥ 1 steps, then again (SGDR, ICLR 2017).

    Args:
      learning_rate: what each period begins with.
      period: steps.
      warmup: steps at the start of the first period in which the rate grows linearly, less than the period:
        the first cosine takes the rest of it.
    """

    def schedule(step: ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        phase = jnp.asarray(step % period, jnp.float32) / period
        if warmup:
            first = jnp.asarray(step - warmup, jnp.float32) / (period - warmup)
            phase = jnp.where(step < period, jnp.maximum(first, 0.0), phase)
        rate = 0.5 * learning_rate * (1.0 + jnp.cos(jnp.pi * phase))
        if warmup:
            rate *= jnp.minimum(jnp.asarray(step + 1, jnp.float32) / warmup, 1.0)
        return rate

    return schedule


def warm_up_and_cycles(
    phases: Sequence[range], *, learning_rate: float, warmup: int, restart: float, floor: float
) -> Schedule:
    """Self-correction's schedule: linear warm-up, cosine to the floor, then a cosine each cycle.

    As the reference implementation's (Li et al., TPAMI 2020), with steps for its epochs.

    Args:
      phases: the ordinary phase and the cycles, one after the other, from step 0 on.
      learning_rate: at the end of the warm-up.
      warmup: steps from the floor to it, at least 0 and less than the first phase.
      restart: what each cycle starts from, as a part of learning_rate.
      floor: what the warm-up starts from and each cosine ends at, as a part of learning_rate.
    """
    lowest = floor * learning_rate
    cosines = []
    for phase in phases:
        first = phase.start == 0
        peak = learning_rate if first else restart * learning_rate
        cosines.append(
            {
                "init_value": lowest,
                "peak_value": peak,
                "warmup_steps": warmup if first else 0,
                "decay_steps": len(phase),
                "end_value": lowest,
            }
        )
    return optax.sgdr_schedule(cosines)


def sgd(*, momentum: float, weight_decay: float) -> optax.GradientTransformationExtraArgs:
    """PyTorch's SGD: g += weight_decay · w; v = momentum · v + g; w −= rate · v.

    The decay comes before the momentum and touches every parameter, biases and norms too, as there.

    Args:
      momentum: how much of the last velocity stays.
      weight_decay: factor on the weights that is added to their gradient.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(decay=momentum),
        _by_given_rate(),
    )


def adamw(*, weight_decay: float) -> optax.GradientTransformationExtraArgs:
    """Adam with a weight decay of its own, on kernels: not on biases and not on norms.

    Source: Loshchilov & Hutter, Decoupled Weight Decay Regularization (ICLR 2019).

    Args:
      weight_decay: share of a weight that a step of rate 1 takes.
    """
    return optax.chain(
        optax.scale_by_adam(),
        optax.add_decayed_weights(weight_decay, _is_kernel),
        _by_given_rate(),
    )


def with_encoder_rate(
    optimizer: optax.GradientTransformationExtraArgs, factor: float
) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose updates of a network's encoder are `factor` times as large.

    Raises:
      UserError: when its state is made, the network has no encoder.
    """
    return optax.chain(optimizer, optax.masked(optax.scale(factor), _in_encoder))


def _by_given_rate() -> optax.GradientTransformationExtraArgs:
    """Updates times −`rate`, which `update` is given. It counts steps, as Optax's transformation does whose
    state checkpoints have."""

    def init(params: Any) -> optax.ScaleByScheduleState:
        return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

    def update(
        updates: Any, state: optax.ScaleByScheduleState, params: Any = None, *, rate: ArrayLike, **_: Any
    ) -> tuple[Any, optax.ScaleByScheduleState]:
        step = -jnp.asarray(rate)
        updates = jax.tree.map(lambda g: step.astype(g.dtype) * g, updates)
        return updates, optax.ScaleByScheduleState(count=optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


def _is_kernel(params: Any) -> Any:
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _in_encoder(params: Any) -> Any:
    """Which parameters are of `encoder`, the part of a network that ImageNet's weights are for."""

    def is_encoders(path: tuple[Any, ...], _: Any) -> bool:
        return jax.tree_util.keystr(path[:1], simple=True) == "encoder"

    chosen = jax.tree_util.tree_map_with_path(is_encoders, params)
    if not any(jax.tree.leaves(chosen)):
        raise UserError(
            "optim.encoder_learning_rate is for networks with an encoder; this one has none: leave it out"
        )
    return chosen
