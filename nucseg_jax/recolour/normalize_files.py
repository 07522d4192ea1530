"""Image files → the same with the stains of a target."""

import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nucseg_jax.errors import DataError, FailedError, shown
from nucseg_jax.io.files import output_folder
from nucseg_jax.io.images import write_image
from nucseg_jax.io.locks import alone, lock_inside
from nucseg_jax.recolour import figure
from nucseg_jax.recolour.plan import FIGURE, RECORD, ImageJob, plan
from nucseg_jax.recolour.record import Target, read_target, write_record
from nucseg_jax.slides import read_image, shared_white
from nucseg_jax.slides.white import check_given
from nucseg_jax.stain.normalization import SAMPLE_PIXELS, evenly_spaced
from nucseg_jax.stain.normalizers import Estimate, StainNormalizer

_WRITERS = 4


def normalize_files(
    images: Sequence[Path],
    target: Path,
    out: Path,
    *,
    method: str | None = None,
    together: bool = False,
    white: int | None = None,
    crop: bool = True,
    overwrite: bool = False,
) -> None:
    """Give images the stains of a target, and write them, a record and a figure.

    Args:
      images: files, and folders, which stand for the images directly in them.
      target: an image, or the record (stain.json) of an earlier call.
      out: folder; made if need be.
      method: of `NORMALIZERS`; None: the usual one, or that of the record.
      together: estimate the stains once, over all images.
      white: the value that is white in images of 16 bits; None: one for all, by the glass that they
        show (`slides.shared_white`).
      crop: slides to what was scanned, as QuPath does; False: the full canvas of their files.
      overwrite: replace files in `out`, but for inputs and the target.

    Raises:
      UserError: nothing can be done as it is asked for, or the folder cannot be written to.
      InUseError: another process writes to `out`.
      FailedError: some images could not be read; the others are done.
    """
    if white is not None:
        check_given(white)
    jobs = plan(images, target, out, overwrite=overwrite)
    shared, said = (white, ()) if white else shared_white.find(job.source for job in jobs)
    for line in said:
        _report(line)
    chosen = read_target(target, method, white=shared, crop=crop)
    for note in chosen.notes:
        _report(f"{target}: {note}")
    with output_folder(out, "--out"), alone(lock_inside(out), out, _report):
        _normalize_all(jobs, chosen, _Source(shared, crop=crop), out, together=together)


def _normalize_all(
    jobs: Sequence[ImageJob], chosen: Target, source: "_Source", out: Path, *, together: bool
) -> None:
    """Write the images, the record and the figure; raises FailedError where some could not be read."""
    started = time.perf_counter()
    shared, readable = _estimate_together(chosen.normalizer, source, jobs) if together else (None, jobs)
    estimates, rows = _normalize(chosen.normalizer, source, readable, shared)
    seconds = time.perf_counter() - started
    if not estimates:
        raise FailedError(f"wrote nothing: none of {len(jobs)} images could be read")
    sheet = figure.before_after(
        rows,
        method=chosen.normalizer.name,
        target=chosen.normalizer.target,
        target_name=chosen.name,
        target_image=chosen.image,
        count=len(estimates),
        together=together,
    )
    write_image(out / FIGURE, sheet)
    write_record(out / RECORD, chosen, estimates, source.notes, source.skipped, together=together)
    print(
        f"wrote {len(estimates)} images, {FIGURE} and {RECORD} to {shown(out)}: "
        f"{len(estimates) / seconds:.1f} images/s"
    )
    if skipped := len(jobs) - len(estimates):
        raise FailedError(f"{skipped} of {len(jobs)} images could not be read")


class _Source:
    """Reads images, and tells once what was done about their pixels.

    Args:
      white, crop: as of `normalize_files`.

    Attributes:
      notes: by file name, of the images with something to tell.
      skipped: by file name, why an image could not be read.
    """

    def __init__(self, white: int | None, *, crop: bool):
        self.notes: dict[str, tuple[str, ...]] = {}
        self.skipped: dict[str, str] = {}
        self._white, self._crop = white, crop

    def read(self, jobs: Sequence[ImageJob], description: str) -> Iterator[tuple[ImageJob, np.ndarray]]:
        """The images that can be read, uint8 [H, W, 3]; the others are reported."""
        for job in tqdm(jobs, desc=description, unit="image"):
            try:
                image = read_image(job.source, white=self._white, crop=self._crop)
            except DataError as error:
                self.skipped[job.source.name] = " ".join(str(error).split())
                _report(f"skipped: {self.skipped[job.source.name]}")
                continue
            if image.notes and job.source.name not in self.notes:
                self.notes[job.source.name] = image.notes
                for note in image.notes:
                    _report(f"{job.source}: {note}")
            yield job, image.pixels


def _normalize(
    normalizer: StainNormalizer, source: _Source, jobs: Sequence[ImageJob], shared: Estimate | None
) -> tuple[dict[str, Estimate], list[figure.Row]]:
    """Read, normalise and write; the style of each image by its file name, and the figure's rows."""
    estimates: dict[str, Estimate] = {}
    rows: list[figure.Row] = []
    writes: deque[Future[None]] = deque()
    # To compress a PNG takes several times as long as to normalise it.
    with ThreadPoolExecutor(_WRITERS) as pool:
        for job, image in source.read(jobs, "normalise"):
            estimate = normalizer.estimate(image) if shared is None else shared
            if shared is None and not estimate.found:
                _report(f"warning: {job.source}: no stains found, so it was taken to have the target's")
            normalised = normalizer.transform(image, source=estimate.style)
            writes.append(pool.submit(write_image, job.output, normalised))
            if len(writes) > _WRITERS:
                writes.popleft().result()
            name = job.source.name
            estimates[name] = estimate
            if len(rows) < figure.MOST_ROWS:
                rows.append(figure.Row(name, figure.shrink(image), figure.shrink(normalised), *estimate))
        for write in writes:
            write.result()
    return estimates, rows


def _estimate_together(
    normalizer: StainNormalizer, source: _Source, jobs: Sequence[ImageJob]
) -> tuple[Estimate | None, list[ImageJob]]:
    """The one style of all images that can be read, and these; None if there is none."""
    share = max(1, SAMPLE_PIXELS // len(jobs))
    samples: list[np.ndarray] = []
    readable: list[ImageJob] = []
    for job, image in source.read(jobs, "estimate"):
        pixels = image.reshape(-1, 3)
        samples.append(pixels[evenly_spaced(len(pixels), share)])
        readable.append(job)
    if not samples:
        return None, []
    estimate = normalizer.estimate(samples)
    if not estimate.found:
        _report("warning: no stains found in all images together, so they were taken to have the target's")
    return estimate, readable


def _report(line: str) -> None:
    tqdm.write(shown(line), file=sys.stderr)
