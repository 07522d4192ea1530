"""Stain normalisation of image files: ``python -m nucseg_jax.stain IMAGE… --target T --out DIR``.

Each image gets the colours of the target and goes to DIR/NAME.png (.tif if it was a TIFF). DIR/stain.json
records what was found and may be the --target of later runs, in place of the image. DIR/before_after.png
shows the first images before and after.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from nucseg_jax import compilation_cache
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.images import read_image, write_image
from nucseg_jax.stain import figure
from nucseg_jax.stain.normalization import SAMPLE_PIXELS, evenly_spaced
from nucseg_jax.stain.normalizers import NORMALIZERS, Estimate, StainNormalizer
from nucseg_jax.stain.plan import FIGURE, RECORD, Job, plan
from nucseg_jax.stain.record import DEFAULT_METHOD, read_target, write_record

_WRITERS = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see ``--help``.

    Returns:
      0; 1 where an image could not be read; 2 where nothing could be done.
    """
    args = _parser().parse_args(arguments)
    try:
        return _run(args)
    except (UserError, OSError) as error:  # OSError: a folder cannot be read or written
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nucseg_jax.stain", description=__doc__.partition("\n\n")[2]
    )
    parser.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        type=Path,
        help="PNG, TIFF, JPEG or BMP files of 8-bit RGB; a folder stands for the images directly in it",
    )
    parser.add_argument(
        "--target",
        type=Path,
        required=True,
        help="an image of well-stained tissue whose colours the others get, or an earlier run's stain.json",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder; made if need be")
    parser.add_argument(
        "--method", choices=NORMALIZERS, help=f"default: {DEFAULT_METHOD}, or that of stain.json"
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="estimate the colours once, over all images (the tiles of a slide, a cohort), not of each",
    )
    return parser


def _run(args: argparse.Namespace) -> int:
    compilation_cache.enable()
    jobs = plan(args.images, args.target, args.out)
    target = read_target(args.target, args.method)
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    shared, readable = _estimate_together(target.normalizer, jobs) if args.together else (None, jobs)
    estimates, rows = _normalize(target.normalizer, readable, shared)
    seconds = time.perf_counter() - started
    if not estimates:
        print(f"wrote nothing: none of {len(jobs)} images could be read")
        return 1
    sheet = figure.before_after(
        rows,
        method=target.normalizer.name,
        target=target.normalizer.target,
        target_name=target.name,
        target_image=target.image,
        count=len(estimates),
        together=args.together,
    )
    write_image(args.out / FIGURE, sheet)
    write_record(args.out / RECORD, target, estimates, together=args.together)
    skipped = len(jobs) - len(estimates)
    print(
        f"wrote {len(estimates)} images, {FIGURE} and {RECORD} to {args.out}: "
        f"{len(estimates) / seconds:.1f} images/s" + (f"; {skipped} could not be read" if skipped else "")
    )
    return 1 if skipped else 0


def _normalize(
    normalizer: StainNormalizer, jobs: Sequence[Job], shared: Estimate | None
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


def _estimate_together(normalizer: StainNormalizer, jobs: Sequence[Job]) -> tuple[Estimate | None, list[Job]]:
    """The one style of all images that can be read, and these; None if there is none."""
    share = max(1, SAMPLE_PIXELS // len(jobs))
    samples: list[np.ndarray] = []
    readable: list[Job] = []
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


def _read(jobs: Sequence[Job], description: str) -> Iterator[tuple[Job, np.ndarray]]:
    """The images that can be read, uint8 [H, W, 3]; the others are reported."""
    for job in tqdm(jobs, desc=description, unit="image"):
        try:
            image = read_image(job.source)
        except DataError as error:
            _report(f"skipped: {' '.join(str(error).split())}")
            continue
        yield job, image


def _report(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
