"""The trainings of `self_correction`: their datasets, their config, and what each is scored with."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict

from data_prep import label_noise
from nucseg_jax import data, devices, instances, runs
from nucseg_jax.config import get_small_monuseg
from nucseg_jax.data import packed
from nucseg_jax.data.dataset import TRAIN, Dataset, Example
from nucseg_jax.devices import compilation_cache
from nucseg_jax.errors import UserError
from nucseg_jax.evaluation import scoring, search
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.evaluation.search import Scene
from nucseg_jax.io.files import write_text
from nucseg_jax.metrics import PixelCounts
from nucseg_jax.models.network import Weights
from nucseg_jax.runs import loading
from nucseg_jax.training import refined_labels
from nucseg_jax.training.objectives import SOFT_CLASSES
from nucseg_jax.training.train import train

SCORES = {"dice": "nucleus F1", "aji": "AJI"}
"""Key of a score of an image → its name in tables."""

ARMS = {"parameters": ("nothing", "parameters"), "both": ("labels", "both")}
"""By what a training averages: the arms that its own parameters and its average are."""

GRID = {
    "watershed": {
        "threshold": (0.3, 0.4, 0.5),
        "h_um": (0.125, 0.25, 0.375),
        "smoothing_um": (0.25, 0.5),
        "min_area_um2": (1.875, 4.375),
    }
}
"""How nuclei are made of probabilities: each arm of each training gets the best on the held-out images."""


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
      rate: of each kind of annotation error.
      average: `config.self_correction.average`, a key of ARMS.
      seed: of the training; the errors are the same for all seeds.
    """

    rate: float
    average: str
    seed: int

    @property
    def name(self) -> str:
        return f"{percent(self.rate)}_{self.average}_{self.seed}"


def percent(rate: float) -> str:
    """A rate as folders are named by it."""
    return f"rate{100 * rate:g}"


def experiment(network: str, width: float, changes: Mapping[str, Any]) -> ConfigDict:
    """The training that all share: a narrow network that sees few images often, as they are.

    400 ordinary steps and four cycles of 200; on images of half the size, some five minutes of one CPU core.
    """
    config = get_small_monuseg(network)
    config.model.width = width
    config.model.num_classes = 2
    config.num_epochs = 12
    config.num_steps = 1200
    config.data.pipeline = "resident"
    config.data.size = 512
    config.data.crop_size = 128
    config.data.turns = config.data.flips = config.data.fresh_crops = False
    config.checkpoint.every = 10**9  # at the ends of phases alone
    config.checkpoint.keep = 1
    config.log_every = 100
    config.self_correction.cycles = 4
    config.self_correction.cycle_epochs = 2.0
    config.self_correction.warmup_epochs = 0.5
    config.update_from_flattened_dict(dict(changes))
    return config


def prepare(config: ConfigDict, source: Path, out: Path, rate: float, images: int) -> Path:
    """A packed dataset of a part of the training images, with errors at `rate`; made once; returns its root.

    Shifts of 3 and rims of 2 of its pixels, which at half the size are 6 and 4 of the original images'.

    Args:
      config: names the dataset.
      source: its root.
      out: the experiment's folder.
      rate: of each kind of error; 0: none.
      images: how many are trained on, evenly spread over all by their ids.
    """
    root = out / f"data/{percent(rate)}_of_{images}"
    if root.exists():
        return root
    dataset = read(config, source)
    examples, held_out = dataset.training(config.data.validation)
    if not 1 <= images <= len(examples):
        raise UserError(f"--images must be from 1 to {len(examples)}, got {images}")
    chosen = [examples[round(i)] for i in np.linspace(0, len(examples) - 1, images)]
    dataset = Dataset(dataset.name, {**dataset.splits, TRAIN: chosen + held_out}, dataset.metadata)
    if rate:
        clean = config.data.validation
        dataset, _ = label_noise.add_noise(dataset, rate=rate, shift_px=3, dilate_px=2, seed=0, clean=clean)
    packed.write(dataset, root / dataset.name, overwrite=False)
    return root


