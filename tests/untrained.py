"""A run whose network was never trained: for what is about files, shapes and placement, not about nuclei."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from configs import demo
from nucseg_jax.data.dataset import Dataset
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.runs import checkpoint
from tests.networks import filled_network


def write_run(
    workdir: Path,
    *,
    stain: dict[str, Any] | None = None,
    dataset: Dataset | None = None,
    **changes: Any,
) -> Path:
    """A checkpoint of a U-Net of four channels, 32-pixel patches.

    Args:
      workdir: where it goes.
      stain: how stains are normalised.
      dataset: that it says it was trained on; None: it does not say.
      changes: config keys, __ for the dot.
    """
    config = demo.get_config()
    config.model.width = 1 / 16
    config.data.crop_size = 32
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    seed, threshold = _SEEDS[config.model.num_classes]
    config.instances[config.instances.method].threshold = threshold
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    model = filled_network(
        config.model.name,
        _fill(seed),
        width=config.model.width,
        num_classes=config.model.num_classes,
    )
    _, params, batch_stats = split_network(model)
    if dataset is None:
        info = checkpoint.describe(config, {}, stain, None)
    else:
        found = {"image_mpp": dataset.mpp, "network_mpp": dataset.prepared_mpp, "source": dataset.mpp_source}
        info = checkpoint.describe(config, dataset.metadata, stain, found)
    with checkpoint.Checkpoints(workdir, 1) as checkpoints:
        checkpoints.save(1, Weights(params, batch_stats), info)
    return workdir


_SEEDS = {2: (13, 0.2), 3: (9, 0.5)}
"""By the number of classes the seed and threshold with which it finds something, but not everywhere."""


def _fill(seed: int) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Weights with which a signal neither grows nor fades (He et al. 2015)."""
    draw = np.random.default_rng(seed)

    def fill(shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) == 1:  # biases and batch norm
            return draw.uniform(0.5, 1.0, shape).astype(np.float32)
        return draw.normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape).astype(np.float32)

    return fill
