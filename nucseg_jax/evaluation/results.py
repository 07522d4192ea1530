"""Several segmentations of one split, scored alike: what a report is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.data.dataset import Example


@dataclass(frozen=True)
class ScoredImage:
    """One image as one entry segmented it.

    Attributes:
      id, organ: of the image.
      label_map: int32 [H, W] at the original size, 0 = background.
      scores: `metrics.score` of it, and `aji_min_area`, `count_min_area` without small nuclei.
    """

    id: str
    organ: str
    label_map: NDArray[np.int32]
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Entry:
    """One segmentation of all images: a network, an ensemble, the classical baseline or another tool.

    Attributes:
      name: unique, such as "unet_small" or "or(unet, and(psp, self_correction))".
      kind: "network", "ensemble", "classical" or "external".
      images: in the order of the comparison's examples.
      facts: for networks `model` (create_model's name), `parameters`, `gflops` (of a 512×512 image), `step`,
        `config` (the whole experiment, a nested dict), `versions`, `instances` (method and its parameters);
        for others what there is to say, e.g. `expression` or `folder`.
      curves: the run's metrics.jsonl, its records in order (step, loss, learning_rate, validation_aji,
        validation_dice); empty for others.
    """

    name: str
    kind: str
    images: tuple[ScoredImage, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    curves: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows.

    Attributes:
      dataset: its name, such as "monuseg/paper_vahadane".
      split: such as "test".
      examples: the images, with their true label maps (`original_label_map`) and pixels (`scored_image()`).
      entries: the segmentations; networks first.
      command: what made it, to be run again.
      min_area_um2: of the counts and scores "without small nuclei".
    """

    dataset: str
    split: str
    examples: tuple[Example, ...]
    entries: tuple[Entry, ...]
    command: str
    min_area_um2: float
