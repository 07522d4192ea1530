"""Runs, their ensemble, the classical baseline and other tools on one split: each segments every image."""

import dataclasses
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from nucseg_jax import data, devices
from nucseg_jax.data.annotation import same_annotation
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.devices import say
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.evaluation import classical, ensemble, external, scoring
from nucseg_jax.evaluation.ensemble.of_runs import Ensemble, Member
from nucseg_jax.evaluation.results import Comparison, Entry, ScoredImage
from nucseg_jax.evaluation.scored_run import ScoredRun
from nucseg_jax.instances import NucleusMap
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
class ComparisonRequest:
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


def compare(request: ComparisonRequest) -> Comparison:
    """Segment and score every image of a split with everything that was asked for, and the baseline.

    Raises:
      UserError: a run, its dataset, a tool's folder or the expression cannot be used; the runs were trained
        on datasets whose test images differ, or on some of the images.
    """
    names = names_of(request.workdirs)
    expression = ensemble.parse(request.expression, names) if request.expression else None
    counts = Counter([*names, CLASSICAL, *request.tools, *([str(expression)] if expression else ())])
    if taken := sorted(name for name, count in counts.items() if count > 1):
        raise UserError(f"{', '.join(taken)}: name of a run and of something else. Rename one of them")
    mesh = devices.make_mesh()
    runs = {
        name: open_run(workdir, mesh, request.overrides)
        for name, workdir in zip(names, request.workdirs, strict=True)
    }
    datasets = _load(runs)
    examples = _same_images(datasets, request.split)
    first = next(iter(runs.values()))
    tools = {name: external.find(folder, [e.id for e in examples]) for name, folder in request.tools.items()}
    members = {
        name: Member(
            run,
            datasets[name],
            ScoredRun(run, mesh, datasets[name], datasets[name].splits[request.split], keep_boundary=True),
        )
        for name, run in runs.items()
    }
    for note in dict.fromkeys(note for member in members.values() for note in member.scored.notes):
        say(f"note: {note}")
    mpp = datasets[names[0]].mpp
    contenders = [
        *_networks(members),
        *([_ensemble(Ensemble(expression, members, mesh, request.overrides))] if expression else ()),
        _baseline(mpp),
        *_externals(tools, request.tools),
    ]
    min_area_um2 = first.config.eval.min_area_um2
    scored: dict[str, list[ScoredImage]] = {contender.name: [] for contender in contenders}
    for i, example in enumerate(tqdm(examples, desc="compare", unit="image")):
        # Each run sees the image as its own dataset has it, normalised or not.
        maps = {
            name: member.scored.nucleus_map(member.dataset.splits[request.split][i])
            for name, member in members.items()
        }
        for contender in contenders:
            label_map = contender.segment(example, maps)
            scored[contender.name].append(scoring.score_image(example, label_map, min_area_um2, mpp))
    return Comparison(
        dataset=datasets[names[0]].name,
        split=request.split,
        examples=tuple(examples),
        entries=tuple(Entry(c.name, c.kind, tuple(scored[c.name]), c.facts, c.curves) for c in contenders),
        command=command_of(request),
        min_area_um2=min_area_um2,
    )


def command_of(request: ComparisonRequest) -> str:
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
        if not datasets[first].mpp / 1.01 < datasets[name].mpp < datasets[first].mpp * 1.01:
            raise DataError(
                f"runs {first} and {name} have datasets that say {datasets[first].mpp:g} and "
                f"{datasets[name].mpp:g} µm a pixel of the same images. Prepare both with the same --mpp"
            )
        if [e.id for e in other] != [e.id for e in examples] or any(
            not same_annotation(a, b) for a, b in zip(examples, other, strict=True)
        ):
            raise DataError(
                f"runs {first} and {name} were trained on datasets whose {split} images differ "
                f"({datasets[first].name}, {datasets[name].name}): they cannot be compared"
            )
    return examples


def _networks(members: Mapping[str, Member]) -> list[_Contender]:
    def splitter(name: str, member: Member) -> Callable[[Example, Maps], NDArray[np.int32]]:
        return lambda example, maps: member.scored.nuclei(example, maps[name])

    return [
        _Contender(name, "network", splitter(name, m), m.run.facts() | m.scored.settings(), m.run.curves())
        for name, m in members.items()
    ]


def _ensemble(combined: Ensemble) -> _Contender:
    return _Contender(str(combined.expression), "ensemble", combined.nuclei, combined.facts())


def _baseline(mpp: float) -> _Contender:
    facts = {"method": "colour deconvolution, Otsu's threshold, watershed"}
    return _Contender(CLASSICAL, CLASSICAL, lambda e, _: classical.nuclei(e.scored_image(), mpp), facts)


def _externals(files: Mapping[str, Mapping[str, Path]], folders: Mapping[str, Path]) -> list[_Contender]:
    return [_external(name, of_image, folders[name]) for name, of_image in files.items()]


def _external(name: str, files: Mapping[str, Path], folder: Path) -> _Contender:
    """A tool's maps; the first that looks like a mask is named in its facts, and said."""
    facts = {"folder": str(folder)}

    def read(example: Example, _: Maps) -> NDArray[np.int32]:
        path = files[example.id]
        labels = external.read(path, example.original_label_map.shape)
        if "note" not in facts and (note := external.note(path, labels)):
            facts["note"] = note
            say(f"note: {note}")
        return labels

    return _Contender(name, "external", read, facts)
