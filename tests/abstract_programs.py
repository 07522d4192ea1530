"""Programs of a config, and the shapes that they take: to be lowered or compiled, with no weights drawn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from ml_collections import ConfigDict

from nucseg_jax import config as settings
from nucseg_jax.models import design_model
from nucseg_jax.models.network import InputFormat, Weights, split_network
from nucseg_jax.stain import NORMALIZERS
from nucseg_jax.stain.normalization import LabStatistics, NoStyle, Stains, Style
from nucseg_jax.stain.stained_pixels import REFERENCE
from nucseg_jax.training import augmentation, train
from nucseg_jax.training.objectives import DEPTH
from nucseg_jax.training.step import Given, TrainState

STYLES: dict[str, Style] = {
    "vahadane": Stains(np.array(REFERENCE, np.float32), np.ones(2, np.float32)),
    "macenko": Stains(np.array(REFERENCE, np.float32), np.ones(2, np.float32)),
    "reinhard": LabStatistics(np.ones(3, np.float32), np.ones(3, np.float32)),
    "identity": NoStyle(),
}


def abstract(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def config_of(name: str, *, side: int, stain: str | None = None) -> ConfigDict:
    """A network as narrow as it can be, with the loss that teaches all of its branches.

    Args:
      name: of the network.
      side: of its patches in pixels.
      stain: method by which the network normalises its images' stains; None: it does not.
    """
    config = settings.get_config()
    config.model.name, config.model.width, config.data.crop_size = name, 1 / 32, side
    config.optim.loss = "ce2p" if name == "self_correction" else "cross_entropy"
    if stain is not None:
        config.stain.where, config.stain.method, config.data.stain = "model", stain, "none"
    return config


def programs(config: ConfigDict, *, rows: int = 2) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The training step and inference, and the shapes of their arguments.

    Args:
      config: the experiment.
      rows: of a batch.
    """
    chosen = config.model
    model, _ = design_model(
        chosen.name,
        num_classes=chosen.num_classes,
        width=chosen.width,
        dtype=chosen.dtype,
        recompute=chosen.recompute,
        rngs=nnx.Rngs(params=0, dropout=0),
    )
    stain = None
    if config.stain.where == "model":
        stain = NORMALIZERS[config.stain.method]()
        stain.target = STYLES[config.stain.method]
    changes = augmentation.image_changes(config, None)
    network, params, batch_stats = split_network(model, InputFormat(stain=stain), changes)
    params, batch_stats = abstract((params, batch_stats))
    optimizer = train.make_optimizer(config)
    given = Given(jax.ShapeDtypeStruct((9,), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.uint32))
    step: Any = jax.ShapeDtypeStruct((), jnp.int32)
    average = Weights(params, batch_stats) if config.optim.average_decay else None
    state = TrainState(step, params, batch_stats, jax.eval_shape(optimizer.init, params), given, average)
    window = augmentation.window_size(config)
    batch = {
        "image": jax.ShapeDtypeStruct((rows, window, window, 3), jnp.uint8),
        "label_map": jax.ShapeDtypeStruct((rows, window, window), jnp.int32),
    }
    if config.model.boundary == "distance":
        batch[DEPTH] = jax.ShapeDtypeStruct((rows, window, window), jnp.uint8)
    side = config.data.crop_size
    images = jax.ShapeDtypeStruct((rows, side, side, 3), jnp.uint8)
    return {
        "training": (train.make_step(config, network, optimizer), (state, batch)),
        "inference": (network.probabilities, (params, batch_stats, images)),
    }
