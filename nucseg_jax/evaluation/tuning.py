"""Tuning of a run: how nuclei are best made of its probabilities, on its held-out images."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from nucseg_jax import data, devices, runs
from nucseg_jax.errors import UserError, shown
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.evaluation.search import Scene, Setting, best_of_methods, ceiling, search
from nucseg_jax.io.files import write_text
from nucseg_jax.runs import TUNING
from nucseg_jax.runs.restoring import parameter_digest


def tune(config: ConfigDict, workdir: Path) -> dict[str, Any]:
    """Search on the validation images of a run; print the best of each method, and write all of it.

    Args:
      config: the run's config; `eval.step` chooses another checkpoint than the best (or last).
      workdir: the run's folder, where tuning.json is written.

    Returns:
      What tuning.json holds: `best` of each method with its `ceiling`, the `overrides` that make a command
      use the best of them, and all that was `tried`.

    Raises:
      CheckpointError: no such checkpoint.
      DataError: no prepared dataset, or without one of the validation images.
      UserError: no validation images, or the network was trained on them, or on another input.
    """
    if not config.data.validation:
        raise UserError(
            "tuning needs validation images, and data.validation names none: train with some of the training "
            "images held out (data.validation=ID,ID), then tune that run"
        )
    about, scenes = _predict(config, workdir)
    tried = search(scenes)
    best = best_of_methods(tried)
    ceilings = {method: ceiling(scenes, setting) for method, setting in best.items()}
    overrides = next(iter(best.values())).overrides
    result = about | {
        "overrides": overrides,
        "best": {method: asdict(s) | {"ceiling": ceilings[method]} for method, s in best.items()},
        "tried": [asdict(s) for s in tried],
    }
    write_text(workdir / TUNING, json.dumps(result, indent=2) + "\n")
    print(f"{about['model']} on {len(scenes)} validation images of {about['dataset']}")
    print(_table(best, ceilings))
    written = shown(workdir / TUNING)
    print(f"wrote {written} ({len(tried)} settings). All commands take the best of them, as with:")
    print("--set", " ".join(overrides))
    return result


def _predict(config: ConfigDict, workdir: Path) -> tuple[dict[str, Any], list[Scene]]:
    """What is tuned on what, for the record; the validation images and what the network says of them."""
    mesh = devices.make_mesh()
    run = runs.open_as(config, workdir, mesh, {}, with_tuning=False)
    dataset = data.load(config.data)
    _, examples = dataset.training(config.data.validation)
    scored = ScoredRun(run, mesh, dataset, examples, keep_boundary=True)
    for note in scored.notes:
        print(f"note: {shown(note)}")
    scenes = [
        Scene(scored.nucleus_map(e), scored.frame(e), e.original_label_map, e.original_unannotated)
        for e in tqdm(examples, desc="predict", unit="image")
    ]
    about = {
        "model": f"{run.config.model.name}, step {run.model.step}",
        "params_sha256": parameter_digest(run.model.params),
        "dataset": dataset.name,
        "validation": [e.id for e in examples],
        "pixels": scored.settings()["pixels"],
        "network_mpp": scored.network_mpp,
    }
    return about, scenes


def _table(best: Mapping[str, Setting], ceilings: Mapping[str, float]) -> str:
    """A row a method; the ceiling is the AJI of the same parameters on perfect probabilities."""
    lines = [f"{'':<12}{'AJI':>7}{'PQ':>7}{'ceiling':>9}{'s/image':>9}  parameters"]
    for method, s in best.items():
        parameters = ", ".join(f"{key} {value}" for key, value in s.parameters.items())
        scores = f"{s.aji:>7.3f}{s.pq:>7.3f}{ceilings[method]:>9.3f}{s.seconds:>9.2f}"
        lines.append(f"{method:<12}{scores}  {parameters}")
    return "\n".join(lines)
