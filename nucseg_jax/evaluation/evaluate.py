"""Evaluation of one run: a split → nuclei → per-image scores → tables, CSV, JSON, pictures."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict
from numpy.typing import NDArray
from tqdm import tqdm

from nucseg_jax import data, devices, drawing, runs
from nucseg_jax.data.annotation import annotated_share
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.devices import say
from nucseg_jax.errors import DataError, NothingToScoreError, shown, shown_lines
from nucseg_jax.evaluation import classical, scoring
from nucseg_jax.evaluation.results import ScoredImage
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.io import images
from nucseg_jax.io.files import replacing_folder, write_text
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.leftovers import remove_leftovers

NETWORK, BASELINE = "network", "baseline"
ANNOTATIONS = "annotations_sha256"
"""In scores.json: the digest of the label maps that the scores are of."""


def evaluate(
    config: ConfigDict, workdir: Path, given: Mapping[str, Any] | None = None, option: str = "--set "
) -> dict[str, Any]:
    """Score a run's checkpoint, and the classical baseline, on every split but the training one.

    The nuclei are those that `Segmenter` finds. Several processes share the images; the first draws them all.
    Writes `WORKDIR/eval/DATASET_SPLIT/step_STEP/`, such as
    eval/monuseg_paper_vahadane_test/step_600/: scores.json, scores.csv (a row an image), and a picture an
    image, overlays/ID.png (outlines on the tissue) and panels/ID.png (tissue, truth, errors). It replaces an
    older one when it is complete, and says so where the older one is of other annotations.

    Args:
      config: the run's config; `eval.step` chooses another checkpoint than the best (or last).
      workdir: the run's folder.
      given: dotted keys of `config` that a command line names → values. `instances` that are given come
        before tuning.json, and that before those of the config.
      option: what these keys follow there, for messages.

    Returns:
      For each split the summary of the network's scores (see `metrics.score`).

    Raises:
      CheckpointError: no such checkpoint.
      DataError: no prepared dataset.
      NothingToScoreError: the dataset has no split besides the training one.
      UserError: the checkpoint was trained with another network, stain normalisation or patch size, or on
        some of the images.
    """
    mesh = devices.make_mesh()
    run = runs.open_as(config, workdir, mesh, given or {}, option)
    dataset = data.load(config.data)
    tests = dataset.scored()
    if not tests:
        raise NothingToScoreError(
            f"{dataset.name} has no images to score: all are for training. To score the run on "
            "another dataset, name it to nucseg evaluate: data.dataset, data.split, data.dir"
        )
    own = devices.own_mesh()
    params, batch_stats = devices.on_own_mesh(own, run.model.weights)
    run = replace(run, model=replace(run.model, params=params, batch_stats=batch_stats))
    return {split: _score_split(run, own, dataset, split, examples) for split, examples in tests.items()}


def _score_split(
    run: runs.Run, mesh: Mesh, dataset: Dataset, split: str, examples: Sequence[Example]
) -> dict[str, Any]:
    """Score one split, write and print what comes of it."""
    scored = ScoredRun(run, mesh, dataset, examples)
    for note in scored.notes:
        say(f"note: {note}")
    min_area_um2 = run.config.eval.min_area_um2
    name = f"{run.config.model.name}, step {run.model.step}, {run.config.instances.method}"
    folder = run.workdir / "eval" / f"{dataset.name.replace('/', '_')}_{split}" / f"step_{run.model.step}"
    rows = _score_images(examples, scored.label_map, min_area_um2, dataset.mpp)
    result = {
        **devices.from_first(lambda: {key: scoring.summary(examples, rows[key]) for key in rows}),
        "by_organ": {o: scoring.means(group) for o, group in scoring.by_organ(rows[NETWORK]).items()},
        "model": name,
        "step": run.model.step,
        "dataset": dataset.name,
        "settings": scored.settings(),
        "min_area_um2": min_area_um2,
        "images": len(examples),
        ANNOTATIONS: devices.from_first(lambda: _annotations_digest(examples)),
        "annotated_share": annotated_share(examples),
    }
    if devices.is_first_process():
        remove_leftovers(folder)
        if _are_of_others(folder / "scores.json", result[ANNOTATIONS]):
            say(f"note: {folder}: had scores of other annotations, which are replaced")
        with replacing_folder(folder) as temporary:
            write_text(temporary / "scores.json", json.dumps(result, indent=2) + "\n")
            write_text(temporary / "scores.csv", scoring.to_csv(rows))
            _draw(temporary, examples, rows[NETWORK])
        groups = scoring.by_organ(rows[NETWORK]) | {
            "all (mean)": rows[NETWORK],
            "colour deconvolution + Otsu": rows[BASELINE],
        }
        print(shown_lines(scoring.table(f"{name} on {dataset.name} {split}", groups, min_area_um2)))
        s = result[NETWORK]
        print(f"pooled over all pixels: Dice {s['dice_pooled']:.3f}, macro F1 {s['f1_macro_pooled']:.3f}")
        print(f"nuclei were made {scoring.shown_settings(result['settings'])}")
        print(f"wrote {shown(folder)}/scores.json, scores.csv and overlays/, panels/ ({len(examples)} each)")
    return result


def _annotations_digest(examples: Sequence[Example]) -> str:
    """SHA-256 of the images' ids, label maps and unannotated pixels."""
    digest = hashlib.sha256()
    for example in examples:
        labels = np.ascontiguousarray(example.original_label_map, np.int32)
        digest.update(f"{example.id} {labels.shape}".encode())
        digest.update(labels.tobytes())
        if example.original_unannotated is not None:
            digest.update(example.original_unannotated.tobytes())
    return digest.hexdigest()


def _are_of_others(scores: Path, annotations: str) -> bool:
    """Whether a scores.json is there that is of other label maps; earlier releases do not say."""
    try:
        found = read_json(scores, "")
    except DataError:
        return False
    return isinstance(found, dict) and found.get(ANNOTATIONS, annotations) != annotations


def _score_images(
    examples: Sequence[Example],
    network_nuclei: Callable[[Example], NDArray[np.int32]],
    min_area_um2: float,
    mpp: float,
) -> dict[str, list[ScoredImage]]:
    """Scores of the network and of the baseline, image by image; each process scores its share."""
    silent = not devices.is_first_process()
    pairs = []
    for example in tqdm(devices.share(examples), desc="evaluate", unit="image", disable=silent):
        found = network_nuclei(example), classical.nuclei(example.scored_image(), mpp)
        pairs.append([scoring.score_image(example, nuclei, min_area_um2, mpp) for nuclei in found])
    network, baseline = zip(*devices.of_all_processes(pairs), strict=True)
    return {NETWORK: list(network), BASELINE: list(baseline)}


def _draw(folder: Path, examples: Sequence[Example], found: Sequence[ScoredImage]) -> None:
    """The pictures of all images."""
    for kind in ("overlays", "panels"):
        (folder / kind).mkdir()
    for example, scored in zip(examples, found, strict=True):
        pixels = (example.scored_image(), example.original_label_map, scored.label_map)
        caption = f"{example.id}: Dice {scored.scores['dice']:.3f}, AJI {scored.scores['aji']:.3f}"
        unknown, name = example.original_unannotated, f"{example.id}.png"
        overlay = drawing.overlay(*pixels, unannotated=unknown)
        images.write_image(folder / "overlays" / name, overlay)
        panel = drawing.panel(*pixels, caption=caption, unannotated=unknown)
        images.write_image(folder / "panels" / name, panel)