def run(job: Job, config: ConfigDict, roots: Mapping[float, Path], out: Path) -> dict[str, Any]:
    """Train and score; called in a process of its own."""
    workdir = out / "runs" / job.name
    result = workdir / "result.json"
    config.seed = job.seed
    config.data.dir = str(roots[job.rate])
    config.self_correction.average = job.average
    made_with = json.loads(config.to_json_best_effort())
    if result.exists():
        found = json.loads(result.read_text())
        if found["config"] != made_with:
            raise UserError(f"{result}: is of another config, or other images. Give another --out")
        return found
    begun = time.perf_counter()
    train(config, workdir)
    trained = time.perf_counter()
    found = asdict(job) | {
        "config": made_with,
        "train_seconds": trained - begun,
        **score(config, workdir, roots[0.0]),
    }
    write_text(result, json.dumps(found | {"score_seconds": time.perf_counter() - trained}))
    return found


def score(config: ConfigDict, workdir: Path, sound: Path) -> dict[str, Any]:
    """Scores by arm, split and image at the last step; F1 of the labels it was trained on.

    Args:
      config: of the run.
      workdir: the run's folder.
      sound: root of the dataset without added errors.
    """
    trained = runs.open_run(workdir, devices.make_mesh(), {"eval.step": config.num_steps})
    dataset = read(config, sound)
    examples, held_out = dataset.training(config.data.validation)
    average = Weights(trained.model.params, trained.model.batch_stats)
    weights = (loading.training_weights(workdir, trained.model), average)
    found: dict[str, Any] = {"arms": {}}
    for arm, of_arm in zip(ARMS[config.self_correction.average], weights, strict=True):

        def scenes(images: Sequence[Example], of_arm: Weights = of_arm) -> list[Scene]:
            model = replace(trained.model, params=of_arm.params, batch_stats=of_arm.batch_stats)
            run = replace(trained, model=model)
            scored = ScoredRun(run, devices.make_mesh(), dataset, images)
            return [
                Scene(scored.nucleus_map(e), scored.frame(e), e.original_label_map, e.original_unannotated)
                for e in images
            ]

        of_held_out, tests = scenes(held_out), dataset.splits["test"]
        settings = search.search(of_held_out, GRID)
        chosen = search.best_of_methods(settings)["watershed"].parameters
        found["arms"][arm] = {
            "instances": chosen,
            "held_out": scores_with(chosen, held_out, of_held_out),
            "test": scores_with(chosen, tests, scenes(tests)),
        }
    given, _ = read(config, Path(config.data.dir)).training(config.data.validation)
    pairs = list(zip(examples, given, strict=True))
    found["given_f1"] = mean(PixelCounts.of(e.label_map, g.label_map > 0).f1_nucleus for e, g in pairs)
    if config.self_correction.average == "both":
        folder = workdir / f"labels/cycle_{config.self_correction.cycles}"
        labels = refined_labels.read(folder, examples, (SOFT_CLASSES,))
        found["refined_f1"] = mean(
            PixelCounts.of(e.label_map, labels[e.id][SOFT_CLASSES][..., 0] < 0.5).f1_nucleus for e in examples
        )
    return found


def scores_with(
    parameters: Mapping[str, float], images: Sequence[Example], scenes: Sequence[Scene]
) -> dict[str, dict[str, float]]:
    """Scores by image, of nuclei made by a watershed with these parameters."""
    method = ConfigDict({"method": "watershed", "watershed": dict(parameters)})
    rows = []
    for example, (nucleus_map, frame, *_) in zip(images, scenes, strict=True):
        nuclei = frame.label_map(instances.split(nucleus_map, method, frame.network_mpp))
        rows.append(scoring.score_image(example, nuclei, 0.0, frame.mpp))
    return {row.id: {key: row.scores[key] for key in SCORES} for row in rows}


def read(config: ConfigDict, root: Path) -> Dataset:
    """The config's dataset in another root."""
    chosen = config.data.copy_and_resolve_references()
    chosen.dir = str(root)
    return data.load(chosen)


def start_worker() -> None:
    logging.set_verbosity(logging.ERROR)  # Orbax narrates all
    compilation_cache.enable()


def mean(values: Any) -> float:
    return float(np.mean(list(values)))
