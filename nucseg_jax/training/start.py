"""How a training starts: with weights that are drawn, or from its last checkpoint."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import devices
from nucseg_jax.devices import say
from nucseg_jax.errors import UserError
from nucseg_jax.models import create_model, design_model
from nucseg_jax.models.network import FunctionalNetwork, InputFormat, Weights, split_network
from nucseg_jax.runs import stain_target
from nucseg_jax.runs.checkpoint import Checkpoints
from nucseg_jax.runs.compatibility import check_same_run, notes_on_changes
from nucseg_jax.runs.manager import abstract
from nucseg_jax.training import augmentation
from nucseg_jax.training import origin as origins
from nucseg_jax.training.sharding import Sharding
from nucseg_jax.training.step import Given, TrainState, initial_state, state_shapes


class Start(NamedTuple):
    """What a training goes on from.

    Attributes:
      network: its forward passes.
      first: the step that comes next.
      shapes: shapes, dtypes and placement of the state: what compiling the step needs.
      state: gives the state on the mesh. It waits for weights that another thread still draws.
      averaged: the average over self-correction's cycles; None where there is none yet.
    """

    network: FunctionalNetwork
    first: int
    shapes: TrainState
    state: Callable[[], TrainState]
    averaged: Weights | None = None

    @classmethod
    def at(cls, network: FunctionalNetwork, state: TrainState, averaged: Weights | None = None) -> "Start":
        """A start from a state that is there."""
        return cls(network, int(state.step), abstract(state), lambda: state, averaged)


def fresh(
    config: ConfigDict,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    given: Given,
    encoder_weights: str | None = None,
    stain: dict[str, Any] | None = None,
    origin: origins.Origin | None = None,
) -> Start:
    """The network with weights drawn from config.seed or taken from another one, and the state of step 0.

    Args:
      config: the experiment.
      mesh: where the state goes.
      optimizer: whose state it is.
      given: learning rates and seed.
      encoder_weights: file of ImageNet weights for the encoder.
      stain: how stains are normalised (`runs.stain_target.describe`).
      origin: what training starts from, where that is a trained network.

    Raises:
      UserError: encoder_weights is no file of the network's encoder, or is given beside an origin; the
        origin's network is another one.
    """
    if encoder_weights and origin is not None:
        raise UserError(
            f"model.encoder_weights = {encoder_weights!r} and --init {origin.source} both have an encoder: "
            "set model.encoder_weights=None, or leave --init out"
        )
    placement = _placement(config)
    if origin is None and not encoder_weights:
        model, draws = design_model(**_network(config))
        network, weights = _split(config, model, stain)
        shapes = state_shapes(mesh, weights, optimizer, given, **placement)

        def state() -> TrainState:
            return initial_state(mesh, draws.drawn(weights), optimizer, given, **placement)

        return Start(network, 0, shapes, _begun(state))
    model = create_model(**_network(config))
    if encoder_weights:
        from nucseg_jax.torch_bridge.imagenet import encoder_file, load_encoder  # needs PyTorch

        say(load_encoder(model, encoder_file(encoder_weights), config.model.channel_order))
    network, weights = _split(config, model, stain)
    if origin is not None:
        weights, line = origins.taken(origin, weights)
        say(line)
    return Start.at(network, initial_state(mesh, weights, optimizer, given, **placement))


def resumed(
    config: ConfigDict,
    mesh: Mesh,
    optimizer: optax.GradientTransformation,
    given: Given,
    checkpoints: Checkpoints,
    stain: dict[str, Any] | None,
) -> Start:
    """The network and the state of the last checkpoint; no weights are drawn.

    Args:
      config, mesh, optimizer, given, stain: as of `fresh`.
      checkpoints: at least one.

    Raises:
      CheckpointError: the last checkpoint is damaged.
    """
    network, shapes = _split(config, nnx.eval_shape(lambda: create_model(**_network(config))), stain)
    wanted = state_shapes(mesh, shapes, optimizer, given, **_placement(config))
    model, training, opt_state = checkpoints.restore(wanted.weights, wanted.opt_state, wanted.result)
    average = averaged = None
    if training is not None:
        average, averaged = (model, None) if _keeps_average(config) else (None, model)
    step = devices.replicate(mesh, np.asarray(checkpoints.latest, np.int32))
    placed = devices.replicate(mesh, given)
    return Start.at(network, TrainState(step, *(training or model), opt_state, placed, average), averaged)


def check_continues(saved: dict[str, Any], info: dict[str, Any], workdir: Path) -> None:
    """Raise UserError unless a run can go on from a checkpoint, and say what has changed since.

    Args:
      saved: the checkpoint's `info`.
      info: what this run would write.
      workdir: for messages.
    """
    if "converted_from" in saved:
        raise UserError(f"{workdir} holds converted weights, not a run to go on with: use another --workdir")
    check_same_run(saved, info, workdir)
    for note in notes_on_changes(saved, info):
        say(f"note: {workdir} {note}")


def _network(config: ConfigDict) -> dict[str, Any]:
    """The arguments of `create_model`."""
    chosen = config.model
    return {
        "name": chosen.name,
        "num_classes": chosen.num_classes,
        "width": chosen.width,
        "dtype": chosen.dtype,
        "recompute": chosen.recompute,
        "rngs": nnx.Rngs(params=config.seed, dropout=config.seed),
    }


def _begun(make: Callable[[], TrainState]) -> Callable[[], TrainState]:
    """Begin to make something in another thread; what is returned waits for it."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="weights")
    made = thread.submit(make)
    thread.shutdown(wait=False)
    return made.result


def _split(
    config: ConfigDict, model: nnx.Module, stain: dict[str, Any] | None
) -> tuple[FunctionalNetwork, Weights]:
    input_format = InputFormat(
        config.model.channel_order, config.model.input_scale, stain_target.in_network(stain)
    )
    changes = augmentation.image_changes(config, stain_target.augmentation(config.stain, stain))
    network, params, batch_stats = split_network(
        model, input_format, changes, freeze_statistics=config.optim.freeze_statistics
    )
    return network, Weights(params, batch_stats)


def _placement(config: ConfigDict) -> dict[str, Any]:
    """The arguments of `initial_state` that say what there is of a state, and where it lies."""
    return {"keeps_average": _keeps_average(config), "sharding": Sharding.of(config.shard)}


def _keeps_average(config: ConfigDict) -> bool:
    return config.optim.average_decay > 0
