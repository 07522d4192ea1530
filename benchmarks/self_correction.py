"""What self-correction brings: the same training with and without it, on sound and on noisy labels.

python -m benchmarks.self_correction --data PACKED --out DIR [--rates 0 0.2] [--seeds 0 1 2] [--jobs 2]

For every rate of annotation errors (`data_prep.label_noise`; not in the images that are held out) and every
seed, one config is trained twice: on the annotation, and on labels refined after each cycle; the same steps,
the same warm restarts. Both trainings give the parameters they came to and the average over cycles, hence
four arms: `nothing` corrected (the baseline), `parameters` averaged, `labels` refined, and `both`:
self-correction. Scored is the last step, on the test split and on the held-out images, both annotated
soundly; how nuclei are cut is chosen on the held-out images, for each arm and seed. Differences are paired,
by seed and by image. --data: a dataset prepared with --size 512 and packed (`data_prep.pack`). Finished
trainings are kept in DIR and not repeated; DIR/labels_rateN.png shows labels before and after.
"""

import argparse
import itertools
import json
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging
from ml_collections import ConfigDict
from numpy.typing import NDArray

from benchmarks import measure
from configs import default
from data_prep import label_noise
from nucseg_jax import (
    checkpoint,
    compilation_cache,
    data,
    figures,
    images,
    instances,
    packed,
    refined_labels,
    runs,
    scoring,
    sharding,
    statistics,
    tuning,
)
from nucseg_jax.dataset import TRAIN, Dataset, Example
from nucseg_jax.errors import UserError
from nucseg_jax.files import write_text
from nucseg_jax.inference.scored import ScoredRun
from nucseg_jax.metrics import PixelCounts
from nucseg_jax.models.functional import Weights
from nucseg_jax.objectives import SOFT_CLASSES
from nucseg_jax.train import train
from nucseg_jax.tuning import Scene

SCORES = {"dice": "nucleus F1", "aji": "AJI"}
ARMS = {"parameters": ("nothing", "parameters"), "both": ("labels", "both")}
"""By what a training averages: the arms that its own parameters and its average are."""

BASELINE = "nothing"
GRID = {
    "watershed": {
        "threshold": (0.3, 0.4, 0.5),
        "h_um": (0.125, 0.25, 0.375),
        "smoothing_um": (0.25, 0.5),
        "min_area_um2": (1.875, 4.375),
    }
}
"""How nuclei are made of probabilities: each arm of each training gets the best on the held-out images."""

LABELS = ("given_f1", "refined_f1")
"""Nucleus F1 of the training images' labels, as given and as refined, against the sound annotation."""


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
    config = default.get_small_monuseg(network)
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
    trained = runs.open_run(workdir, sharding.make_mesh(), {"eval.step": config.num_steps})
    dataset = read(config, sound)
    examples, held_out = dataset.training(config.data.validation)
    average = Weights(trained.model.params, trained.model.batch_stats)
    weights = (checkpoint.training_weights(workdir, trained.model), average)
    found: dict[str, Any] = {"arms": {}}
    for arm, of_arm in zip(ARMS[config.self_correction.average], weights, strict=True):

        def scenes(images: Sequence[Example], of_arm: Weights = of_arm) -> list[Scene]:
            model = replace(trained.model, params=of_arm.params, batch_stats=of_arm.batch_stats)
            run = replace(trained, model=model)
            scored = ScoredRun(run, sharding.make_mesh(), dataset, images)
            return [Scene(scored.nucleus_map(e), scored.frame(e), e.original_label_map) for e in images]

        of_held_out, tests = scenes(held_out), dataset.splits["test"]
        settings = tuning.search(of_held_out, GRID)
        chosen = tuning.best_of_methods(settings)["watershed"].parameters
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
    for example, (nucleus_map, frame, _) in zip(images, scenes, strict=True):
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


def picture_of_labels(
    job: Job, config: ConfigDict, roots: Mapping[float, Path], out: Path, side: int = 256
) -> NDArray[np.uint8]:
    """A crop of a training image: labels as given and as refined (cyan, beside the sound ones, yellow), and
    the refined probability of nucleus; uint8[2·side, 6·side, 3]."""
    examples, _ = read(config, roots[0.0]).training(config.data.validation)
    given, _ = read(config, roots[job.rate]).training(config.data.validation)
    folder = out / "runs" / job.name / f"labels/cycle_{config.self_correction.cycles}"
    refined = refined_labels.read(folder, examples[:1], (SOFT_CLASSES,))[examples[0].id][SOFT_CLASSES]
    nucleus = 1 - refined[:side, :side, 0].astype(np.float32)
    tissue, sound = examples[0].image[:side, :side], examples[0].label_map[:side, :side]
    grey = np.repeat(np.rint(255 * nucleus).astype(np.uint8)[..., None], 3, axis=2)
    panels = [
        figures.overlay(tissue, sound, given[0].label_map[:side, :side]),
        figures.overlay(tissue, sound, instances.components(nucleus > 0.5)),
        grey,
    ]
    return np.concatenate(panels, axis=1).repeat(2, axis=0).repeat(2, axis=1)


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def table(results: Sequence[Mapping[str, Any]], split: str) -> list[dict[str, Any]]:
    """A row for each rate and arm: means, and differences from the baseline of the same seed.

    The interval is that of the mean over images (each image's difference averaged over seeds).
    """
    rows = []
    for rate in sorted({r["rate"] for r in results}):
        by_arm: dict[str, dict[int, Any]] = {}
        for r in (r for r in results if r["rate"] == rate):
            for arm, splits in r["arms"].items():
                by_arm.setdefault(arm, {})[r["seed"]] = splits[split]
        labels = {key: mean(r[key] for r in results if r["rate"] == rate and key in r) for key in LABELS}
        for arm in (a for arms in ARMS.values() for a in arms if a in by_arm):
            seeds = sorted(by_arm[arm])
            row: dict[str, Any] = {"split": split, "rate": rate, "arm": arm, "seeds": seeds, **labels}
            for key in SCORES:
                values = scores_of(by_arm[arm], seeds, key)
                row[key] = {"mean": float(values.mean()), "by_seed": values.mean(axis=1).tolist()}
                if arm != BASELINE and by_arm.get(BASELINE, {}).keys() >= set(seeds):
                    before = scores_of(by_arm[BASELINE], seeds, key)
                    difference = statistics.paired_difference(values.mean(axis=0), before.mean(axis=0))
                    row[key]["difference"] = difference._asdict()
                    row[key]["difference_by_seed"] = (values - before).mean(axis=1).tolist()
            rows.append(row)
    return rows


