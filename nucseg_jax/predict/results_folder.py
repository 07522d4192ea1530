"""A folder of results: which slides in it are finished, which are not, and which have failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import UserError
from nucseg_jax.io.json_files import read_json
from nucseg_jax.io.names import final, is_marked
from nucseg_jax.predict.results import ERROR_ENDING, SUMMARY, request_of


class FinishedSlide(NamedTuple):
    """A finished slide.

    Attributes:
      folder: its results.
      summary: what its summary.json holds.
    """

    folder: Path
    summary: dict[str, Any]

    @property
    def request(self) -> dict[str, Any]:
        """What it was asked for with."""
        request: dict[str, Any] = self.summary["config"]["request"]
        return request


class ResultsFolder(NamedTuple):
    """What is in a folder that was --out of `nucseg predict`, each sorted by name.

    Attributes:
      finished: slides with a result.
      unfinished: names of those that a process works on, or was killed at, and that have no result.
      failed: names of those that could not be done the last time.
      others: names of folders that are no result.
    """

    finished: list[FinishedSlide]
    unfinished: list[str]
    failed: list[str]
    others: list[str]


def look_into(out: Path) -> ResultsFolder:
    """See what is in a folder of results.

    Raises:
      UserError: it is no folder.
    """
    if not out.is_dir():
        raise UserError(f"{out}: is no folder. Name one that was --out of nucseg predict")
    finished, others = [], []
    unfinished, failed = set(), set()
    for path in sorted(out.iterdir()):
        if is_marked(path.name):
            if path.suffix == ".tmp" and path.is_dir():
                unfinished.add(final(Path(path.name)).name)
        elif path.name.startswith(".") and path.suffix == ".lock":
            unfinished.add(path.name[1 : -len(".lock")])
        elif path.name.endswith(ERROR_ENDING):
            failed.add(path.name.removesuffix(ERROR_ENDING))
        elif path.is_dir():
            summary = summary_of(path)
            if summary is None:
                others.append(path.name)
            else:
                finished.append(FinishedSlide(path, summary))
    done = {slide.folder.name for slide in finished}
    return ResultsFolder(finished, sorted(unfinished - done - {""}), sorted(failed), others)


def summary_of(folder: Path) -> dict[str, Any] | None:
    """What the summary of a finished slide holds; None where the folder is none, or it cannot be read."""
    try:
        if request_of(folder) is None:
            return None
        summary: dict[str, Any] = read_json(folder / SUMMARY, "")
    except UserError:
        return None
    return summary
