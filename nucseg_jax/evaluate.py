"""Evaluation of one run: a split → nuclei → per-image scores → tables, CSV, JSON, pictures."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from tqdm import tqdm

from nucseg_jax import checkpoint, classical, data, figures, images, instances, scoring, sharding
from nucseg_jax.comparison import ScoredImage
from nucseg_jax.dataset import Example
from nucseg_jax.errors import DataError
from nucseg_jax.files import write_text
from nucseg_jax.inference import TiledInference
from nucseg_jax.run_checks import check_same_input

NETWORK, BASELINE = "network", "baseline"


def evaluate(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Score a run's checkpoint, and the classical baseline, on every split but the training one.

    Writes `WORKDIR/eval/DATASET_SPLIT/step_STEP/`: scores.json, scores.csv (a row an image), and a picture an
    image, overlays/ID.png (outlines on the tissue) and panels/ID.png (tissue, truth, errors).

    Args:
      config: the run's config; `eval.step` chooses another checkpoint than the best (or last), `instances`
        how nuclei are made of the network's probabilities.
      workdir: the run's folder.

    Returns:
      For each split the summary of the network's scores (see `metrics.score`; `f1` is the Dice).

    Raises:
      CheckpointError: no such checkpoint.
      DataError: no prepared dataset, one without a test split, or an image smaller than a tile.
      UserError: the checkpoint was trained with another network, stain normalisation or patch size.
    """
    instances.check(config.instances)
    mesh = sharding.make_mesh()
    model = checkpoint.load_model(workdir, mesh, config.eval.step)
    trained = model.info["config"]
    check_same_input(trained, json.loads(config.to_json_best_effort()), workdir)
    dataset = data.load(config.data)
    dataset.check_sizes(config.data.crop_size)
    tests = dataset.scored()
    if not tests:
        raise DataError(f"{dataset.name} has no split besides train: there is nothing to score")
    inference = TiledInference.by_config(model.network, mesh, config)

    def network_nuclei(example: Example) -> NDArray[np.int32]:
        size = example.original_label_map.shape
        probabilities = inference.nucleus_map(model.params, model.batch_stats, example.image, size)
        return instances.split(probabilities, config.instances)

    name = f"{trained['model']['name']}, step {model.step}, {config.instances.method}"
    results = {}
    for split, examples in tests.items():
        folder = workdir / "eval" / f"{Path(dataset.name).name}_{split}" / f"step_{model.step}"
        rows = _score_split(examples, network_nuclei, config.eval.min_area_px, folder)
        results[split] = {
            NETWORK: _summary(examples, rows[NETWORK]),
            BASELINE: _summary(examples, rows[BASELINE]),
            "by_organ": {o: scoring.means(group) for o, group in scoring.by_organ(rows[NETWORK]).items()},
            "model": name,
            "step": model.step,
            "dataset": dataset.name,
            "min_area_px": config.eval.min_area_px,
            "images": len(examples),
        }
        if sharding.is_first_process():
            write_text(folder / "scores.json", json.dumps(results[split], indent=2) + "\n")
            write_text(folder / "scores.csv", scoring.to_csv(rows))
            groups = scoring.by_organ(rows[NETWORK]) | {
                "all (mean)": rows[NETWORK],
                "colour deconvolution + Otsu": rows[BASELINE],
            }
            print(scoring.table(f"{name} on {dataset.name} {split}", groups, config.eval.min_area_px))
            s = results[split][NETWORK]
            print(f"pooled over all pixels: F1 {s['f1_pooled']:.3f}, macro F1 {s['f1_macro_pooled']:.3f}")
            print(
                f"wrote {folder}/scores.json, scores.csv and overlays/, panels/ ({len(rows[NETWORK])} each)"
            )
    return results


def _score_split(
    examples: Sequence[Example],
    network_nuclei: Callable[[Example], NDArray[np.int32]],
    min_area_px: int,
    folder: Path,
) -> dict[str, list[ScoredImage]]:
    """Scores of the network and of the baseline, image by image; draws the overlays."""
    rows: dict[str, list[ScoredImage]] = {NETWORK: [], BASELINE: []}
    first = sharding.is_first_process()
    if first:
        for kind in ("overlays", "panels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
    for example in tqdm(examples, desc="evaluate", unit="image", disable=not first):
        tissue = example.scored_image()
        found = scoring.score_image(example, network_nuclei(example), min_area_px)
        rows[NETWORK].append(found)
        rows[BASELINE].append(scoring.score_image(example, classical.nuclei(tissue), min_area_px))
        if first:
            drawing = (tissue, example.original_label_map, found.label_map)
            caption = f"{example.id}: F1 {found.scores['dice']:.3f}, AJI {found.scores['aji']:.3f}"
            images.write_image(folder / "overlays" / f"{example.id}.png", figures.overlay(*drawing))
            images.write_image(
                folder / "panels" / f"{example.id}.png", figures.panel(*drawing, caption=caption)
            )
    return rows


def _summary(examples: Sequence[Example], rows: Sequence[ScoredImage]) -> dict[str, float]:
    """Means, the Dice under the name that the paper has for it."""
    found = scoring.summary(examples, rows)
    return {key.replace("dice", "f1"): value for key, value in found.items()}
