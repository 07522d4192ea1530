"""Scores of a predicted nuclei segmentation against the truth.

Label maps are integer arrays `[H, W]`: 0 is the background, every other value one nucleus; ids need
not be contiguous. `overlaps` counts the pixels that every pair of nuclei shares, once, and every
score is a function of that table. `score` gives them all. Where only a part of an image is annotated,
`ignore`, a boolean array `[H, W]`, says which pixels do not count.

Empty cases, for every score: nothing to find and nothing found is perfect (1.0); one of the two
empty is 0.0. The macro F1 applies this to each of its two classes, then takes their mean.
"""

from nucseg_jax.metrics.checks import check_label_map
from nucseg_jax.metrics.overlaps import Overlaps, cut_to_annotated, overlaps, remove_small
from nucseg_jax.metrics.pixels import PixelCounts
from nucseg_jax.metrics.scores import (
    F1_IOU_PERCENT,
    aji,
    aji_plus,
    detection_f1,
    detection_precision,
    detection_recall,
    panoptic_quality,
    score,
)

__all__ = [
    "F1_IOU_PERCENT",
    "Overlaps",
    "PixelCounts",
    "aji",
    "aji_plus",
    "check_label_map",
    "cut_to_annotated",
    "detection_f1",
    "detection_precision",
    "detection_recall",
    "overlaps",
    "panoptic_quality",
    "remove_small",
    "score",
]
