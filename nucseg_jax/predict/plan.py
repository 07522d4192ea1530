"""Which slides are segmented into which folders, and which have been already."""

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError
from nucseg_jax.slides import SUFFIXES

SUMMARY = "summary.json"
"""In the folder of a finished slide; its `config.request` says what was asked for."""


class Job(NamedTuple):
    """A slide, and the folder its nuclei go to."""

    source: Path
    folder: Path


def plan(arguments: Iterable[Path], out: Path) -> list[Job]:
    """What is to be done for the slides that were asked for, in order.

    Args:
      arguments: slides and images, and folders, which stand for those directly in them, by name. What is
        named twice counts once. A file that does not exist stays: it fails alone, later.
      out: each slide gets a folder in it, of its name without ending.

    Raises:
      UserError: a folder without slides; two slides of the same name but for folder and ending; `out` is a
        file.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file. Name a folder with --out")
    paths = {os.path.abspath(path): path for argument in arguments for path in _slides(argument)}
    jobs = [Job(path, out / path.stem) for path in paths.values()]
    by_folder = defaultdict(list)
    for job in jobs:
        by_folder[str(job.folder).casefold()].append(str(job.source))  # some file systems ignore the case
    twice = [" and ".join(sources) for sources in by_folder.values() if len(sources) > 1]
    if twice:
        raise UserError(
            f"slides of the same name, which {out} cannot tell apart:\n  " + "\n  ".join(twice[:5]) + "\nRun "
            "the command once for each, with an --out of its own"
        )
    return jobs


def read_list(path: Path) -> list[Path]:
    """The paths in a text file, one a line; empty lines and those after a # do not count.

    Raises:
      UserError: it cannot be read, or names none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--list {path}: cannot be read ({error})") from error
    return [Path(line.strip()) for line in lines if line.strip() and not line.strip().startswith("#")]


def unfinished(jobs: Sequence[Job], request: Mapping[str, Any]) -> list[Job]:
    """The jobs without a finished folder. What a killed process left of them is deleted.

    Args:
      jobs: all.
      request: what is asked for, as JSON holds it.

    Raises:
      UserError: a finished folder is of another slide, run or request.
    """
    missing, others = [], []
    for job in jobs:
        done = _request_of(job.folder)
        if done is None:
            missing.append(job)
        elif different := _differences(done, {**request, "source": str(job.source.resolve())}):
            others.append(f"{job.folder}: {', '.join(different)}")
    if others:
        raise UserError(
            "results of another slide, run or setting are there:\n  " + "\n  ".join(others[:5]) + "\n"
            "Give --overwrite to replace them, or another --out"
        )
    for job in missing:
        remove_leftovers(job.folder)
    return missing


def remove_leftovers(folder: Path) -> None:
    """Delete NAME.PID.tmp and the like that processes of this machine which no longer run have left."""
    for path in folder.parent.glob(f"{folder.name}.*.*") if folder.parent.is_dir() else ():
        process, _, kind = path.name[len(folder.name) + 1 :].partition(".")
        if kind in ("tmp", "old", "scratch") and process.isdecimal() and not _is_running(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _slides(argument: Path) -> list[Path]:
    if not argument.is_dir():
        return [argument]
    found = [
        path
        for path in sorted(argument.iterdir())
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    if not found:
        raise UserError(f"{argument}: no slide or image ({', '.join(SUFFIXES)}) directly in this folder")
    return found


def _request_of(folder: Path) -> dict[str, Any] | None:
    """What a finished folder's nuclei were asked for with; None where it is not finished."""
    try:
        return json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["config"]["request"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / SUMMARY}: cannot be read ({error!r}). Delete the folder, or give another --out"
        ) from error


def _differences(done: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    wanted = json.loads(json.dumps(wanted))
    return [
        f"{key} {done.get(key)!r} and not {value!r}"
        for key, value in wanted.items()
        if done.get(key) != value
    ]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
