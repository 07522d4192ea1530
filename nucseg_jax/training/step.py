"""The training step: one update from one batch. The loop around it is in train.py."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh

from nucseg_jax import devices
from nucseg_jax.models.network import Augmentation, FunctionalNetwork, InputFormat, Weights, split_network
from nucseg_jax.training.objectives import Objective

Step = Callable[[Any, dict[str, jax.Array]], tuple[Any, jax.Array]]
"""(state, batch) → (state, loss): `train_step` with all but these two filled in."""


class TrainState(NamedTuple):
    """All that training changes; replicated over the mesh."""

    step: jax.Array
    params: nnx.State
    batch_stats: nnx.State
    opt_state: optax.OptState

    @property
    def weights(self) -> Weights:
        return Weights(self.params, self.batch_stats)


def initial_state(
    mesh: Mesh,
    model: nnx.Module,
    optimizer: optax.GradientTransformation,
    input_format: InputFormat,
    augmentation: Augmentation | None = None,
) -> tuple[FunctionalNetwork, TrainState]:
    """A model → its forward passes, and the state of step 0 on the mesh."""
    network, params, batch_stats = split_network(model, input_format, augmentation)
    state = TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))
    return network, devices.replicate(mesh, state)


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    network: FunctionalNetwork,
    optimizer: optax.GradientTransformation,
    objective: Objective,
    loss_scale: float,
    accumulate: int,
    seed: int,
) -> tuple[TrainState, jax.Array]:
    """One update from one batch.

    Args:
      state: before the update.
      batch: `image` uint8[B,H,W,3], `label_map` int32[B,H,W], and what else the objective takes.
      network: the network's forward passes.
      optimizer: applied to the mean gradient.
      objective: the loss.
      loss_scale: factor on the loss before the gradient (the authors' 0.005).
      accumulate: the batch is run in this many equal parts, one after the other, to save memory.
      seed: dropout and augmentation are functions of (seed, step).

    Returns:
      The state after it and the loss (without the scale).
    """
    step_key = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss_of(
        params: nnx.State, batch_stats: nnx.State, part: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
        logits, batch_stats = network.train(params, batch_stats, part["image"], key)
        loss = objective(logits, part)
        return loss_scale * loss, (loss, batch_stats)

    def accumulate_part(carry: Any, inputs: Any) -> tuple[Any, None]:
        batch_stats, gradients, loss = carry
        part, index = inputs
        key = jax.random.fold_in(step_key, index)
        new, (part_loss, batch_stats) = jax.grad(loss_of, has_aux=True)(state.params, batch_stats, part, key)
        gradients = jax.tree.map(jnp.add, gradients, new)
        return (batch_stats, gradients, loss + part_loss), None

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    start = (state.batch_stats, zeros, jnp.zeros(()))
    if accumulate == 1:
        (batch_stats, gradients, loss), _ = accumulate_part(start, (batch, 0))
    else:
        # Every accumulate-th row makes a part, so that each part spreads over all devices.
        parts = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), batch)
        (batch_stats, gradients, loss), _ = jax.lax.scan(
            accumulate_part, start, (parts, jnp.arange(accumulate))
        )
        gradients = jax.tree.map(lambda g: g / accumulate, gradients)
        loss = loss / accumulate
    updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, batch_stats, opt_state), loss


def compile_step(mesh: Mesh, step: Step) -> jax.stages.Wrapped:
    """A step jitted with `state` donated: (state, batch) → (state, loss)."""
    return jax.jit(
        step,
        donate_argnums=0,
        out_shardings=devices.replicated(mesh),
        compiler_options=devices.compiler_options(mesh),
    )
