"""Training: the step and the loop."""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import data, losses, optim, sharding
from nucseg_jax.checkpoint import Checkpoints, describe
from nucseg_jax.errors import UserError
from nucseg_jax.evaluate import mean_f1
from nucseg_jax.geometry import Geometry
from nucseg_jax.inference import TiledInference
from nucseg_jax.logs import RunLog
from nucseg_jax.models import IMAGENET_ENCODERS, count_parameters, create_model
from nucseg_jax.models.functional import FunctionalNetwork, InputFormat, split_network
from nucseg_jax.run_checks import check_same_run, check_values


class TrainState(NamedTuple):
    """All that training changes; replicated over the mesh."""

    step: jax.Array
    params: nnx.State
    batch_stats: nnx.State
    opt_state: optax.OptState


class NonFiniteLossError(UserError):
    """Training diverged: the loss or the parameters became infinite or NaN."""


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    network: FunctionalNetwork,
    optimizer: optax.GradientTransformation,
    loss_scale: float,
    accumulate: int,
    seed: int,
) -> tuple[TrainState, jax.Array]:
    """One update from one batch.

    Args:
      state: before the update.
      batch: `image` uint8[B,H,W,3], `label_map` int32[B,H,W].
      network: the network's forward passes.
      optimizer: applied to the mean gradient.
      loss_scale: factor on the loss before the gradient (the authors' 0.005).
      accumulate: the batch is run in this many equal parts, one after the other, to save memory.
      seed: dropout is a function of (seed, step).

    Returns:
      The state after it and the mean cross-entropy (without the scale).
    """
    dropout_key = jax.random.fold_in(jax.random.key(seed), state.step)

    def loss_of(
        params: nnx.State, batch_stats: nnx.State, part: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
        logits, batch_stats = network.train(params, batch_stats, part["image"], key)
        labels = (part["label_map"] > 0).astype(jnp.int32)
        loss = losses.cross_entropy(logits, labels)
        return loss_scale * loss, (loss, batch_stats)

    def accumulate_part(carry: Any, inputs: Any) -> tuple[Any, None]:
        batch_stats, gradients, loss = carry
        part, index = inputs
        key = jax.random.fold_in(dropout_key, index)
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


def create_state(
    config: ConfigDict,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    encoder_weights: str | None = None,
) -> tuple[FunctionalNetwork, TrainState]:
    """The network with weights drawn from config.seed, and the state of step 0 on the mesh.

    Args:
      config: the experiment.
      mesh: where the state goes.
      optimizer: whose state it is.
      encoder_weights: file of ImageNet weights for the encoder.

    Raises:
      UserError: encoder_weights is no file of the network's encoder.
    """
    model = create_model(
        config.model.name,
        num_classes=config.model.num_classes,
        width=config.model.width,
        dtype=config.model.dtype,
        rngs=nnx.Rngs(params=config.seed, dropout=config.seed),
    )
    if encoder_weights:
        from nucseg_jax.torch_bridge.imagenet import load_encoder  # needs PyTorch

        load_encoder(model, Path(encoder_weights))
    input_format = InputFormat(config.model.channel_order, config.model.input_scale)
    network, params, batch_stats = split_network(model, input_format)
    state = TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))
    return network, sharding.replicate(mesh, state)


def compile_step(
    config: ConfigDict, mesh: Mesh, network: FunctionalNetwork, optimizer: optax.GradientTransformation
) -> Callable[[TrainState, Any], tuple[TrainState, jax.Array]]:
    """`train_step` jitted with `state` donated: (state, batch) → (state, loss)."""
    step = functools.partial(
        train_step,
        network=network,
        optimizer=optimizer,
        loss_scale=config.optim.loss_scale,
        accumulate=config.optim.accumulate,
        seed=config.seed,
    )
    return jax.jit(
        step,
        donate_argnums=0,
        out_shardings=sharding.replicated(mesh),
        compiler_options=sharding.compiler_options(mesh),
    )


