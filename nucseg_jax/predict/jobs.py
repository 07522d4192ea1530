"""Which slides are segmented into which folders, and which have been already."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError, in_short, listed_lines
from nucseg_jax.io.leftovers import has_leftovers, marked_in, remove_leftovers
from nucseg_jax.predict.folders import folder_names
from nucseg_jax.predict.results import request_of, source_name
from nucseg_jax.regions import Regions
from nucseg_jax.slides import SUFFIXES, file_state, files_of


class SlideJob(NamedTuple):
    """A slide, the folder its nuclei go to, and the regions that they are looked for in; None: everywhere."""

    source: Path
    folder: Path
    regions: Regions | None = None


def plan(arguments: Iterable[Path], out: Path) -> list[SlideJob]:
    """What is to be done for the slides that were asked for, in order.

    Args:
      arguments: slides and images, their addresses, and folders of them, as `files_of` takes them. A file
        that does not exist stays: it fails alone, later.
      out: each slide gets a folder in it, of its name without ending (`folders`).

    Raises:
      UserError: a folder without slides; `out` is a file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file. Name a folder with --out")
    sources = files_of(arguments)
    return [
        SlideJob(path, out / name) for path, name in zip(sources, folder_names(sources, out), strict=True)
    ]


def share(jobs: Sequence[SlideJob], text: str) -> list[SlideJob]:
    """Every N-th job from the K-th, of "K/N" with K from 1 to N: the share of one of N machines.

    Raises:
      UserError: the text is of another form.
    """
    first, _, count = text.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise UserError(f"--share {text}: must be K/N with K from 1 to N, such as 1/8 for the first of eight")
    return list(jobs[int(first) - 1 :: int(count)])


def read_list(path: Path) -> list[Path]:
    """The paths in a text file, one a line; empty lines and those after a # do not count.

    Raises:
      UserError: it cannot be read, as when it is a slide.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # Notepad begins with a mark
    except (OSError, UnicodeDecodeError) as error:
        remedy = "Name slides before --list" if path.suffix.lower() in SUFFIXES else _LIST
        raise UserError(f"--list {path}: cannot be read ({in_short(error)}). {remedy}") from error
    for number, line in enumerate(lines, 1):
        if "\0" in line:
            raise UserError(f"--list {path}, line {number}: no path has a NUL in it. {_LIST}")
    return [Path(line.strip()) for line in lines if line.strip() and not line.strip().startswith("#")]


_LIST = "Give a text file in UTF-8 with a path a line"


def request_for(job: SlideJob, request: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked for of one slide: that of all, its regions, and the file, as the summary keeps it."""
    roi_sha256 = None if job.regions is None else job.regions.sha256
    found = {**request, "roi_sha256": roi_sha256, "source": source_name(job.source)}
    try:
        return {**found, **file_state(job.source)._asdict()}
    except OSError:  # it fails later, and alone
        return found


_INDIFFERENT = {"formats", "simplify_um", "gzip", "source", "modified"}
"""Of a request, what does not change which nuclei are found: a slide that is moved keeps them."""


def deciding(request: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request decides which nuclei are found."""
    return {key: value for key, value in request.items() if key not in _INDIFFERENT}


def unfinished(
    jobs: Sequence[SlideJob], request: Mapping[str, Any], *, overwrite: bool = False
) -> list[SlideJob]:
    """The jobs without a finished folder. What a killed process left of them is deleted or renamed back.

    Args:
      jobs: all.
      request: what is asked for, as JSON holds it.
      overwrite: those with a finished one, too.

    Raises:
      UserError: a folder is there that is no result; or, unless `overwrite`, it is one of another slide, run
        or request.
    """
    there = {folder: marked_in(folder) for folder in {job.folder.parent for job in jobs}}
    for job in jobs:
        if job.folder.is_symlink() or has_leftovers(job.folder, there[job.folder.parent]):
            remove_leftovers(job.folder)
    missing, others = [], []
    for job in jobs:
        done = request_of(job.folder)
        if done is None or overwrite:
            missing.append(job)
        elif different := differences(done, request_for(job, request)):
            others.append(f"{job.folder}: {', '.join(different)}")
    if others:
        raise UserError(
            "results of another slide, run or setting are there:",
            *listed_lines(others),
            "Give --overwrite to replace them, or another --out",
        )
    return missing


def differences(done: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What a finished folder was asked for with, and is not wanted so; as `request_for` has it."""
    wanted = json.loads(json.dumps(wanted))
    return [
        f"{key} {done.get(key)!r} and not {value!r}"
        for key, value in wanted.items()
        if done.get(key) != value
    ]
