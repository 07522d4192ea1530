"""Scores of images, and their means: what evaluation writes down and reports are drawn from."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nucseg_jax import metrics
from nucseg_jax.data.dataset import Example
from nucseg_jax.evaluation.results import ScoredImage
from nucseg_jax.instances import area_px
from nucseg_jax.metrics import PixelCounts


def score_image(
    example: Example, label_map: NDArray[np.int32], min_area_um2: float, mpp: float
) -> ScoredImage:
    """Score an image's nuclei against the true ones, with and without the small ones.

    Where an image is annotated in part, scores and counts are of that part (`metrics.score`).

    Args:
      example: the image.
      label_map: int32 [H0, W0], its nuclei at the original size.
      min_area_um2: smaller nuclei do not count in the scores without small ones.
      mpp: µm a pixel of the original image.
    """
    truth, ignore = example.original_label_map, example.original_unannotated
    scores = metrics.score(truth, label_map, ignore)
    large = metrics.overlaps(truth, metrics.remove_small(label_map, area_px(min_area_um2, mpp)), ignore)
    scores |= {"aji_min_area": metrics.aji(large), "count_min_area": float(large.count_pred)}
    return ScoredImage(example.id, example.organ, label_map, scores)


def means(images: Sequence[ScoredImage]) -> dict[str, float]:
    """The mean of every score over images."""
    return {key: float(np.mean([image.scores[key] for image in images])) for key in images[0].scores}


def pooled(examples: Sequence[Example], images: Sequence[ScoredImage]) -> PixelCounts:
    """The pixels of all images together, from which the paper's code computes its F1."""
    counts = (
        PixelCounts.of(e.original_label_map, i.label_map, e.original_unannotated)
        for e, i in zip(examples, images, strict=True)
    )
    return sum(counts, start=PixelCounts())


def summary(examples: Sequence[Example], images: Sequence[ScoredImage]) -> dict[str, float]:
    """`means`, and the nucleus and macro F1 pooled over all pixels."""
    pixels = pooled(examples, images)
    return means(images) | {"dice_pooled": pixels.f1_nucleus, "f1_macro_pooled": pixels.f1_macro}


def by_organ(images: Sequence[ScoredImage]) -> dict[str, list[ScoredImage]]:
    """The images of each organ, organs by name."""
    return {o: [i for i in images if i.organ == o] for o in sorted({i.organ for i in images})}


def table(title: str, groups: Mapping[str, Sequence[ScoredImage]], min_area_um2: float) -> str:
    """A plain-text table of means, a row a group."""
    least = f"≥{min_area_um2:.3g}µm²"
    width = max(28, *(len(label) + 2 for label in groups))
    lines = [
        title,
        f"{'':<{width}}{'images':>7}{'Dice':>8}{'macro F1':>10}{'AJI':>8}{f'AJI {least}':>14}{'PQ':>8}"
        f"{'true':>8}{'found':>8}{least:>10}",
    ]
    for label, images in groups.items():
        m = means(images)
        lines.append(
            f"{label:<{width}}{len(images):>7}{m['dice']:>8.3f}{m['f1_macro']:>10.3f}{m['aji']:>8.3f}"
            f"{m['aji_min_area']:>14.3f}{m['pq']:>8.3f}{m['count_true']:>8.0f}{m['count_pred']:>8.0f}"
            f"{m['count_min_area']:>10.0f}"
        )
    return "\n".join(lines)


def shown_settings(settings: Mapping[str, Any]) -> str:
    """How nuclei were made, as the end of a sentence; of `ScoredRun.settings`."""
    chosen = dict(settings["instances"])
    method, source = chosen.pop("method"), chosen.pop("from")
    parameters = ", ".join(f"{key} {value:g}" for key, value in chosen.items())
    return f"by {method} ({parameters}), according to {source}, of {settings['pixels']}"


def to_csv(entries: Mapping[str, Sequence[ScoredImage]]) -> str:
    """A row an entry and image: entry, id, organ, every score."""
    keys = list(next(iter(entries.values()))[0].scores)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["entry", "id", "organ", *keys])
    for name, images in entries.items():
        for image in images:
            writer.writerow([name, image.id, image.organ, *(f"{image.scores[key]:.6g}" for key in keys)])
    return text.getvalue()
