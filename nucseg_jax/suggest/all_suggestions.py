"""`nucseg suggest`: slides → files of regions to annotate, and a table of them."""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from nucseg_jax.errors import DiskFullError, FailedError, UserError, listed_lines, shown
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.io.files import output_folder
from nucseg_jax.regions import Regions
from nucseg_jax.slides import files_of, open_slide
from nucseg_jax.suggest.finding import SuggestionRequest, Suggestions, find
from nucseg_jax.suggest.region_file import write

_ENDING = ".geojson"
_SIDES_PX = (32, 2048)


class SuggestionJob(NamedTuple):
    """A slide, and the file that its regions go to."""

    source: Path
    file: Path


def plan(arguments: Sequence[Path], out: Path, *, overwrite: bool) -> list[SuggestionJob]:
    """What is to be done, in order.

    Args:
      arguments: slides and images, and folders of them (`files_of`).
      out: a file that ends with .geojson, for one slide; else a folder, which gets SLIDE.geojson of each.
      overwrite: replace files that are there.

    Raises:
      UserError: a file for several slides, or one that is there already; two slides of one name.
    """
    sources = files_of(arguments)
    if not sources:
        raise UserError("no slide is named: give slides, images or folders of them")
    if out.suffix.lower() == _ENDING and not out.is_dir():
        if len(sources) > 1:
            raise UserError(
                f"--out {out}: is a file, for one slide, and there are {len(sources)}. Name a folder"
            )
        jobs = [SuggestionJob(sources[0], out)]
    else:
        jobs = [SuggestionJob(path, out / f"{path.stem}{_ENDING}") for path in sources]
    files: dict[str, Path] = {}
    for job in jobs:
        other = files.setdefault(str(job.file).casefold(), job.source)
        if other != job.source:
            raise UserError(
                f"{other} and {job.source}: both would be {job.file}. Give them one after the other, each "
                "with an --out of its own"
            )
        if job.file.exists() and not overwrite:
            raise UserError(f"{job.file}: is there already. Give --overwrite to replace it, or another --out")
    return jobs


def check(request: SuggestionRequest) -> None:
    """Raise UserError for numbers that mean nothing."""
    if request.count < 1:
        raise UserError(f"--regions {request.count}: must be 1 or more")
    if request.sample < request.count:
        raise UserError(
            f"--sample {request.sample}: must be at least as many as --regions, which is {request.count}"
        )
    if request.seed < 0:
        raise UserError(f"--seed {request.seed}: must be 0 or more")
    if request.size_um is not None and not (math.isfinite(request.size_um) and request.size_um > 0):
        raise UserError(f"--size-um {request.size_um:g}: must be more than 0 µm, such as 64")


def suggest_all(
    jobs: Sequence[SuggestionJob],
    segmenter: Segmenter,
    request: SuggestionRequest,
    *,
    roi: Regions | None = None,
    mpp: float | None = None,
    white: int | None = None,
    crop: bool = True,
) -> None:
    """Write a file for each slide, and print what is in it.

    Args:
      jobs: of `plan`.
      segmenter: of the network that is to learn.
      request: how many regions, and how large.
      roi: that they lie in; for one slide.
      mpp, white, crop: as of `open_slide`.

    Raises:
      UserError: the size of regions does not suit the network; or the only slide cannot be used.
      FailedError: some of several slides failed; the message names them. The others are done.
      DiskFullError: the disk is full.
    """
    _check_side(request, segmenter)
    failed: list[str] = []
    with ExitStack() as stack:
        for folder in {job.file.parent for job in jobs}:
            stack.enter_context(output_folder(folder, "--out"))
        for job in jobs:
            try:
                _suggest(job, segmenter, request, roi=roi, mpp=mpp, white=white, crop=crop)
            except UserError as error:
                if len(jobs) == 1 or isinstance(error, DiskFullError):
                    raise
                failed.append(str(error))
                print(f"failed: {error}")
    if failed:
        raise FailedError(f"{len(failed)} of {len(jobs)} failed:", *listed_lines(failed))


def _suggest(
    job: SuggestionJob,
    segmenter: Segmenter,
    request: SuggestionRequest,
    *,
    roi: Regions | None,
    mpp: float | None,
    white: int | None,
    crop: bool,
) -> None:
    known = segmenter.magnification
    with (
        open_slide(job.source, mpp, assumed_mpp=known.network_mpp, white=white, crop=crop) as slide,
        tqdm(total=1.0, desc=shown(job.source.name), disable=None, leave=False, bar_format=_BAR) as bar,
    ):
        notes = [] if roi is None else list(roi.notes)
        notes += slide.notes
        if slide.assumption is not None:
            notes.append(
                f"{slide.assumption}; taken to have {slide.mpp:g} µm a pixel, as the model has. --mpp says "
                "otherwise"
            )

        def show(part: float) -> None:
            bar.update(part - bar.n)

        found = find(slide, segmenter, request, roi=roi, on_progress=show)
    write(job.file, found)
    for note in (*notes, *found.notes):
        print(shown(f"{job.source}: {note}"))
    for line in _table(found):
        print(line)
    where = "the region of interest's tissue" if roi is not None else "the tissue"
    once, again = found.looked_at
    print(
        f"{once:,} places looked at, {found.covered:.0%} of {where}, and {again:,} of them in 8 "
        f"orientations: {found.seconds:.1f} s"
    )
    regions = f"{len(found.regions)} region{'s' if len(found.regions) > 1 else ''}"
    nuclei = f" and {len(found.nuclei):,} nuclei to correct" if request.with_nuclei else ""
    print(f"{shown(job.file)}: {regions}{nuclei}. Drag it onto the slide in QuPath")


_BAR = "{desc}: {percentage:3.0f}% |{bar}| {elapsed}<{remaining}"


def _table(found: Suggestions) -> list[str]:
    """A line a region, with the place of its top left corner."""
    mpp = found.frame.mpp
    head = f"{'rank':>4} {'x µm':>8} {'y µm':>8} {'x px':>7} {'y px':>7} {'side µm':>7}"
    lines = [f"{head}  uncertainty  disagreement  boundary entropy  tissue  nuclei"]
    for rank, region in enumerate(found.regions, 1):
        (left, top, *_), of = region.box, region.score
        lines.append(
            f"{rank:>4} {left * mpp:>8.0f} {top * mpp:>8.0f} {left:>7} {top:>7} "
            f"{found.side * found.frame.network_mpp:>7.0f}  {of.uncertainty:>11.3f}  "
            f"{of.disagreement:>12.4f}  {of.boundary_entropy:>16.3f}  {of.tissue:>6.0%}  {of.nuclei:>6}"
        )
    return lines


def _check_side(request: SuggestionRequest, segmenter: Segmenter) -> None:
    """Raise UserError for regions that are too small or too large for a network."""
    mpp = segmenter.magnification.network_mpp
    least, most = _SIDES_PX
    if request.size_um is not None and not least <= round(request.size_um / mpp) <= most:
        raise UserError(
            f"--size-um {request.size_um:g}: must be {least * mpp:g} to {most * mpp:g} with this network, "
            f"which sees {mpp:g} µm a pixel"
        )
