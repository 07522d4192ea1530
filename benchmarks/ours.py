"""The networks in JAX as the benchmarks run them: training step, forward pass, what they cost."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh

from benchmarks.measure import Side, array_dtype, use_precision
from nucseg_jax import devices
from nucseg_jax.models import create_model, network
from nucseg_jax.models.network import FunctionalNetwork, Weights, split_network
from nucseg_jax.training import optim
from nucseg_jax.training.objectives import OBJECTIVES
from nucseg_jax.training.step import Given, Step, TrainState, compile_step, initial_state, train_step

# The paper's, except for the rate: so small that nothing diverges on random images.
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, LOSS_SCALE = 1e-4, 0.99, 1e-8, 0.005
STEP_OPTIONS: dict[str, Any] = {
    "objective": OBJECTIVES["cross_entropy"],
    "loss_scale": LOSS_SCALE,
    "accumulate": 1,
}
GIVEN = Given.of(optim.table(lambda step: LEARNING_RATE, 1), seed=0)


@dataclass(frozen=True)
class Case:
    """What is run.

    Attributes:
      name: the network.
      width: of its channels.
      size: side of the images in pixels.
      batch: images a step.
      dtype: one of measure.DTYPES.
      recompute: as of `create_model`.
    """

    name: str
    width: float
    size: int
    batch: int
    dtype: str
    recompute: str = "auto"

    def arrays(self) -> dict[str, np.ndarray]:
        """A random batch: `image` uint8[B,S,S,3], `label_map` int32[B,S,S] of 0 and 1."""
        generator = np.random.default_rng(0)
        shape = (self.batch, self.size, self.size)
        return {
            "image": generator.integers(0, 256, (*shape, 3)).astype(np.uint8),
            "label_map": generator.integers(0, 2, shape).astype(np.int32),
        }


@dataclass(frozen=True)
class Ours:
    """A side and what XLA says of it.

    Attributes:
      side: warmed up.
      plan_bytes: memory that XLA plans for a step: weights, optimizer and batch included.
      flops: of a step, see `forward_flops`.
    """

    side: Side
    plan_bytes: int
    flops: float

    @property
    def memory_bytes(self) -> int:
        """The most that was in use; on CPUs, where nobody counts it, the plan."""
        statistics = jax.devices()[0].memory_stats() or {}
        return statistics.get("peak_bytes_in_use", self.plan_bytes)


def one_device() -> Mesh:
    return Mesh(jax.devices()[:1], ("data",), axis_types=(AxisType.Auto,))


def build(case: Case) -> nnx.Module:
    return create_model(
        case.name,
        width=case.width,
        dtype=array_dtype(case.dtype),
        recompute=case.recompute,
        rngs=nnx.Rngs(params=0, dropout=0),
    )


def start(case: Case) -> tuple[jax.stages.Wrapped, TrainState]:
    """The training step, compiled at its first call, and the state of step 0, on one device."""
    optimizer = make_optimizer()
    network, *weights = split_network(build(case))
    state = initial_state(one_device(), Weights(*weights), optimizer, GIVEN)
    return make_step(network, optimizer), state


def make_optimizer() -> optax.GradientTransformationExtraArgs:
    return optim.sgd(momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)


def make_step(
    network: FunctionalNetwork, optimizer: optax.GradientTransformationExtraArgs
) -> jax.stages.Wrapped:
    return compile_step(one_device(), _step(network, optimizer))


def _step(network: FunctionalNetwork, optimizer: optax.GradientTransformationExtraArgs) -> Step:
    return functools.partial(train_step, network=network, optimizer=optimizer, **STEP_OPTIONS)


def training(case: Case) -> Ours:
    """The training step of nucseg_jax.training.step on a batch that stays on the device."""
    use_precision(case.dtype)
    return training_side(*start(case), case.arrays(), forward_flops(case))


def training_side(
    step: jax.stages.Wrapped, state: TrainState, arrays: dict[str, np.ndarray], forward_flops: float
) -> Ours:
    """A training step on a batch that stays on the device; its result is the loss.

    Args:
      step: compiled at its first call.
      state: of step 0.
      arrays: the batch.
      forward_flops: of a forward pass of it.
    """
    batch = devices.split_batch(one_device(), arrays)
    plan = step.lower(state, batch).compile().memory_analysis()
    latest = list(step(state, batch))

    def run() -> None:
        latest[:] = step(latest[0], batch)

    side = Side(run, lambda: jax.block_until_ready(latest), result=lambda: np.asarray(latest[1]))
    side.wait()
    # Backward: the gradients of the inputs and of the weights cost what the forward pass does, each.
    return Ours(side, plan_bytes(plan), 3 * forward_flops)


def inference(case: Case) -> Ours:
    """`predict`: uint8 images on the device → float32 logits on the device, running batch statistics."""
    use_precision(case.dtype)
    network, *weights = split_network(build(case))
    return inference_side(network, Weights(*weights), case.arrays()["image"], forward_flops(case))


def inference_side(
    network: FunctionalNetwork, weights: Weights, pixels: np.ndarray, forward_flops: float
) -> Ours:
    """`predict` on images that stay on the device; its result is the logits, float32[B,S,S,C].

    Args:
      network, weights: in the precision that is set.
      pixels: uint8[B,S,S,3].
      forward_flops: of a forward pass of them.
    """
    params, batch_stats = weights
    images = jax.device_put(pixels)
    predict = jax.jit(network.predict)
    plan = predict.lower(params, batch_stats, images).compile().memory_analysis()
    latest = [predict(params, batch_stats, images)]

    def run() -> None:
        latest[0] = predict(params, batch_stats, images)

    side = Side(run, lambda: jax.block_until_ready(latest), result=lambda: np.asarray(latest[0]))
    side.wait()
    return Ours(side, plan_bytes(plan), forward_flops)


def plan_bytes(plan: Any) -> int:
    """XLA's memory plan → bytes."""
    return (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
    )


def forward_flops(case: Case) -> float:
    """FLOPs of one forward pass in inference mode; see `models.network.forward_flops`."""
    return network.forward_flops(*abstract(case), (case.batch, case.size, case.size, 3))


def lower_step(case: Case) -> jax.stages.Lowered:
    """The training step without memory for its arguments."""
    network, optimizer, *arguments = _abstract_step(case)
    return make_step(network, optimizer).lower(*arguments)


def step_flops(case: Case) -> float:
    """FLOPs of a training step, with what it computes again; counted as by `models.network.forward_flops`."""
    network, optimizer, *arguments = _abstract_step(case)
    with jax.default_device(jax.devices("cpu")[0]), devices.traced_for("tpu"):
        traced = jax.jit(_step(network, optimizer)).trace(*arguments)
        return (traced.lower(lowering_platforms=("tpu",)).cost_analysis() or {})["flops"]


def _abstract_step(case: Case) -> tuple[Any, ...]:
    """Network, optimizer, and the shapes of state and batch."""
    network, params, batch_stats = abstract(case)
    optimizer = make_optimizer()
    moments: Any = jax.eval_shape(optimizer.init, params)
    state = TrainState(jnp.zeros((), jnp.int32), params, batch_stats, moments, GIVEN)
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, case.arrays()))
    return network, optimizer, state, batch


def abstract(case: Case) -> tuple[FunctionalNetwork, nnx.State, nnx.State]:
    """Network, parameters and batch statistics without memory for them."""
    return split_network(nnx.eval_shape(lambda: build(case)))
