"""Scores of the held-out images during training, by which a run's best checkpoint is chosen."""

from collections.abc import Callable, Sequence

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import instances, metrics
from nucseg_jax.dataset import Example
from nucseg_jax.inference import TiledInference
from nucseg_jax.maps import NucleusMap
from nucseg_jax.metrics import PixelCounts
from nucseg_jax.models.functional import FunctionalNetwork, Weights


def validator(
    config: ConfigDict, network: FunctionalNetwork, mesh: Mesh, examples: Sequence[Example]
) -> Callable[[Weights], dict[str, float]]:
    """What scores weights on the held-out images.

    Args:
      config: the experiment: its tiles, and how it makes nuclei of probabilities (`config.instances`).
      network: its forward passes.
      mesh: batches of tiles are split over its devices.
      examples: the held-out images, at least one.

    Returns:
      A function of weights that gives the means of `score` over the images.
    """
    tiles = {"tile": config.data.crop_size, "batch_size": config.eval.batch_size}
    inference = TiledInference(network.probabilities, mesh, **tiles)

    def validate(weights: Weights) -> dict[str, float]:
        def of_image(example: Example) -> dict[str, float]:
            size = example.original_label_map.shape
            return score(example, inference.nucleus_map(*weights, example.image, size), config.instances)

        found = [of_image(example) for example in examples]
        return {key: float(np.mean([scores[key] for scores in found])) for key in found[0]}

    return validate


def score(example: Example, nucleus_map: NucleusMap, chosen: ConfigDict) -> dict[str, float]:
    """Scores of an image against its original label map.

    Args:
      example: the image.
      nucleus_map: what a network says of it, at the original size.
      chosen: `config.instances`.

    Returns:
      `aji` of the nuclei as `chosen` makes them, and `dice` of the pixels of a probability above 0.5,
      whatever `chosen` says: as releases before this one computed it. Both in [0, 1].
    """
    truth = example.original_label_map
    return {
        "aji": metrics.aji(metrics.overlaps(truth, instances.split(nucleus_map, chosen))),
        "dice": PixelCounts.of(truth, nucleus_map.mask).f1_nucleus,
    }
