"""A run whose network was never trained: for what is about files, shapes and placement, not about nuclei."""

from pathlib import Path
from typing import Any

from flax import nnx

from configs import demo
from nucseg_jax import checkpoint
from nucseg_jax.models import create_model
from nucseg_jax.models.functional import split_network


def write_run(workdir: Path, *, stain: dict[str, Any] | None = None, **changes: Any) -> Path:
    """A checkpoint of a U-Net of four channels, 32-pixel tiles; `changes`: dotted keys with __ for the dot."""
    config = demo.get_config()
    config.model.width = 1 / 16
    config.data.crop_size = 32
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    model = create_model(
        config.model.name,
        num_classes=config.model.num_classes,
        width=config.model.width,
        rngs=nnx.Rngs(params=0, dropout=0),
    )
    _, params, batch_stats = split_network(model)
    info = checkpoint.describe(config, {}, stain)
    with checkpoint.Checkpoints(workdir, 1) as checkpoints:
        checkpoints.save(1, {"params": params, "batch_stats": batch_stats}, None, info, None)
    return workdir
