"""The training step: one update from one batch. The loop around it is in train.py."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from numpy.typing import NDArray

from nucseg_jax import devices
from nucseg_jax.models.network import FunctionalNetwork, Weights
from nucseg_jax.training.augmentation import Rescale
from nucseg_jax.training.objectives import Objective
from nucseg_jax.training.sharding import Sharding

Step = Callable[[Any, dict[str, jax.Array]], tuple[Any, jax.Array]]
"""(state, batch) → (state, loss): `train_step` with all but these two filled in."""


class Given(NamedTuple):
    """What the step is told of a run; with another seed or schedule it is the same program.

    Attributes:
      rates: the learning rate of each step, float32[K] (`optim.table`).
      key: what dropout and augmentation are drawn from, with the step: uint32[2] (`jax.random.key_data`).
    """

    rates: Any
    key: Any

    @classmethod
    def of(cls, rates: NDArray[np.float32], seed: int) -> "Given":
        """On the host."""
        return cls(rates, np.asarray(jax.random.key_data(jax.random.key(seed))))


class TrainState(NamedTuple):
    """All that training changes, and what it is given; replicated over the mesh, but for what `sharding` has
    in parts."""

    step: jax.Array
    params: nnx.State
    batch_stats: nnx.State
    opt_state: optax.OptState
    given: Given
    average: Weights | None = None
    """The moving average of the weights, where training keeps one."""

    @property
    def weights(self) -> Weights:
        """What is trained."""
        return Weights(self.params, self.batch_stats)

    @property
    def result(self) -> Weights:
        """What is scored and saved: the average, or what is trained where there is none."""
        return self.average or self.weights


def initial_state(
    mesh: Mesh,
    weights: Weights,
    optimizer: optax.GradientTransformation,
    given: Given,
    *,
    keeps_average: bool = False,
    sharding: Sharding = Sharding(),  # noqa: B008 - immutable
) -> TrainState:
    """The state of step 0 on the mesh."""
    shapes = state_shapes(mesh, weights, optimizer, given, keeps_average=keeps_average, sharding=sharding)
    placed = devices.place(weights, shapes.weights)
    # One program for all shapes: `init` alone would be compiled for each.
    placement = jax.tree.map(lambda x: x.sharding, shapes.opt_state)
    opt_state = devices.jit(mesh, optimizer.init, out_shardings=placement)(placed.params)
    # A copy: a step gives the memory of each of them to the next.
    average = devices.place(jax.tree.map(np.array, weights), shapes.average) if keeps_average else None
    step = devices.replicate(mesh, np.zeros((), np.int32))
    return TrainState(
        step, placed.params, placed.batch_stats, opt_state, devices.replicate(mesh, given), average
    )


def state_shapes(
    mesh: Mesh,
    weights: Weights,
    optimizer: optax.GradientTransformation,
    given: Given,
    *,
    keeps_average: bool = False,
    sharding: Sharding = Sharding(),  # noqa: B008 - immutable
) -> TrainState:
    """What `initial_state` makes of its arguments, as shapes with their placement.

    Of the arguments, too, shapes are enough.
    """
    shapes, given = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (weights, given))
    whole = functools.partial(Sharding().shapes, mesh, are_trained=False)
    batch_stats = whole(shapes.batch_stats)
    average = None
    if keeps_average:
        average = Weights(sharding.shapes(mesh, shapes.params, are_trained=False), batch_stats)
    step: Any = jax.ShapeDtypeStruct((), np.int32)
    return TrainState(
        whole(step),
        sharding.shapes(mesh, shapes.params, are_trained=True),
        batch_stats,
        sharding.shapes(mesh, jax.eval_shape(optimizer.init, shapes.params), are_trained=False),
        whole(given),
        average,
    )


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    network: FunctionalNetwork,
    optimizer: optax.GradientTransformationExtraArgs,
    objective: Objective,
    loss_scale: float,
    accumulate: int,
    rescale: Rescale | None = None,
    average_decay: float = 0.0,
    average_warmup: bool = True,
    sharding: Sharding = Sharding(),  # noqa: B008 - immutable
) -> tuple[TrainState, jax.Array]:
    """One update from one batch. Dropout and augmentation are functions of (`given.key`, step).

    Args:
      state: before the update.
      batch: `image` uint8[B,H,W,3], `label_map` int32[B,H,W], and what else the objective takes.
      network: the network's forward passes.
      optimizer: applied to the mean gradient.
      objective: the loss.
      loss_scale: factor on the loss before the gradient (the authors' 0.005).
      accumulate: the batch is run in this many equal parts, one after the other, to save memory. The loss is
        the mean of the parts' losses. Each weighs the same, however many of its pixels are annotated: Dice
        and Lovász-softmax have no sum over pixels that could be weighed otherwise.
      rescale: makes the patches of the batch's windows; None: they are patches.
      average_decay: share of the moving average that a step leaves, where the state has one.
      average_warmup: see `move`.
      sharding: what of the state each device holds in part only.

    Returns:
      The state after it and the loss (without the scale).
    """
    step_key = jax.random.fold_in(jax.random.wrap_key_data(state.given.key), state.step)
    if rescale is not None:
        batch = rescale(batch, jax.random.fold_in(step_key, _RESCALE_STREAM))

    def loss_of(
        params: nnx.State, batch_stats: nnx.State, part: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
        logits, batch_stats = network.train(params, batch_stats, part["image"], key)
        loss = objective(logits, part)
        return loss_scale * loss, (loss, batch_stats)

    def gradients_of(batch_stats: nnx.State, part: dict[str, jax.Array], index: jax.Array | int) -> Any:
        """(gradients, (loss, batch statistics)) of a part of the batch."""
        key = jax.random.fold_in(step_key, index)
        return sharding.gradients(loss_of, state.params, batch_stats, part, key)

    def accumulate_part(carry: Any, inputs: Any) -> tuple[Any, None]:
        batch_stats, gradients, loss = carry
        new, (part_loss, batch_stats) = gradients_of(batch_stats, *inputs)
        return (batch_stats, jax.tree.map(jnp.add, gradients, new), loss + part_loss), None

    if accumulate == 1:
        gradients, (loss, batch_stats) = gradients_of(state.batch_stats, batch, 0)
    else:
        # Every accumulate-th row makes a part, so that each part spreads over all devices.
        parts = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, accumulate, *x.shape[1:]), 1, 0), batch)
        zeros = sharding.updated(jax.tree.map(jnp.zeros_like, state.params))
        start = (state.batch_stats, zeros, jnp.zeros(()))
        (batch_stats, gradients, loss), _ = jax.lax.scan(
            accumulate_part, start, (parts, jnp.arange(accumulate))
        )
        gradients = jax.tree.map(lambda g: g / accumulate, gradients)
        loss = loss / accumulate
    rate = state.given.rates[state.step]
    params = sharding.updated(state.params)
    updates, opt_state = optimizer.update(gradients, state.opt_state, params, rate=rate)
    params = optax.apply_updates(params, updates)
    average = state.average
    if average is not None:
        new = Weights(params, batch_stats)
        average = move(average, new, state.step, average_decay, warmup=average_warmup)
    params, opt_state = sharding.kept(params), sharding.updated(opt_state)
    return TrainState(state.step + 1, params, batch_stats, opt_state, state.given, average), loss


_RESCALE_STREAM = 0x5CA1E


def move(average: Weights, new: Weights, step: jax.Array, decay: float, *, warmup: bool = True) -> Weights:
    """The moving average after a step: decay · average + (1 − decay) · new.

    Args:
      average: so far.
      new: weights after the step.
      step: number of the step, from 0.
      decay: in [0, 1).
      warmup: in the first steps less of the average stays, (1 + step) / (10 + step), so that the weights that
        training begins with are soon forgotten (as TensorFlow's `ExponentialMovingAverage` with
        `num_updates`). Without it decay ** (step + 1) of these stays: the average lies between a trained
        network and what fine-tuning makes of it, which is more robust than either (Wortsman et al., CVPR
        2022, by a mean of the two ends).
    """
    kept = jnp.asarray(decay, jnp.float32)
    if warmup:
        kept = jnp.minimum(decay, (1.0 + step) / (10.0 + step)).astype(jnp.float32)
    return jax.tree.map(lambda a, w: a + (1.0 - kept) * (w - a), average, new)


def compile_step(mesh: Mesh, step: Step, shapes: TrainState | None = None) -> jax.stages.Wrapped:
    """A step jitted with `state` donated: (state, batch) → (state, loss).

    Args:
      mesh: where the state and the batch are.
      step: one training step.
      shapes: of the state, with its placement, which it keeps; None: it is replicated.
    """
    return devices.jit(
        mesh,
        step,
        out_shardings=step_shardings(mesh, shapes),
        donate_argnums=0,
        compiler_options=devices.compiler_options(mesh),
    )


def step_shardings(mesh: Mesh, shapes: TrainState | None) -> Any:
    """Placement of what a step gives, (state, losses); `shapes` as of `compile_step`."""
    whole = devices.replicated(mesh)
    return (whole if shapes is None else jax.tree.map(lambda x: x.sharding, shapes)), whole
