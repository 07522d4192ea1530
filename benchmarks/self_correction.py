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
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray

from benchmarks import measure
from benchmarks.self_correction_table import printed, table
from benchmarks.self_correction_trainings import (
    ARMS,
    Job,
    experiment,
    mean,
    percent,
    prepare,
    read,
    run,
    start_worker,
)
from nucseg_jax import drawing, instances
from nucseg_jax.errors import UserError
from nucseg_jax.io import images
from nucseg_jax.io.files import write_text
from nucseg_jax.training import refined_labels
from nucseg_jax.training.objectives import SOFT_CLASSES


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
        drawing.overlay(tissue, sound, given[0].label_map[:side, :side]),
        drawing.overlay(tissue, sound, instances.components(nucleus > 0.5)),
        grey,
    ]
    return np.concatenate(panels, axis=1).repeat(2, axis=0).repeat(2, axis=1)


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
