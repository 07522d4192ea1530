"""Scores of the held-out images during training, by which a run's best checkpoint is chosen."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import devices, metrics
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.inference.examples import ExampleSource
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.inference.tile_network import TileNetwork
from nucseg_jax.instances import WITH_BOUNDARY
from nucseg_jax.metrics import PixelCounts
from nucseg_jax.models.network import FunctionalNetwork, Weights
from nucseg_jax.runs import stain_target


def validator(
    config: ConfigDict,
    network: FunctionalNetwork,
    mesh: Mesh,
    dataset: Dataset,
    examples: Sequence[Example],
    stain: Mapping[str, Any] | None,
) -> Callable[[Weights], dict[str, float]]:
    """What scores weights on the held-out images, as evaluation does, without test-time augmentation.

    Args:
      config: the experiment: its tiles, and how it makes nuclei of probabilities (`config.instances`).
      network: its forward passes.
      mesh: of this process's devices, which batches of tiles are split over (`devices.own_mesh`).
      dataset: that the images are of.
      examples: the held-out images, at least one.
      stain: how stains are normalised (`runs.stain_target.describe`).

    Returns:
      A function of weights on all devices that gives means over the images, of which each process reads and
      scores its share: `aji` of the nuclei as `config.instances` makes them, and `dice` of the pixels of a
      probability above 0.5, whatever `config.instances` says. Both in [0, 1].
    """
    normalizer = stain_target.before_network(stain)
    needs_target = config.stain.where == "prepare" and config.data.stain != "none"
    source = ExampleSource.of(dataset, examples, has_target=normalizer is not None or not needs_target)

    def segmenter(weights: Weights) -> Segmenter:
        return Segmenter(tiles.with_weights(weights), config.instances, source.magnification)

    def score(of: Segmenter, example: Example) -> tuple[float, float]:
        truth, ignore = example.original_label_map, example.original_unannotated
        frame = source.frame(example, source.prepared_mpp)
        with source.slide(example) as slide:
            nucleus_map = of.nucleus_map(slide)
        nuclei, mask = of.cut(nucleus_map), nucleus_map.mask.astype(np.int32)
        aji = metrics.aji(metrics.overlaps(truth, frame.label_map(nuclei), ignore))
        return aji, PixelCounts.of(truth, frame.label_map(mask), ignore).f1_nucleus

    def validate(weights: Weights) -> dict[str, float]:
        of = segmenter(devices.on_own_mesh(mesh, devices.gather(weights)))
        scores = devices.of_all_processes([score(of, example) for example in devices.share(examples)])
        aji, dice = np.mean(scores, axis=0)
        return {"aji": float(aji), "dice": float(dice)}

    tiles = TileNetwork.of(
        config,
        network,
        None,
        mesh,
        stain=None if source.prepared else normalizer,
        augment=False,
        has_boundary=config.instances.method in WITH_BOUNDARY,
    )
    return validate
