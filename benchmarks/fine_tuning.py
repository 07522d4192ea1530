"""Does fine-tuning on a few annotated regions help on an organ that a model has never seen?

python -m benchmarks.fine_tuning --monuseg MONUSEG --others CONSEP --work DIR --out docs/fine_tuning

For each of three organs of MoNuSeg a base is trained on all other images. One image of the organ is then
annotated in 1, 2 and 4 regions of 256×256 pixels. The base is fine-tuned on them (configs/finetune.py);
beside it a network is trained on them from the ImageNet weights of its encoder. All are scored on the
organ's five other images. The seeds draw the image, the regions and the training. For one organ, regions that
`nucseg suggest` names are compared with those drawn at random.

What is done is kept in DIR: the same command goes on. Writes OUT.json (a row an image) and OUT.svg.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import fine_tuning_data as prepared
from benchmarks import fine_tuning_figure as figure
from benchmarks.fine_tuning_data import Annotated, Sources
from nucseg_jax.io.files import write_text
from nucseg_jax.io.geojson_files import REGION

ORGANS, SEEDS, REGIONS = ("breast", "kidney", "liver"), (0, 1, 2), (1, 2, 4)
SUGGESTED_FOR = "breast"
BASE_STEPS, SCRATCH_STEPS = 2000, 400
SCORES = ("aji", "pq", "dice")


class Job(NamedTuple):
    """A training on a few regions, and its scores.

    Attributes:
      organ: that the base has not seen.
      seed: chooses the image and the regions, and draws what training draws.
      regions: how many are annotated; 0: the base as it is.
      start: "base", or "scratch".
      chosen: how regions were: "random", or "suggested".
    """

    organ: str
    seed: int
    regions: int
    start: str = "base"
    chosen: str = "random"

    @property
    def name(self) -> str:
        return f"{self.organ}_{self.seed}_{self.regions}_{self.start}_{self.chosen}"


def jobs() -> Iterator[Job]:
    """All, those that answer most first."""
    for seed in SEEDS:
        for organ in ORGANS:
            yield Job(organ, seed, 0)
            for regions in REGIONS:
                yield Job(organ, seed, regions)
    for seed in SEEDS:
        for regions in REGIONS:
            yield Job(SUGGESTED_FOR, seed, regions, chosen="suggested")
    for seed in SEEDS:
        for organ in ORGANS:
            for regions in REGIONS:
                yield Job(organ, seed, regions, start="scratch")


class Study:
    """Runs jobs in a folder.

    Args:
      sources: of the images.
      work: the folder.
    """

    def __init__(self, sources: Sources, work: Path):
        self._sources, self._work = sources, work

    def rows(self, job: Job) -> list[dict[str, Any]]:
        """A row a scored image; of a job that is done, what it came to."""
        file = self._work / "done" / f"{job.name}.json"
        if not file.exists():
            found = self._rows(job)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(found, indent=1) + "\n")
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return rows

    def base(self, organ: str) -> Path:
        """The run that has not seen an organ."""
        run = self._work / f"base_{organ}"
        if not (run / "checkpoints" / str(BASE_STEPS)).exists():
            name = prepared.prepare_base(self._sources, organ, self._work)
            changes = {"num_steps": BASE_STEPS, "num_epochs": BASE_STEPS // 250, "data.validation": "()"}
            self._run("he_fast", run, name, changes)
        return run

    def _rows(self, job: Job) -> list[dict[str, Any]]:
        images = self._sources.images_of(job.organ)
        image = images[job.seed]
        scored = [entry for entry in images if entry is not image]
        corners = self._corners(job, image.id)
        name = f"{job.organ}_{job.seed}_{job.regions}_{job.chosen}"
        split = prepared.prepare_annotated(self._sources, Annotated(image, corners), scored, name, self._work)
        run = self.base(job.organ) if job.regions == 0 else self._work / "runs" / job.name
        if job.regions == 0:
            self._run("he_fast", run, split, {"data.validation": "()"}, "--mode", "eval")
        elif job.start == "base":
            self._run("finetune", run, split, {"seed": job.seed}, "--init", str(self.base(job.organ)))
        else:
            changes: dict[str, Any] = {
                "num_steps": SCRATCH_STEPS,
                "num_epochs": 1,
                "checkpoint.every": SCRATCH_STEPS,
            }
            changes |= {"optim.restart_epochs": 1.0, "optim.warmup_epochs": 0.1, "seed": job.seed}
            self._run("he_fast", run, split, changes | {"data.validation": "()"})
        return [{**job._asdict(), "image": image.id, **row} for row in self._scores(run, split)]

    def _corners(self, job: Job, image_id: str) -> tuple[tuple[int, int], ...]:
        if job.chosen == "random":
            return self._sources.random_corners(image_id, max(1, job.regions), job.seed)
        return self.suggested(job, image_id)[: job.regions]

    def suggested(self, job: Job, image_id: str) -> tuple[tuple[int, int], ...]:
        """(top, left) of the regions that the base asks for, the most useful first."""
        file = self._work / "suggested" / f"{job.organ}_{job.seed}.geojson"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            image = self._sources.files(image_id).image
            command = [sys.executable, "-m", "nucseg_jax.suggest", str(image), "--mpp", str(prepared.MPP)]
            command += ["--workdir", str(self.base(job.organ)), "--regions", str(max(REGIONS))]
            command += ["--size-um", str(prepared.REGION_PX * prepared.MPP), "--out", str(file)]
            subprocess.run(command, check=True)
        features = json.loads(file.read_text(encoding="utf-8"))["features"]
        drawn = [f for f in features if f["properties"].get("classification") == REGION]
        drawn.sort(key=lambda feature: int(feature["properties"]["name"]))
        least = [np.min(feature["geometry"]["coordinates"][0], axis=0) for feature in drawn]
        return tuple((round(top), round(left)) for left, top in least)

    def _run(self, config: str, run: Path, split: str, changes: dict[str, Any], *options: str) -> None:
        """Train (or score) with a config."""
        command = [sys.executable, "-m", "nucseg_jax.main", "--config", f"configs/{config}.py"]
        command += ["--workdir", str(run), *options]
        data = {"dir": self._work / "data", "dataset": "folder", "split": split, "size": prepared.WORKING_PX}
        command += [f"--config.data.{key}={value}" for key, value in data.items()]
        command += [f"--config.{key}={value}" for key, value in changes.items()]
        log = self._work / "logs" / f"{run.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as stream:
            subprocess.run(command, check=True, stdout=stream, stderr=subprocess.STDOUT)

    def _scores(self, run: Path, split: str) -> Iterator[dict[str, Any]]:
        """A run's scores of a dataset's images."""
        (folder,) = (run / "eval").glob(f"folder_{split}_none_{prepared.WORKING_PX}_test")
        steps = {
            int(match[1]): path
            for path in folder.iterdir()
            if (match := re.fullmatch(r"step_(\d+)", path.name))
        }
        with (steps[max(steps)] / "scores.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["entry"] == "network":
                    yield {"step": max(steps), "id": row["id"], **{key: float(row[key]) for key in SCORES}}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--monuseg", type=Path, required=True, help="folder of MoNuSeg's training images")
    parser.add_argument(
        "--others", type=Path, nargs="*", default=(), help="more folders to train the bases on"
    )
    parser.add_argument("--manifest", type=Path, default=Path("data_prep/manifests/he.json"))
    parser.add_argument("--work", type=Path, required=True, help="folder of datasets and runs")
    parser.add_argument("--out", type=Path, required=True, help="name of what is written, without ending")
    parser.add_argument(
        "--part", default="0/1", help="K/N: this process does every N-th job from the K-th on"
    )
    args = parser.parse_args(argv)
    study = Study(Sources(args.monuseg.resolve(), tuple(args.others), args.manifest), args.work.resolve())
    first, every = map(int, args.part.split("/"))
    rows = []
    for number, job in enumerate(jobs()):
        if number % every == first:
            rows += study.rows(job)
            print(
                job.name, f"AJI {np.mean([row['aji'] for row in rows if _is_of(row, job)]):.3f}", flush=True
            )
    if every == 1:
        write_text(args.out.with_suffix(".json"), json.dumps(rows, indent=0) + "\n")
        print(figure.table(rows))
        figure.draw(rows, args.out.with_suffix(".svg"))


def _is_of(row: dict[str, Any], job: Job) -> bool:
    return all(row[key] == value for key, value in job._asdict().items())


if __name__ == "__main__":
    main()
