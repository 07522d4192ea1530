"""Evaluation: a split → per-image scores → tables, CSV, JSON, pictures."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from ml_collections import ConfigDict
from tqdm import tqdm

from nucseg_jax import checkpoint, classical, data, figures, images, instances, metrics, sharding
from nucseg_jax.dataset import Example
from nucseg_jax.errors import DataError
from nucseg_jax.files import write_text
from nucseg_jax.inference import TiledInference
from nucseg_jax.metrics import PixelCounts
from nucseg_jax.run_checks import check_same_input

SCORES = ("f1", "f1_macro", "aji", "aji_min_area", "count_true", "count_pred", "count_min_area")
"""Per image: nucleus F1 (Dice of the nucleus pixels), mean of nucleus and background F1, the challenge's
AJI without and with the minimum area, true nuclei, predicted ones without and with the minimum area."""


@dataclass(frozen=True)
class ImageScores:
    """One image's scores (see SCORES) and its pixel counts."""

    id: str
    organ: str
    values: dict[str, float]
    pixels: PixelCounts


def segment(
    inference: TiledInference, params: nnx.State, batch_stats: nnx.State, example: Example
) -> np.ndarray:
    """bool[H0,W0]: nucleus pixels at the original size, by the larger class probability."""
    size = example.original_label_map.shape
    probabilities = inference.probabilities(params, batch_stats, example.image, size)
    return np.asarray(probabilities.argmax(axis=-1) > 0)


def mean_f1(
    inference: TiledInference,
    params: nnx.State,
    batch_stats: nnx.State,
    examples: Sequence[Example],
) -> float:
    """Mean nucleus F1 over images, against the original label maps."""
    return float(
        np.mean(
            [
                PixelCounts.of(e.original_label_map, segment(inference, params, batch_stats, e)).f1_nucleus
                for e in examples
            ]
        )
    )


def score_image(example: Example, mask: np.ndarray, min_area_px: int) -> tuple[ImageScores, np.ndarray]:
    """Scores of a nucleus mask bool[H0,W0], and its nuclei: the 4-connected components, int32[H0,W0]."""
    truth = example.original_label_map
    nuclei = instances.components(mask)
    table = metrics.overlaps(truth, nuclei)
    large = metrics.overlaps(truth, metrics.remove_small(nuclei, min_area_px))
    pixels = table.pixels
    values = {
        "f1": pixels.f1_nucleus,
        "f1_macro": pixels.f1_macro,
        "aji": metrics.aji(table),
        "aji_min_area": metrics.aji(large),
        "count_true": table.count_true,
        "count_pred": table.count_pred,
        "count_min_area": large.count_pred,
    }
    return ImageScores(example.id, example.organ, values, pixels), nuclei


def summarise(rows: Sequence[ImageScores]) -> dict[str, float]:
    """Means over images, and both F1 pooled over all pixels (as the paper's code computes its F1)."""
    pooled = sum((r.pixels for r in rows[1:]), start=rows[0].pixels)
    means = {key: float(np.mean([r.values[key] for r in rows])) for key in SCORES}
    return means | {"f1_pooled": pooled.f1_nucleus, "f1_macro_pooled": pooled.f1_macro}


