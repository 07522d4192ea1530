"""All slides that were asked for, one after the other; a bad one does not stop the rest."""

import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nucseg_jax.errors import FailedError, UserError
from nucseg_jax.export import FORMATS
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.predict import one_slide
from nucseg_jax.predict.jobs import SlideJob, unfinished
from nucseg_jax.pretrained import DEFAULT

_DECISIVE = ("params_sha256", "masked", "augment", "tile_px", "overlap_px")
"""Facts of the run that decide which nuclei are found, beside how they are cut."""

_BAR = "{desc} {percentage:3.0f} % |{bar}| {n:.1f}/{total} slides [{elapsed} < {remaining}]"


@dataclass(frozen=True)
class PredictionRequest:
    """What to do with slides.

    Attributes:
      workdir: a run's folder; None: `model` is used.
      out: folder that each slide's folder goes to.
      overrides: dotted keys of the run's config → values.
      model: an installed model's name, or a file (`pretrained.load`).
      mpp: µm a pixel of all the slides, whatever their files say; None: as they say.
      network_mpp: µm a pixel that the network was trained at; None: as the run says.
      formats: of `export.FORMATS`; None: all.
      workers: processes that cut nuclei while the device computes.
      overwrite: do finished slides again.
    """

    workdir: Path | None
    out: Path
    overrides: Mapping[str, Any]
    model: str = DEFAULT
    mpp: float | None = None
    network_mpp: float | None = None
    formats: Sequence[str] | None = None
    workers: int = 0
    overwrite: bool = False


def segment_all(jobs: Sequence[SlideJob], request: PredictionRequest) -> None:
    """Segment all slides that are not finished.

    Args:
      jobs: the slides.
      request: how.

    Raises:
      UserError: the run cannot be used, the folder cannot be written, or has results of another request.
      FailedError: some slides failed; the message names them. The others are done.
    """
    check_formats(request.formats)
    getLogger("tifffile").setLevel("CRITICAL")  # damaged files have errors of their own
    with _segmenter(request) as segmenter:
        for note in segmenter.notes:
            print(note)
        asked = _asked(segmenter, request)
        missing = unfinished(jobs, asked, overwrite=request.overwrite)
        if missing:
            _check_writable(request.out)
        if len(missing) < len(jobs):
            print(f"{len(jobs) - len(missing)} of {len(jobs)} finished already")
        failed = _segment(missing, segmenter, asked, request)
    if failed:
        lines = [f"  {job.source}: {message}" for job, message in failed]
        raise FailedError(f"{len(failed)} failed:\n" + "\n".join(lines))


def _segmenter(request: PredictionRequest) -> Segmenter:
    load: Callable[..., Segmenter] = Segmenter.from_pretrained
    source: Any = request.model
    if request.workdir is not None:
        load, source = Segmenter.load, request.workdir
    return load(
        source,
        overrides=request.overrides,
        network_mpp=request.network_mpp,
        workers=request.workers,
    )


def check_formats(formats: Sequence[str] | None) -> None:
    """Raise UserError for a name that is none of `export.FORMATS`."""
    if unknown := sorted(set(formats or ()) - set(FORMATS)):
        raise UserError(f"--formats: no such format: {', '.join(unknown)}. There are: {', '.join(FORMATS)}")


def _asked(segmenter: Segmenter, request: PredictionRequest) -> dict[str, Any]:
    """All that the results depend on beside the slides, as summaries keep it."""
    return {
        **{key: segmenter.facts[key] for key in _DECISIVE},
        **{key: segmenter.facts[key] for key in ("pretrained",) if key in segmenter.facts},
        "instances": {k: v for k, v in segmenter.facts["instances"].items() if k != "from"},
        "mpp": request.mpp,
        "network_mpp": segmenter.magnification.network_mpp,
        "formats": request.formats and sorted(set(request.formats)),
    }


def _segment(
    jobs: Sequence[SlideJob], segmenter: Segmenter, asked: Mapping[str, Any], request: PredictionRequest
) -> list[tuple[SlideJob, str]]:
    """Segment slides; returns those that failed, and why."""
    failed: list[tuple[SlideJob, str]] = []
    with tqdm(total=len(jobs), unit="slide", disable=None, bar_format=_BAR) as bar:
        for number, job in enumerate(jobs):

            def on_progress(part: float, number: int = number) -> None:
                bar.n = number + part
                bar.refresh()

            bar.set_description(job.source.name)
            try:
                outcome = one_slide.segment(
                    job,
                    segmenter,
                    asked,
                    mpp=request.mpp,
                    formats=None if request.formats is None else list(request.formats),
                    on_progress=on_progress,
                    say=tqdm.write,
                )
                one_slide.error_file(job).unlink(missing_ok=True)
            except UserError as error:
                message = str(error).removeprefix(f"{job.source}: ")
                failed.append((job, message))
                tqdm.write(f"{job.source}: failed: {message}")
            except Exception as error:
                # One bad slide of a thousand must not end the night's work.
                path = one_slide.remember_failure(job, traceback.format_exc())
                failed.append((job, f"{type(error).__name__}: {error}" + (f" (see {path})" if path else "")))
                tqdm.write(f"{job.source}: failed: {type(error).__name__}: {error}")
                if isinstance(error, BrokenProcessPool):
                    segmenter.close()  # new ones start with the next slide
            else:
                tqdm.write(f"{job.source}: {outcome}")
            bar.n = number + 1
            bar.refresh()
    return failed


def _check_writable(out: Path) -> None:
    """Raise UserError now, and not after an hour's work."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written to ({error.strerror or error})") from error
