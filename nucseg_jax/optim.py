"""SGD with momentum and cosine warm restarts."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


def warm_restarts(learning_rate: float, period: int) -> Callable[[ArrayLike], jax.Array]:
    """Cosine from `learning_rate` towards 0 over `period` ≥ 1 steps, then again (SGDR, ICLR 2017)."""

    def schedule(step: ArrayLike) -> jax.Array:
        phase = jnp.asarray(jnp.asarray(step) % period, jnp.float32) / period
        return 0.5 * learning_rate * (1.0 + jnp.cos(jnp.pi * phase))

    return schedule


def sgd(
    schedule: Callable[[ArrayLike], ArrayLike], *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
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