def train(config: ConfigDict, workdir: Path) -> TrainState:
    """Train, or go on from the last checkpoint in `workdir`, to the config's last step.

    Raises:
      DataError: no prepared dataset, unknown validation images, or an image smaller than a patch.
      NonFiniteLossError: the loss, or a parameter at a checkpoint, became infinite or NaN.
      UserError: a bad config value, or `workdir` holds a run of another config.
    """
    mesh = sharding.make_mesh()
    check_values(config, mesh.devices.size)
    rows = sharding.local_rows(config.batch_size)
    dataset = data.load(config.data)
    dataset.check_sizes(config.data.crop_size)
    examples, validation = dataset.training(config.data.validation)
    plan = plan_patches(config, examples)
    steps_per_epoch = len(plan) / config.batch_size
    num_steps = config.num_steps or max(1, round(config.num_epochs * steps_per_epoch))
    period = max(1, round(config.optim.restart_epochs * steps_per_epoch))
    schedule = optim.warm_restarts(config.optim.learning_rate, period)
    optimizer = optim.sgd(config.optim, schedule)
    info = describe(config, dataset.metadata)
    with Checkpoints(workdir, config.checkpoint.keep) as checkpoints:
        # A run that goes on has its encoder in its checkpoint: the file may be gone by then.
        encoder_weights = config.model.encoder_weights if checkpoints.latest is None else None
        network, state = create_state(config, mesh, optimizer, encoder_weights)
        state = resume(checkpoints, state, info, mesh, workdir)
        first = int(state.step)
        if first > num_steps:
            raise UserError(f"{workdir} is at step {first} already, past the {num_steps} steps asked for")
        say(
            f"{dataset.name}: {len(examples)} training images, {len(validation)} held out, {len(plan):,} "
            f"patches an epoch; {config.model.name}, {count_parameters(state.params):,} parameters; "
            f"steps {first} to {num_steps} of batch {config.batch_size} on {mesh.devices.size} device(s)"
        )
        if first == 0 and config.model.name in IMAGENET_ENCODERS and not config.model.encoder_weights:
            say(
                "note: the encoder starts from random weights, the paper's from ImageNet's: "
                "--config.model.encoder_weights=FILE (see the README)"
            )
        inference = TiledInference(
            network, mesh, tile=config.data.crop_size, batch_size=config.eval.batch_size
        )
        step_fn = compile_step(config, mesh, network, optimizer)
        batches = data.batches(
            examples, plan, batch_size=config.batch_size, rows=rows, first=first, last=num_steps
        )
        pending: list[tuple[int, jax.Array]] = []
        with RunLog(workdir, first, num_steps, config.batch_size) as log:
            for step, batch in enumerate(batches, start=first + 1):
                state, loss = step_fn(state, sharding.gather_shares(mesh, batch))
                pending.append((step, loss))
                checkpoint_due = step % config.checkpoint.every == 0 or step == num_steps
                if checkpoint_due or step % config.log_every == 0:
                    # The loss is fetched here only: the loop never waits for the device otherwise.
                    log.training(finite_losses(pending), learning_rate=float(schedule(step - 1)))
                    pending.clear()
                if checkpoint_due:
                    check_finite(state)
                    f1 = None
                    if validation:
                        f1 = mean_f1(inference, state.params, state.batch_stats, validation)
                        log.validation(step, f1)
                    model = {"params": state.params, "batch_stats": state.batch_stats}
                    checkpoints.save(step, model, state.opt_state, info, f1)
    return state


def plan_patches(config: ConfigDict, examples: Sequence[data.Example]) -> Geometry:
    """The patches of `examples` that the config trains on."""
    return Geometry(
        seed=config.seed,
        sizes=tuple((e.image.shape[0], e.image.shape[1]) for e in examples),
        crop=config.data.crop_size,
        random_crops=config.data.random_crops,
        fresh=config.data.fresh_crops,
        turns=config.data.turns,
        flips=config.data.flips,
    )


def resume(
    checkpoints: Checkpoints, state: TrainState, info: dict[str, Any], mesh: Mesh, workdir: Path
) -> TrainState:
    """The state of the last checkpoint, or `state` where there is none.

    Raises:
      UserError: the checkpoint is of another run.
    """
    if checkpoints.latest is None:
        return state
    saved = checkpoints.info()
    if "converted_from" in saved:
        raise UserError(f"{workdir} holds converted weights, not a run to go on with: use another --workdir")
    check_same_run(saved, info, workdir)
    if saved["devices"] != info["devices"]:
        say(
            f"note: {workdir} was started on {saved['devices']} device(s) and goes on on {info['devices']}: "
            "equal to float rounding, no longer to the bit"
        )
    weights = {"params": state.params, "batch_stats": state.batch_stats}
    model, opt_state = checkpoints.restore(weights, state.opt_state)
    step = sharding.replicate(mesh, np.int32(checkpoints.latest))
    return TrainState(step, model["params"], model["batch_stats"], opt_state)


def finite_losses(pending: Sequence[tuple[int, jax.Array]]) -> list[tuple[int, float]]:
    """(step, loss) as numbers, all finite."""
    values = [(step, float(loss)) for step, loss in pending]
    for step, value in values:
        if not math.isfinite(value):
            raise NonFiniteLossError(f"the loss of step {step} is {value}: {_REMEDY}")
    return values


def check_finite(state: TrainState) -> None:
    """Raise NonFiniteLossError unless every parameter and statistic is finite.

    The loss is from before the update: the update that it led to is seen here only.
    """
    if not _all_finite((state.params, state.batch_stats)):
        raise NonFiniteLossError(f"step {int(state.step)} made parameters infinite or NaN: {_REMEDY}")


_REMEDY = (
    "training has diverged. Start again in another --workdir with a lower optim.learning_rate or "
    "optim.loss_scale (metrics.jsonl shows where the loss rose)"
)


@jax.jit
def _all_finite(tree: Any) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def say(message: str) -> None:
    """Print once, not in every process."""
    if sharding.is_first_process():
        print(message, flush=True)
