"""Runs, their ensemble, the classical baseline and other tools on one split: each segments every image."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nucseg_jax import classical, data, ensemble, instances, predictions, scoring, sharding
from nucseg_jax.comparison import Comparison, Entry, ScoredImage
from nucseg_jax.dataset import Dataset, Example
from nucseg_jax.ensemble import Expression
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.maps import NucleusMap
from nucseg_jax.runs import Run, names_of, open_run

Maps = Mapping[str, NucleusMap]
"""By name what each run's network says of one image."""


@dataclasses.dataclass(frozen=True)
class _Contender:
    """An `Entry` before its images are segmented."""

    name: str
    kind: str
    segment: Callable[[Example, Maps], NDArray[np.int32]]
    facts: Mapping[str, Any]
    curves: tuple[Mapping[str, float], ...] = ()


CLASSICAL = "classical"
"""Name of the baseline: colour deconvolution, Otsu's threshold, watershed."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What to compare.

    Attributes:
      workdirs: of the runs.
      expression: of an ensemble of them, by the names of `names_of`; None: no ensemble.
      tools: name → folder of label maps that another tool wrote.
      split: of the dataset.
      overrides: dotted config keys → values, for every run (`runs.open_run`).
    """

    workdirs: tuple[Path, ...]
    expression: str | None
    tools: Mapping[str, Path]
    split: str
    overrides: Mapping[str, Any]


def compare(request: Request) -> Comparison:
    """Segment and score every image of a split with everything that was asked for, and the baseline.

    Raises:
      UserError: a run, its dataset, a tool's folder or the expression cannot be used; the runs were trained
        on datasets whose test images differ.
    """
    names = names_of(request.workdirs)
    taken = {CLASSICAL, *request.tools} & set(names)
    if taken:
        raise UserError(
            f"{', '.join(sorted(taken))}: name of a run and of something else. Rename one of them"
        )
    expression = ensemble.parse(request.expression, names) if request.expression else None
    mesh = sharding.make_mesh()
    runs = {
        name: open_run(workdir, mesh, request.overrides)
        for name, workdir in zip(names, request.workdirs, strict=True)
    }
    datasets = _load(runs)
    examples = _same_images(datasets, request.split)
    first = next(iter(runs.values()))
    tools = {
        name: predictions.find(folder, [e.id for e in examples]) for name, folder in request.tools.items()
    }
    for name, run in runs.items():
        instances.check(run.config.instances)
        datasets[name].check_sizes(run.config.data.crop_size)
    contenders = [
        *_networks(runs),
        *_ensembles(expression, runs),
        _baseline(),
        *_externals(tools, request.tools),
    ]
    min_area = first.config.eval.min_area_px
    scored: dict[str, list[ScoredImage]] = {contender.name: [] for contender in contenders}
    for i, example in enumerate(tqdm(examples, desc="compare", unit="image")):
        size = example.original_label_map.shape
        # Each run sees the image as its own dataset has it, normalised or not.
        maps = {
            name: run.nucleus_map(datasets[name].splits[request.split][i].image, size)
            for name, run in runs.items()
        }
        for contender in contenders:
            label_map = contender.segment(example, maps)
            scored[contender.name].append(scoring.score_image(example, label_map, min_area))
    return Comparison(
        dataset=datasets[names[0]].name,
        split=request.split,
        examples=tuple(examples),
        entries=tuple(Entry(c.name, c.kind, tuple(scored[c.name]), c.facts, c.curves) for c in contenders),
        command=command_of(request),
        min_area_px=min_area,
    )


def command_of(request: Request) -> str:
    """The command line that asks for this, but for its output."""
    words = ["python", "-m", "nucseg_jax.report", "--workdirs", *map(str, request.workdirs)]
    if request.expression:
        words += ["--ensemble", request.expression]
    for name, folder in request.tools.items():
        words += ["--predictions", f"{name}={folder}"]
    words += ["--split", request.split]
    for key, value in request.overrides.items():
        words += ["--set", f"{key}={value}"]
    return shlex.join(words)


def _load(runs: Mapping[str, Run]) -> dict[str, Dataset]:
    """Each run's dataset; those that share one share its memory."""
    loaded: dict[tuple[str, str | None], Dataset] = {}
    datasets = {}
    for name, run in runs.items():
        where = run.config.data
        key = (data.dataset_name(where), where.dir)
        if key not in loaded:
            loaded[key] = data.load(where)
        datasets[name] = loaded[key]
    return datasets


def _same_images(datasets: Mapping[str, Dataset], split: str) -> Sequence[Example]:
    """The split's images, the same for all runs however these saw them."""
    found: dict[str, list[Example]] = {}
    for name, dataset in datasets.items():
        scored = dataset.scored()
        if split not in scored:
            raise DataError(
                f"{dataset.name} (run {name}) has no split {split!r} to score; it has: "
                f"{', '.join(scored) or 'none'}"
            )
        found[name] = scored[split]
    (first, examples), *others = found.items()
    for name, other in others:
        if [e.id for e in other] != [e.id for e in examples] or any(
            not np.array_equal(a.original_label_map, b.original_label_map)
            for a, b in zip(examples, other, strict=True)
        ):
            raise DataError(
                f"runs {first} and {name} were trained on datasets whose {split} images differ "
                f"({datasets[first].name}, {datasets[name].name}): they cannot be compared"
            )
    return examples


def _networks(runs: Mapping[str, Run]) -> list[_Contender]:
    def splitter(name: str, run: Run) -> Callable[[Example, Maps], NDArray[np.int32]]:
        return lambda _, maps: instances.split(maps[name], run.config.instances)

    return [
        _Contender(name, "network", splitter(name, run), run.facts(), run.curves())
        for name, run in runs.items()
    ]


def _ensembles(expression: Expression | None, runs: Mapping[str, Run]) -> list[_Contender]:
    """The ensemble, if any; its nuclei are made as those of the run that is best on its held-out images."""
    if expression is None:
        return []
    found = {name: run.validation_dice() for name, run in runs.items()}
    scores = {name: score for name, score in found.items() if score is not None}
    ensemble.check_scores(expression, scores)
    best = max(runs, key=lambda name: scores.get(name, 0.0))
    chosen = runs[best].config.instances

    def segment(_: Example, maps: Maps) -> NDArray[np.int32]:
        return ensemble.combine(expression, maps, lambda m: instances.split(m, chosen), scores)

    facts = {
        "expression": str(expression),
        "instances": {"method": chosen.method, **chosen[chosen.method].to_dict(), "those of": best},
        "validation_dice": scores,
    }
    return [_Contender(str(expression), "ensemble", segment, facts)]


def _baseline() -> _Contender:
    facts = {"method": "colour deconvolution, Otsu's threshold, watershed"}
    return _Contender(CLASSICAL, CLASSICAL, lambda e, _: classical.nuclei(e.scored_image()), facts)


def _externals(files: Mapping[str, Mapping[str, Path]], folders: Mapping[str, Path]) -> list[_Contender]:
    def reader(of_image: Mapping[str, Path]) -> Callable[[Example, Maps], NDArray[np.int32]]:
        return lambda example, _: predictions.read(of_image[example.id], example.original_label_map.shape)

    return [
        _Contender(name, "external", reader(of_image), {"folder": str(folders[name])})
        for name, of_image in files.items()
    ]