def evaluate(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Score a run's checkpoint, and the classical baseline, on every split but the training one.

    Writes `WORKDIR/eval/DATASET_SPLIT/step_STEP/`: scores.json, scores.csv (a row an image), and a picture an
    image, overlays/ID.png (outlines on the tissue) and panels/ID.png (tissue, truth, errors).

    Args:
      config: the run's config; `eval.step` chooses another checkpoint than the best (or last).
      workdir: the run's folder.

    Returns:
      For each split the summary of the network's scores.

    Raises:
      CheckpointError: no such checkpoint.
      DataError: no prepared dataset, one without a test split, or an image smaller than a tile.
      UserError: the checkpoint was trained with another network, stain normalisation or patch size.
    """
    mesh = sharding.make_mesh()
    model = checkpoint.load_model(workdir, mesh, config.eval.step)
    trained = model.info["config"]
    check_same_input(trained, json.loads(config.to_json_best_effort()), workdir)
    dataset = data.load(config.data)
    dataset.check_sizes(config.data.crop_size)
    tests = dataset.scored()
    if not tests:
        raise DataError(f"{dataset.name} has no split besides train: there is nothing to score")
    inference = TiledInference(
        model.network, mesh, tile=config.data.crop_size, batch_size=config.eval.batch_size
    )

    def network_mask(example: Example) -> np.ndarray:
        return segment(inference, model.params, model.batch_stats, example)

    name = f"{trained['model']['name']}, step {model.step}"
    results = {}
    for split, examples in tests.items():
        folder = workdir / "eval" / f"{Path(dataset.name).name}_{split}" / f"step_{model.step}"
        rows, baseline = _score_split(examples, network_mask, config.eval.min_area_px, folder)
        results[split] = {
            "network": summarise(rows),
            "baseline": summarise(baseline),
            "by_organ": {o: summarise(group) for o, group in _by_organ(rows).items()},
            "model": name,
            "step": model.step,
            "dataset": dataset.name,
            "min_area_px": config.eval.min_area_px,
            "images": len(rows),
        }
        if sharding.is_first_process():
            write_text(folder / "scores.json", json.dumps(results[split], indent=2) + "\n")
            write_text(folder / "scores.csv", _csv(rows))
            print(_table(f"{name} on {dataset.name} {split}", rows, baseline, config.eval.min_area_px))
            print(
                f"wrote {folder}/scores.json, scores.csv and overlays/, panels/ ({len(rows)} pictures each)"
            )
    return results


def _score_split(
    examples: Iterable[Example],
    network_mask: Callable[[Example], np.ndarray],
    min_area_px: int,
    folder: Path,
) -> tuple[list[ImageScores], list[ImageScores]]:
    """Scores of the network and of the baseline, image by image; draws the overlays."""
    rows, baseline = [], []
    first = sharding.is_first_process()
    if first:
        for kind in ("overlays", "panels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
    for example in tqdm(list(examples), desc="evaluate", unit="image", disable=not first):
        scores, nuclei = score_image(example, network_mask(example), min_area_px)
        rows.append(scores)
        tissue = example.scored_image()
        classical_mask = classical.nucleus_mask(tissue)
        baseline.append(score_image(example, classical_mask, min_area_px)[0])
        if first:
            drawing = (tissue, example.original_label_map, nuclei)
            caption = f"{example.id}: F1 {scores.values['f1']:.3f}, AJI {scores.values['aji']:.3f}"
            images.write_image(folder / "overlays" / f"{example.id}.png", figures.overlay(*drawing))
            images.write_image(
                folder / "panels" / f"{example.id}.png", figures.panel(*drawing, caption=caption)
            )
    return rows, baseline


def _by_organ(rows: Sequence[ImageScores]) -> dict[str, list[ImageScores]]:
    return {o: [r for r in rows if r.organ == o] for o in sorted({r.organ for r in rows})}


def _table(title: str, rows: Sequence[ImageScores], baseline: Sequence[ImageScores], min_area_px: int) -> str:
    """A row an organ, then all images, then the baseline."""
    lines = [
        title,
        f"{'':<28}{'images':>7}{'F1':>8}{'macro F1':>10}{'AJI':>8}{f'AJI ≥{min_area_px}px':>12}"
        f"{'true':>8}{'found':>8}{f'≥{min_area_px}px':>8}",
    ]
    groups = _by_organ(rows) | {
        "all (mean)": list(rows),
        "colour deconvolution + Otsu": list(baseline),
    }
    for label, group in groups.items():
        s = summarise(group)
        lines.append(
            f"{label:<28}{len(group):>7}{s['f1']:>8.3f}{s['f1_macro']:>10.3f}{s['aji']:>8.3f}"
            f"{s['aji_min_area']:>12.3f}{s['count_true']:>8.0f}{s['count_pred']:>8.0f}"
            f"{s['count_min_area']:>8.0f}"
        )
    s = summarise(rows)
    lines.append(f"pooled over all pixels: F1 {s['f1_pooled']:.3f}, macro F1 {s['f1_macro_pooled']:.3f}")
    return "\n".join(lines)


def _csv(rows: Sequence[ImageScores]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "organ", *SCORES])
    for r in rows:
        writer.writerow([r.id, r.organ, *(f"{r.values[key]:.6g}" for key in SCORES)])
    return text.getvalue()
