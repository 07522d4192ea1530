"""Training: the step and the loop."""

import functools
import math
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
from nucseg_jax.checkpoint import CheckpointError, Checkpoints, describe
from nucseg_jax.errors import UserError
from nucseg_jax.evaluate import mean_f1
from nucseg_jax.geometry import Geometry
from nucseg_jax.inference import TiledInference
from nucseg_jax.logs import RunLog
from nucseg_jax.models import create_model
from nucseg_jax.models.functional import FunctionalNetwork


class TrainState(NamedTuple):
    """All that training changes; replicated over the mesh."""

    step: jax.Array
    params: nnx.State
    batch_stats: nnx.State
    opt_state: optax.OptState


class NonFiniteLossError(UserError):
    """The loss became infinite or NaN."""


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
    config: ConfigDict, mesh: Mesh, optimizer: optax.GradientTransformation
) -> tuple[FunctionalNetwork, TrainState]:
    """The network with fresh weights drawn from config.seed, and the state of step 0 on the mesh."""
    model = create_model(
        config.model.name,
        num_classes=config.model.num_classes,
        width=config.model.width,
        dtype=config.model.dtype,
        rngs=nnx.Rngs(config.seed),
    )
    network = FunctionalNetwork(model, config.model.channel_order)
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=network.params,
        batch_stats=network.batch_stats,
        opt_state=optimizer.init(network.params),
    )
    return network, sharding.replicate(mesh, state)


def compile_step(
    config: ConfigDict, network: FunctionalNetwork, optimizer: optax.GradientTransformation
) -> Any:
    """`train_step` jitted with `state` donated: (state, batch) → (state, loss)."""
    step = functools.partial(
        train_step,
        network=network,
        optimizer=optimizer,
        loss_scale=config.optim.loss_scale,
        accumulate=config.optim.accumulate,
        seed=config.seed,
    )
    return jax.jit(step, donate_argnums=0)


def train(config: ConfigDict, workdir: Path) -> TrainState:
    """Train, or go on from the last checkpoint in `workdir`, to the config's last step.

    Raises:
      DataError: no prepared dataset, or unknown validation images.
      CheckpointError: `workdir` holds a run of another config.
      NonFiniteLossError: the loss became infinite or NaN; the last checkpoint is from before.
      UserError: a bad config value.
    """
    mesh = sharding.make_mesh()
    rows = sharding.local_rows(mesh, config.batch_size)
    _check(config, mesh)
    dataset = data.load(config.data)
    examples, validation = dataset.training(config.data.validation)
    plan = Geometry(
        seed=config.seed,
        sizes=tuple((e.image.shape[0], e.image.shape[1]) for e in examples),
        crop=config.data.crop_size,
        random_crops=config.data.random_crops,
        fresh=config.data.fresh_crops,
        turns=config.data.turns,
        flips=config.data.flips,
    )
    steps_per_epoch = len(plan) / config.batch_size
    num_steps = config.num_steps or round(config.num_epochs * steps_per_epoch)
    schedule = optim.warm_restarts(
        config.optim.learning_rate, round(config.optim.restart_epochs * steps_per_epoch)
    )
    optimizer = optim.sgd(config.optim, schedule)
    network, state = create_state(config, mesh, optimizer)
    info = describe(config, dataset.metadata)

    checkpoints = Checkpoints(workdir, config.checkpoint.keep)
    if checkpoints.latest is not None:
        _check_same_run(checkpoints.info(), info, workdir)
        model, opt_state = checkpoints.restore(
            {"params": state.params, "batch_stats": state.batch_stats}, state.opt_state
        )
        state = TrainState(
            sharding.replicate(mesh, np.int32(checkpoints.latest)),
            model["params"],
            model["batch_stats"],
            opt_state,
        )
    first = int(state.step)
    if sharding.is_first_process():
        print(
            f"{dataset.name}: {len(examples)} training images, {len(validation)} held out, "
            f"{len(plan):,} patches an epoch; steps {first} to {num_steps} of batch "
            f"{config.batch_size} on {mesh.devices.size} device(s)",
            flush=True,
        )
    inference = TiledInference(network, mesh, tile=config.data.crop_size, batch_size=config.eval.batch_size)
    step_fn = compile_step(config, network, optimizer)
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
                log.training(_finite(pending), learning_rate=float(schedule(step - 1)))
                pending.clear()
            if checkpoint_due:
                f1 = None
                if validation:
                    f1 = mean_f1(inference, state.params, state.batch_stats, validation)
                    log.validation(step, f1)
                model = {"params": state.params, "batch_stats": state.batch_stats}
                checkpoints.save(step, model, state.opt_state, info, f1)
    checkpoints.close()
    return state


def _finite(pending: list[tuple[int, jax.Array]]) -> list[tuple[int, float]]:
    """The losses as numbers, all finite."""
    values = [(step, float(loss)) for step, loss in pending]
    for step, value in values:
        if not math.isfinite(value):
            raise NonFiniteLossError(
                f"the loss of step {step} is {value}: lower optim.learning_rate "
                "(or optim.loss_scale), or use model.dtype=float32; the last checkpoint is from before"
            )
    return values


def _check(config: ConfigDict, mesh: Mesh) -> None:
    """Raise UserError for values that would fail late or silently."""
    if config.data.pipeline != "tfdata":
        raise UserError(f"data.pipeline must be 'tfdata', got {config.data.pipeline!r}")
    parts = config.optim.accumulate * mesh.devices.size
    if config.optim.accumulate < 1 or config.batch_size % parts:
        raise UserError(
            f"batch_size = {config.batch_size} must be a multiple of optim.accumulate × devices = "
            f"{config.optim.accumulate} × {mesh.devices.size}"
        )
    at_least_one = {
        "log_every": config.log_every,
        "checkpoint.every": config.checkpoint.every,
        "checkpoint.keep": config.checkpoint.keep,
    }
    for key, value in at_least_one.items():
        if value < 1:
            raise UserError(f"{key} must be at least 1, got {value}")


# What may differ between a run and its continuation without making it another run.
_FREE_KEYS = ("num_epochs", "num_steps", "log_every", "checkpoint", "eval", "data.dir")


def _check_same_run(saved: dict[str, Any], now: dict[str, Any], workdir: Path) -> None:
    """Raise CheckpointError where the checkpoint's config differs in a key that shapes the run."""
    before, after = _flatten(saved["config"]), _flatten(now["config"])
    different = [
        f"  {key}: {before.get(key)!r} → {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and not any(key == free or key.startswith(f"{free}.") for free in _FREE_KEYS)
    ]
    if different:
        raise CheckpointError(
            f"{workdir} holds a run of another config:\n"
            + "\n".join(different)
            + "\nUse another --workdir, or the config it was started with."
        )


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts → one dict with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