def scores_of(by_seed: Mapping[int, Any], seeds: Sequence[int], key: str) -> NDArray[np.float64]:
    """[seeds, images], images by their ids."""
    return np.array([[by_seed[s][i][key] for i in sorted(by_seed[s])] for s in seeds])


def printed(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    heads = [
        h for name in SCORES.values() for h in (name, f"Δ {name} (95 % over images)", "Δ by seed")
    ]  # fmt: skip
    lines = ["| split | errors of each kind | corrected | " + " | ".join(heads) + " |"]
    lines.append("|---|---|---|" + "---:|" * len(heads))
    for row in rows:
        cells = [row["split"].replace("_", "-"), f"{row['rate']:.0%}", row["arm"]]
        for key in SCORES:
            found = row[key]
            cells.append(f"{found['mean']:.3f}")
            if "difference" in found:
                d = found["difference"]
                cells.append(f"{d['mean']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})")
                cells.append(", ".join(f"{x:+.3f}" for x in found["difference_by_seed"]))
            else:
                cells += ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    try:
        _main(parse(argv))
    except UserError as error:
        sys.exit(f"error: {error}")


def _main(args: argparse.Namespace) -> None:
    config = experiment(args.network, args.width, dict(args.set))
    out = args.out.resolve()
    rates = sorted({0.0, *args.rates})
    roots = {rate: prepare(config, args.data.resolve(), out, rate, args.images) for rate in rates}
    jobs = [Job(*parts) for parts in itertools.product(args.rates, ARMS, args.seeds)]
    results = []
    with ProcessPoolExecutor(
        args.jobs, mp_context=multiprocessing.get_context("spawn"), initializer=start_worker
    ) as pool:
        waiting = [pool.submit(run, job, config, roots, out) for job in jobs]
        for done in as_completed(waiting):
            results.append(done.result())
            one = results[-1]
            found = {arm: mean(i["aji"] for i in s["held_out"].values()) for arm, s in one["arms"].items()}
            shown = ", ".join(f"{arm} {value:.4f}" for arm, value in found.items())
            name = Job(one["rate"], one["average"], one["seed"]).name
            print(f"{name}: held-out AJI {shown}; {one['train_seconds']:.0f} s", flush=True)
    for rate in args.rates:
        job = Job(rate, "both", args.seeds[0])
        picture = picture_of_labels(job, config, roots, out)
        images.write_image(out / f"labels_{percent(rate)}.png", picture)
    rows = [row for split in ("test", "held_out") for row in table(results, split)]
    print(printed(rows))
    environment = measure.isolated(measure.environment)
    path = args.json or measure.RESULTS / f"self_correction_{environment['platform']}.json"
    settings = {
        "network": args.network,
        "width": args.width,
        "images": args.images,
        "changes": dict(args.set),
    }
    report = {"benchmark": "self_correction", "environment": environment, "settings": settings}
    report["seconds_a_training"] = mean(r["train_seconds"] for r in results)
    write_text(path, json.dumps(report | {"rows": rows}, indent=2) + "\n")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.self_correction",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--data", type=Path, required=True, help="root of a packed dataset, monuseg/paper_…")
    made.add_argument("--out", type=Path, required=True, help="folder for datasets and runs")
    made.add_argument("--json", type=Path, help="default benchmarks/results/self_correction_PLATFORM.json")
    made.add_argument("--rates", action="extend", nargs="+", type=float, help="default: 0 0.2")
    made.add_argument("--images", type=int, default=5, help="training images, of the 20 not held out")
    made.add_argument("--seeds", action="extend", nargs="+", type=int, help="default: 0 1 2")
    made.add_argument("--jobs", type=int, default=1, help="trainings at once")
    made.add_argument("--network", default="unet")
    made.add_argument("--width", type=float, default=0.125)
    made.add_argument(
        "--set",
        action="extend",
        nargs="*",
        type=_change,
        default=[],
        metavar="KEY=VALUE",
        help="of the config",
    )
    args = made.parse_args(argv)
    # Not the parser's defaults, which would stay in front of what is given.
    args.rates = args.rates or [0.0, 0.2]
    args.seeds = args.seeds or [0, 1, 2]
    return args


def _change(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


if __name__ == "__main__":
    main()
