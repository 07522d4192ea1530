"""SGD with momentum; schedules of cosine warm restarts."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

Schedule = Callable[[ArrayLike], ArrayLike]
"""Step, counted from 0 → learning rate."""


def warm_restarts(learning_rate: float, period: int) -> Schedule:
    """Cosine from `learning_rate` towards 0 over `period` ≥ 1 steps, then again (SGDR, ICLR 2017)."""

    def schedule(step: ArrayLike) -> jax.Array:
        phase = jnp.asarray(jnp.asarray(step) % period, jnp.float32) / period
        return 0.5 * learning_rate * (1.0 + jnp.cos(jnp.pi * phase))

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


def sgd(schedule: Schedule, *, momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """PyTorch's SGD: g += weight_decay · w; v = momentum · v + g; w −= rate · v.

    The decay comes before the momentum and touches every parameter, biases and norms too, as there.

    Args:
      schedule: step → learning rate.
      momentum: how much of the last velocity stays.
      weight_decay: factor on the weights that is added to their gradient.
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.trace(decay=momentum),
        optax.scale_by_learning_rate(schedule),
    )
