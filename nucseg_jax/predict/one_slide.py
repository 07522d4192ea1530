"""One slide: opened, segmented, written."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.errors import DiskFullError, shown
from nucseg_jax.export import FORMATS, Exports, Helpers
from nucseg_jax.inference.segmentation import Segmentation
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.inference.timing import StageTimes
from nucseg_jax.io.files import printable, write_text
from nucseg_jax.io.leftovers import scratch_folder
from nucseg_jax.io.names import shortened
from nucseg_jax.predict.jobs import SlideJob, deciding, request_for
from nucseg_jax.predict.results import ERROR_ENDING, request_of
from nucseg_jax.predict.space import Space
from nucseg_jax.slides import open_slide

_THUMBNAIL_PX = 3000  # of the overlay: outlines of nuclei show on an image, and tissue on a slide
_LARGEST_IMAGE_PX = 8192  # side up to which a label map without a pyramid is opened without trouble


class SlideOutcome(NamedTuple):
    """What came of a slide.

    Attributes:
      nuclei: found.
      megapixels: that the network looked at.
      seconds: on the clock.
      times: by stage.
    """

    nuclei: int
    megapixels: float
    seconds: float
    times: StageTimes

    def __str__(self) -> str:
        total = sum(self.times.values()) or 1.0
        shares = ", ".join(f"{stage} {seconds / total:.0%}" for stage, seconds in self.times.items())
        rate = self.megapixels / max(self.seconds, 1e-9)
        return (
            f"{self.nuclei:,} nuclei, {self.megapixels:.1f} megapixels of tissue in {self.seconds:.1f} s "
            f"({rate:.2f} MP/s; of the work {shares})"
        )


def segment(
    job: SlideJob,
    segmenter: Segmenter,
    request: Mapping[str, Any],
    *,
    mpp: float | None,
    white: int | None,
    crop: bool,
    formats: list[str] | None,
    simplify_um: float | None,
    gzip: bool,
    space: Space,
    on_progress: Callable[[float], None],
    say: Callable[[str], None],
) -> SlideOutcome:
    """Find a slide's nuclei and write them; the folder appears when it is complete.

    Args:
      job: the slide and its folder.
      segmenter: finds them.
      request: what was asked for, for the summary.
      mpp: µm a base pixel, whatever the file says.
      white: the value that is white in 16 bits; None: as the pixels say.
      crop: to what was scanned, as of `open_slide`.
      formats: of `export.FORMATS` and `EXTRA_FORMATS`; None: all of `FORMATS`.
      simplify_um, gzip: as of `export.Exports`.
      space: where temporary files go.
      on_progress: is told the part that is done, 0 … 1.
      say: prints a line.

    Raises:
      UserError: the slide cannot be read, or has no resolution; a region is off it; its folder is there and
        no result.
      DiskFullError: there is too little room for it.
    """
    start = time.perf_counter()
    request_of(job.folder)  # again: hours may have passed
    known = segmenter.magnification
    with open_slide(job.source, mpp, assumed_mpp=known.network_mpp, white=white, crop=crop) as slide:
        for note in slide.notes:
            say(shown(f"{job.source}: {note}"))
        if slide.assumption is not None:
            say(
                f"{shown(job.source)}: {slide.assumption}; taken to have {slide.mpp:g} µm a pixel, as the "
                "model has. --mpp says otherwise"
            )
        stream = segmenter.stream(slide, regions=job.regions, on_progress=on_progress)
        config: dict[str, Any] = {
            "request": request_for(job, request),
            "run": segmenter.facts,
            "resolution": {"slide": slide.mpp_source, "network": known.source},
        }
        if job.regions is not None and job.regions.path is not None:
            config["roi"] = printable(job.regions.path)
        place = space.folder_for(
            stream, FORMATS if formats is None else formats, simplified=simplify_um is not None, gzip=gzip
        )
        with ExitStack() as stack:
            if place is not None:
                stream.scratch = stack.enter_context(scratch_folder(place))
            notes = (*segmenter.notes, *slide.notes)
            exported: list[str] = []
            count = write(
                stream,
                job.folder,
                source=job.source,
                config=config,
                notes=notes,
                formats=formats,
                simplify_um=simplify_um,
                gzip=gzip,
                say=exported.append,
            )
        for note in (*stream.notes(), *exported):
            say(shown(f"{job.source}: {note}"))
    return SlideOutcome(count, stream.megapixels, time.perf_counter() - start, stream.times)


def write(
    nuclei: Segmentation,
    folder: Path,
    *,
    source: Path,
    config: Mapping[str, Any],
    notes: Sequence[str] = (),
    formats: list[str] | None = None,
    simplify_um: float | None = None,
    gzip: bool = False,
    say: Callable[[str], None] = print,
) -> int:
    """Write a slide's nuclei as they are found, and count them.

    Args:
      nuclei: of an open slide; their times get those of the export, too.
      folder: appears when it is complete; see `export.Exports`.
      source: the slide's file.
      config: for the summary; its `request`, where there is one, decides the nuclei's ids, too.
      notes: for the summary, which has those of `nuclei` behind them.
      formats: of `export.FORMATS` and `EXTRA_FORMATS`; None: all of `FORMATS`.
      simplify_um, gzip: as of `export.Exports`.
      say: is told what a file leaves out, which the summary's notes have, too.
    """
    slide, frame, times, shares = nuclei.slide, nuclei.frame, nuclei.times, nuclei.kinds.shares()
    told = list(map(shown, notes))

    def on_left_out(note: str) -> None:
        told.append(shown(note))
        say(note)

    simple = not slide.is_slide and max(frame.size) <= _LARGEST_IMAGE_PX
    with times.measure("export"):
        exports = Exports(
            folder,
            frame,
            source=source,
            thumbnail=slide.thumbnail(_THUMBNAIL_PX),
            tissue=nuclei.kinds.tissue,
            regions=nuclei.regions,
            masked={kind: shares[kind] for kind in nuclei.setup.instances.masked},
            left_out=nuclei.left_out,
            implausible=nuclei.implausible,
            config={**config, "notes": told},
            seconds=times,
            labels="labels.tif" if simple else "labels.ome.tif",
            formats=formats,
            settings=deciding(config.get("request", {})),
            simplify_um=simplify_um,
            gzip=gzip,
            scratch=nuclei.scratch,
            helpers=_helpers(nuclei),
            say=on_left_out,
        )
    count = 0
    with ExitStack() as stack:
        stack.enter_context(exports)
        for nucleus in nuclei:
            with times.measure("export"):
                exports.add(nucleus)
            count += 1
        told += nuclei.notes()
        with times.measure("export"):
            stack.close()  # the rest is written, and last of all the summary, which has these seconds
    return count


def _helpers(nuclei: Segmentation) -> Helpers | None:
    """The processes that cut the nuclei also make what is written of them."""
    if nuclei.workers is None:
        return None
    return Helpers(nuclei.workers, nuclei.setup.cutter_count, partial(nuclei.times.add, "export"))


def remember_failure(job: SlideJob, traceback: str) -> Path | None:
    """Write what went wrong beside the slide's folder; gives the file, None if the disk does not take it."""
    path = error_file(job)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, traceback.encode("utf-8", "backslashreplace").decode("utf-8"))
    except (OSError, DiskFullError):
        return None
    return path


def error_file(job: SlideJob) -> Path:
    """The file beside a slide's folder that has the traceback of a failure."""
    return job.folder.with_name(f"{shortened(job.folder.name, len(ERROR_ENDING))}{ERROR_ENDING}")
