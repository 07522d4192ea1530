"""Training: the step and the loop."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import data, optim, pipelines, sharding
from nucseg_jax.checkpoint import Checkpoints, describe
from nucseg_jax.dataset import Example
from nucseg_jax.errors import UserError
from nucseg_jax.geometry import Geometry
from nucseg_jax.inference import TiledInference
from nucseg_jax.logs import RunLog
from nucseg_jax.metrics import PixelCounts
from nucseg_jax.models import IMAGENET_ENCODERS, count_parameters, create_model
from nucseg_jax.models.functional import FunctionalNetwork, InputFormat
from nucseg_jax.run_checks import check_same_run, check_values
from nucseg_jax.stain import experiment
from nucseg_jax.step import TrainState, initial_state
from nucseg_jax.targets import check_classes


class NonFiniteLossError(UserError):
    """Training diverged: the loss or the parameters became infinite or NaN."""


def create_state(
    config: ConfigDict,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    encoder_weights: str | None = None,
    stain: dict[str, Any] | None = None,
) -> tuple[FunctionalNetwork, TrainState]:
    """The network with weights drawn from config.seed, and the state of step 0 on the mesh.

    Args:
      config: the experiment.
      mesh: where the state goes.
      optimizer: whose state it is.
      encoder_weights: file of ImageNet weights for the encoder.
      stain: how stains are normalised (`stain.experiment.describe`).

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
    input_format = InputFormat(
        config.model.channel_order, config.model.input_scale, experiment.in_network(stain)
    )
    augmentation = experiment.augmentation(config.stain, stain)
    return initial_state(mesh, model, optimizer, input_format, augmentation)


def train(config: ConfigDict, workdir: Path) -> TrainState:
    """Train, or go on from the last checkpoint in `workdir`, to the config's last step.

    Raises:
      DataError: no prepared dataset, unknown validation images, or an image smaller than a patch.
      NonFiniteLossError: the loss, or a parameter at a checkpoint, became infinite or NaN.
      UserError: a bad config value, or `workdir` holds a run of another config.
    """
    mesh = sharding.make_mesh()
    check_values(config, mesh.devices.size)
    check_classes(config.model.num_classes)
    dataset = data.load(config.data)
    dataset.check_sizes(config.data.crop_size)
    examples, validation = dataset.training(config.data.validation)
    plan = plan_patches(config, examples)
    steps_per_epoch = len(plan) / config.batch_size
    num_steps = config.num_steps or max(1, round(config.num_epochs * steps_per_epoch))
    period = max(1, round(config.optim.restart_epochs * steps_per_epoch))
    schedule = optim.warm_restarts(config.optim.learning_rate, period)
    optimizer = optim.sgd(schedule, momentum=config.optim.momentum, weight_decay=config.optim.weight_decay)
    with Checkpoints(workdir, config.checkpoint.keep) as checkpoints:
        # A run that goes on has its encoder and its stain target in its checkpoint: the files may be gone.
        if checkpoints.latest is None:
            encoder_weights, stain = config.model.encoder_weights, experiment.describe(config.stain, dataset)
        else:
            encoder_weights, stain = None, checkpoints.info().get("stain")
        info = describe(config, dataset.metadata, stain)
        network, state = create_state(config, mesh, optimizer, encoder_weights, stain)
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
        steps = range(first, num_steps)
        advance = pipelines.start(config, mesh, network, optimizer, examples, plan, steps)
        boundaries = (config.log_every, config.checkpoint.every)
        pending: list[tuple[range, jax.Array]] = []
        with RunLog(workdir, first, num_steps, config.batch_size) as log:
            for done in pipelines.dispatches(steps, at_most=config.steps_per_dispatch, boundaries=boundaries):
                state, losses = advance(state, done)
                pending.append((done, losses))
                step = done.stop
                checkpoint_due = step % config.checkpoint.every == 0 or step == num_steps
                if checkpoint_due or step % config.log_every == 0:
                    # The losses are fetched here only: the loop never waits for the device otherwise.
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


def mean_f1(
    inference: TiledInference, params: nnx.State, batch_stats: nnx.State, examples: Sequence[Example]
) -> float:
    """Mean nucleus F1 over images, against the original label maps."""

    def f1(example: Example) -> float:
        truth = example.original_label_map
        found = inference.nucleus_map(params, batch_stats, example.image, truth.shape)
        return PixelCounts.of(truth, found.mask).f1_nucleus

    return float(np.mean([f1(example) for example in examples]))


def plan_patches(config: ConfigDict, examples: Sequence[Example]) -> Geometry:
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
    for what, before, now in _other_arithmetic(saved, info):
        say(
            f"note: {workdir} was started with {what} {before} and goes on with {now}: "
            "equal to float rounding, not always to the bit"
        )
    weights = {"params": state.params, "batch_stats": state.batch_stats}
    model, opt_state = checkpoints.restore(weights, state.opt_state)
    step = sharding.replicate(mesh, np.int32(checkpoints.latest))
    return TrainState(step, model["params"], model["batch_stats"], opt_state)


def _other_arithmetic(saved: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(name, before, now) of what changes how the same sums are compiled."""
    pairs = [("devices", saved["devices"], now["devices"])]
    before, after = saved["config"], now["config"]
    pairs.append(("data.pipeline", before["data"]["pipeline"], after["data"]["pipeline"]))
    # A run of an earlier version did one step a call.
    pairs.append(("steps_per_dispatch", before.get("steps_per_dispatch", 1), after["steps_per_dispatch"]))
    return [pair for pair in pairs if pair[1] != pair[2]]


def finite_losses(pending: Sequence[tuple[range, jax.Array]]) -> list[tuple[int, float]]:
    """(step, loss) as numbers, all finite; steps counted from 1.

    Args:
      pending: steps, counted from 0, and their losses: float32[] or [K ≥ the number of steps].
    """
    fetched = jax.device_get([losses for _, losses in pending])
    values = [
        (step + 1, float(loss))
        for (steps, _), losses in zip(pending, fetched, strict=True)
        for step, loss in zip(steps, np.ravel(losses), strict=False)
    ]
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
