"""All slides that were asked for: what is to be done of them, and what a user is told at the end."""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from typing import Any

from nucseg_jax.errors import FailedError, shown
from nucseg_jax.export import check_formats
from nucseg_jax.export.summary import FORMAT_VERSION
from nucseg_jax.inference import trained
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.io.files import output_folder
from nucseg_jax.predict.jobs import SlideJob, unfinished
from nucseg_jax.predict.progress import Progress, ProgressFile
from nucseg_jax.predict.request import PredictionRequest
from nucseg_jax.predict.results import format_of
from nucseg_jax.predict.rounds import Rounds
from nucseg_jax.slides import check_dicom

_DECISIVE = ("params_sha256", "masked", "augment", "tile_px", "overlap_px")
"""Facts of the run that decide which nuclei are found, beside how they are cut."""


def segment_all(jobs: Sequence[SlideJob], request: PredictionRequest) -> None:
    """Segment all slides that are not finished, and wait for those that other processes work on.

    Args:
      jobs: the slides.
      request: how.

    Raises:
      UserError: the run cannot be used, the folder cannot be written, or has results of another request.
      FailedError: some slides failed; the message names them. The others are done, here or by others.
      DiskFullError: there is no room for the next slide; nothing of it is left.
    """
    check_formats(request.formats, "--formats: ", simplify_um=request.simplify_um, gzip=request.gzip)
    check_sources(jobs, request.formats)
    ProgressFile(request.progress).tell(Progress("loading"))
    with _segmenter(request) as segmenter:
        for note in segmenter.notes:
            print(shown(note))
        asked = _asked(segmenter, request)
        missing = unfinished(jobs, asked, overwrite=request.overwrite)
        if len(missing) < len(jobs):
            print(f"{len(jobs) - len(missing)} of {len(jobs)} finished already")
            _say_of_other_releases(set(jobs) - set(missing))
        rounds = Rounds(segmenter, asked, request)
        with ExitStack() as stack:
            if missing:
                stack.enter_context(output_folder(request.out, "--out"))
                if request.scratch is not None:
                    stack.enter_context(output_folder(request.scratch, "--scratch"))
            rounds.run(missing)
    if rounds.failed:
        lines = [f"  {job.source}: {message}" for job, message in rounds.failed]
        raise FailedError(f"{len(lines)} failed:", *lines)


def _say_of_other_releases(finished: Collection[SlideJob]) -> None:
    if others := sum(format_of(job.folder) != FORMAT_VERSION for job in finished):
        print(
            f"note: {others} of them have files of another release, with other columns and ids. `nucseg "
            "merge` refuses them; --overwrite does them again"
        )


def _segmenter(request: PredictionRequest) -> Segmenter:
    """The network; its notes are not said yet, as `Segmenter.load` does."""
    if request.workdir is not None:
        found = trained.load(request.workdir, request.overrides, request.network_mpp)
    else:
        found = trained.load_pretrained(request.model, request.overrides, request.network_mpp)
    return Segmenter(*found, workers=request.workers)


def check_sources(jobs: Sequence[SlideJob], formats: Sequence[str] | None) -> None:
    """Raise DataError for a slide that a format cannot be written of."""
    if "dicom" in (formats or ()):
        for job in jobs:
            check_dicom(job.source)


def _asked(segmenter: Segmenter, request: PredictionRequest) -> dict[str, Any]:
    """All that the results depend on beside the slides, as summaries keep it."""
    return {
        **{key: segmenter.facts[key] for key in _DECISIVE},
        **{key: segmenter.facts[key] for key in ("pretrained",) if key in segmenter.facts},
        "instances": {k: v for k, v in segmenter.facts["instances"].items() if k != "from"},
        "mpp": request.mpp,
        "white": request.white,
        "crop": request.crop,
        "network_mpp": segmenter.magnification.network_mpp,
        "formats": request.formats and sorted(set(request.formats)),
        "simplify_um": request.simplify_um,
        "gzip": request.gzip or None,  # null where folders of before these options have nothing
    }
