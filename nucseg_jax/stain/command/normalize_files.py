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
from nucseg_jax.io.disk import named_when_full
from nucseg_jax.io.images import read_image, write_image
from nucseg_jax.io.locks import alone, lock_inside
from nucseg_jax.stain.command import figure
from nucseg_jax.stain.command.plan import FIGURE, RECORD, ImageJob, plan
from nucseg_jax.stain.command.record import Target, read_target, write_record
from nucseg_jax.stain.normalization import SAMPLE_PIXELS, evenly_spaced
from nucseg_jax.stain.normalizers import Estimate, StainNormalizer

_WRITERS = 4


def normalize_files(
    images: Sequence[Path], target: Path, out: Path, *, method: str | None = None, together: bool = False
) -> None:
    """Give images the stains of a target, and write them, a record and a figure.

    Args:
      images: files, and folders, which stand for the images directly in them.
      target: an image, or the record (stain.json) of an earlier call.
      out: folder; made if need be.
      method: of `NORMALIZERS`; None: the usual one, or that of the record.
      together: estimate the stains once, over all images.

    Raises:
      UserError: nothing can be done as it is asked for.
      InUseError: another process writes to `out`.
      FailedError: some images could not be read; the others are done.
    """
    jobs = plan(images, target, out)
    chosen = read_target(target, method)
    out.mkdir(parents=True, exist_ok=True)
    with alone(lock_inside(out), out, _report), named_when_full(out):
        _normalize_all(jobs, chosen, out, together=together)


def _normalize_all(jobs: Sequence[ImageJob], chosen: Target, out: Path, *, together: bool) -> None:
    """Write the images, the record and the figure; raises FailedError where some could not be read."""
    started = time.perf_counter()
    shared, readable = _estimate_together(chosen.normalizer, jobs) if together else (None, jobs)
    estimates, rows = _normalize(chosen.normalizer, readable, shared)
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
    write_record(out / RECORD, chosen, estimates, together=together)
    print(
        f"wrote {len(estimates)} images, {FIGURE} and {RECORD} to {shown(out)}: "
        f"{len(estimates) / seconds:.1f} images/s"
    )
    if skipped := len(jobs) - len(estimates):
        raise FailedError(f"{skipped} of {len(jobs)} images could not be read")


def _normalize(
    normalizer: StainNormalizer, jobs: Sequence[ImageJob], shared: Estimate | None
) -> tuple[dict[str, Estimate], list[figure.Row]]:
    """Read, normalise and write; the style of each image by its file name, and the figure's rows."""
    estimates: dict[str, Estimate] = {}
    rows: list[figure.Row] = []
    writes: deque[Future[None]] = deque()
    # To compress a PNG takes several times as long as to normalise it.
    with ThreadPoolExecutor(_WRITERS) as pool:
        for job, image in _read(jobs, "normalise"):
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
    normalizer: StainNormalizer, jobs: Sequence[ImageJob]
) -> tuple[Estimate | None, list[ImageJob]]:
    """The one style of all images that can be read, and these; None if there is none."""
    share = max(1, SAMPLE_PIXELS // len(jobs))
    samples: list[np.ndarray] = []
    readable: list[ImageJob] = []
    for job, image in _read(jobs, "estimate"):
        pixels = image.reshape(-1, 3)
        samples.append(pixels[evenly_spaced(len(pixels), share)])
        readable.append(job)
    if not samples:
        return None, []
    estimate = normalizer.estimate(samples)
    if not estimate.found:
        _report("warning: no stains found in all images together, so they were taken to have the target's")
    return estimate, readable


def _read(jobs: Sequence[ImageJob], description: str) -> Iterator[tuple[ImageJob, np.ndarray]]:
    """The images that can be read, uint8 [H, W, 3]; the others are reported."""
    for job in tqdm(jobs, desc=description, unit="image"):
        try:
            image = read_image(job.source)
        except DataError as error:
            _report(f"skipped: {' '.join(str(error).split())}")
            continue
        yield job, image


def _report(line: str) -> None:
    tqdm.write(shown(line), file=sys.stderr)
