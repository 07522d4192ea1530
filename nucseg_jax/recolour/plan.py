"""Which files the command reads and writes; nothing is decoded here."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from nucseg_jax.errors import UserError, listed_lines
from nucseg_jax.slides import SUFFIXES, files_of, has_suffix

RECORD = "stain.json"
FIGURE = "before_after.png"
"""Names, in the output folder, of what is written besides the images."""


class ImageJob(NamedTuple):
    """An image file, and the file its normalised image goes to."""

    source: Path
    output: Path


def plan(arguments: Sequence[Path], target: Path, out: Path, *, overwrite: bool = False) -> list[ImageJob]:
    """What to do for the images that were asked for, in order; a folder's by name.

    Args:
      arguments: image files, and folders, which stand for the images directly in them. A file that is named
        twice counts once; see `files_of`.
      target: the target's file, which must not be overwritten either.
      out: the output folder; it need not exist.
      overwrite: replace files there that are neither inputs nor the target.

    Raises:
      UserError: no such file or folder, a folder without images, a file of another kind, two images of the
        same name but for folder and ending, an output that would overwrite something.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file. Name a folder with --out")
    for argument in arguments:
        _check_argument(argument)
    jobs = [ImageJob(path, out / f"{path.stem}{_ending(path)}") for path in files_of(arguments)]
    _check_names(jobs)
    _check_overwritten(jobs, target, out, overwrite)
    return jobs


def _check_argument(argument: Path) -> None:
    if not argument.exists():
        raise UserError(f"{argument}: no such file or folder")
    if not argument.is_dir() and not has_suffix(argument):
        raise UserError(f"{argument}: is not one of {', '.join(SUFFIXES)}. Leave it out, or convert it first")


def _ending(path: Path) -> str:
    return ".tif" if path.suffix.lower() in (".tif", ".tiff") else ".png"


def _check_names(jobs: Iterable[ImageJob]) -> None:
    by_name = defaultdict(list)
    for job in jobs:
        # Some file systems do not tell A.png from a.png.
        by_name[job.source.stem.casefold()].append(job.source)
        if job.output.name.casefold() == FIGURE:
            raise UserError(
                f"{job.source}: its normalised image would get the name of this command's own figure, "
                f"{FIGURE}. Rename it, or take it away if an earlier run wrote it"
            )
    twice = [paths for paths in by_name.values() if len(paths) > 1]
    if twice:
        raise UserError(
            "images of the same name, which no output folder can tell apart:",
            *listed_lines(" and ".join(map(str, paths)) for paths in twice),
            "Rename them, or run the command once for each folder with an --out of its own",
        )


def _check_overwritten(jobs: Sequence[ImageJob], target: Path, out: Path, overwrite: bool) -> None:
    kept = {_identity(path) for path in (target, *(job.source for job in jobs))}
    written = [*(job.output for job in jobs), out / RECORD, out / FIGURE]
    there = [path for path in written if path.exists()]
    lost = [path for path in there if _identity(path) in kept]
    if lost:
        raise UserError(
            "inputs, or the target, would be overwritten:",
            *listed_lines(map(str, lost)),
            "Choose another folder with --out",
        )
    if there and not overwrite:
        raise UserError(
            "files are there already:",
            *listed_lines(map(str, there)),
            "Give --overwrite to replace them, or another --out",
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """What the file system knows a file by, whatever links and letter cases lead to it."""
    try:
        status = path.stat()
    except FileNotFoundError:  # a target that is not there is an error later on
        return None
    return status.st_dev, status.st_ino
