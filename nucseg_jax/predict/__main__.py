"""Find the nuclei of slides and images: ``python -m nucseg_jax.predict --workdir RUN SLIDE… --out DIR``.

Each SLIDE gets a folder DIR/NAME with its nuclei as GeoJSON for QuPath, a table, a label map, an overlay, a
heat map and summary.json. A slide that fails is reported and left out; run again, the command goes on with
what is not finished. Exit codes: 0, 1 if slides have failed, 2 for wrong arguments, 130 if interrupted, 143
if terminated.
"""

import argparse
import contextlib
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from logging import getLogger
from pathlib import Path
from typing import Any

from tqdm import tqdm

from nucseg_jax.arguments import pairs, value
from nucseg_jax.errors import UserError
from nucseg_jax.predict import plan
from nucseg_jax.predict.plan import Job

_MOST_WORKERS = 16


def main(argv: Sequence[str] | None = None) -> None:
    """The command; see ``--help``. Ends with the exit code unless that is 0."""
    args = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        with _termination():
            failed = _run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, _Terminated) as end:
        print("\nstopped; the same command goes on with what is not finished", file=sys.stderr)
        sys.exit(128 + (signal.SIGTERM if isinstance(end, _Terminated) else signal.SIGINT))
    if failed:
        lines = [f"  {job.source}: {message}" for job, message in failed]
        print(f"error: {len(failed)} failed:\n" + "\n".join(lines), file=sys.stderr)
        sys.exit(1)


class _Terminated(BaseException):
    """SIGTERM has come, as when a batch system's time is over."""


@contextlib.contextmanager
def _termination() -> Iterator[None]:
    """SIGTERM as an exception, so that temporary files and processes go."""

    def terminate(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours there
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(args: argparse.Namespace) -> list[tuple[Job, str]]:
    """Do all that is not finished; returns what failed, and why."""
    overrides = {key: value(text) for key, text in pairs(args.set, "--set KEY=VALUE").items()}
    listed = [slide for path in args.list for slide in plan.read_list(path)]
    jobs = plan.plan([*args.slides, *listed], args.out)
    if not jobs:
        raise UserError("no slide is named: give slides, images, folders of them or --list FILE")
    if args.mpp is not None:
        from nucseg_jax.slides.resolution import check_given

        check_given(args.mpp)
    _check_formats(args.formats)
    if args.workers < 0:
        raise UserError(f"--workers {args.workers}: must be 0 or more")
    if args.share is not None:
        jobs = plan.share(jobs, args.share)

    # What takes seconds to import comes after what can be wrong with the arguments.
    from absl import logging

    from nucseg_jax import compilation_cache
    from nucseg_jax.inference.segmenter import Segmenter

    logging.set_verbosity(logging.ERROR)  # Orbax narrates all
    getLogger("tifffile").setLevel("CRITICAL")  # damaged files have errors of their own
    compilation_cache.enable()
    with Segmenter.load(
        args.workdir, overrides=overrides, network_mpp=args.network_mpp, workers=args.workers
    ) as segmenter:
        for note in segmenter.notes:
            print(note)
        request = {
            **{key: segmenter.facts[key] for key in _DECISIVE},
            "instances": {k: v for k, v in segmenter.facts["instances"].items() if k != "from"},
            "mpp": args.mpp,
            "network_mpp": segmenter.magnification.network_mpp,
            "formats": args.formats and sorted(set(args.formats)),
        }
        missing = plan.unfinished(jobs, request, overwrite=args.overwrite)
        if missing:
            _check_writable(args.out)
        if len(missing) < len(jobs):
            print(f"{len(jobs) - len(missing)} of {len(jobs)} finished already")
        return _segment_all(missing, segmenter, request, args)


def _segment_all(
    jobs: list[Job], segmenter: Any, request: dict[str, Any], args: argparse.Namespace
) -> list[tuple[Job, str]]:
    from nucseg_jax.predict import work

    failed: list[tuple[Job, str]] = []
    with tqdm(total=len(jobs), unit="slide", disable=None, bar_format=_BAR) as bar:
        for number, job in enumerate(jobs):

            def on_progress(part: float, number: int = number) -> None:
                bar.n = number + part
                bar.refresh()

            bar.set_description(job.source.name)
            try:
                outcome = work.segment(
                    job,
                    segmenter,
                    request,
                    mpp=args.mpp,
                    formats=args.formats,
                    on_progress=on_progress,
                    say=tqdm.write,
                )
                work.error_file(job).unlink(missing_ok=True)
            except UserError as error:
                message = str(error).removeprefix(f"{job.source}: ")
                failed.append((job, message))
                tqdm.write(f"{job.source}: failed: {message}")
            except Exception as error:
                # One bad slide of a thousand must not end the night's work.
                path = work.remember_failure(job, traceback.format_exc())
                failed.append((job, f"{type(error).__name__}: {error}" + (f" (see {path})" if path else "")))
                tqdm.write(f"{job.source}: failed: {type(error).__name__}: {error}")
                if isinstance(error, BrokenProcessPool):
                    segmenter.close()  # new ones start with the next slide
            else:
                tqdm.write(f"{job.source}: {outcome}")
            bar.n = number + 1
            bar.refresh()
    return failed


_DECISIVE = ("params_sha256", "augment", "tile_px", "overlap_px")
"""Facts of the run that decide which nuclei are found, beside how they are cut."""

_BAR = "{desc} {percentage:3.0f} % |{bar}| {n:.1f}/{total} slides [{elapsed} < {remaining}]"


def _check_writable(out: Path) -> None:
    """Raise UserError now, and not after an hour's work."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written to ({error.strerror or error})") from error


def _check_formats(formats: list[str] | None) -> None:
    from nucseg_jax.export import FORMATS

    if unknown := sorted(set(formats or ()) - set(FORMATS)):
        raise UserError(f"--formats: no such format: {', '.join(unknown)}. There are: {', '.join(FORMATS)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nucseg_jax.predict", description=(__doc__ or "").partition("\n\n")[2]
    )
    parser.add_argument("slides", nargs="*", type=Path, metavar="SLIDE", help="slides, images, or folders")
    parser.add_argument("--workdir", type=Path, required=True, metavar="RUN", help="a trained run's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder; made if need be")
    parser.add_argument(
        "--list",
        action="extend",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="files that name more slides, one a line",
    )
    parser.add_argument(
        "--share",
        metavar="K/N",
        help="only every N-th slide from the K-th: what the K-th of N machines does",
    )
    parser.add_argument(
        "--mpp", type=float, metavar="UM", help="µm a pixel of all the slides, whatever their files say"
    )
    parser.add_argument(
        "--network-mpp",
        type=float,
        metavar="UM",
        help="µm a pixel that the network was trained at (default: as the run says)",
    )
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="config values that differ from the run's own: eval.…, instances.…. Without instances.… its "
        "tuning.json (python -m nucseg_jax.tune) says how nuclei are made",
    )
    parser.add_argument(
        "--formats",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="what is written (default: everything)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        default=min(_MOST_WORKERS, os.cpu_count() or 1),
        help="processes that cut nuclei while the device computes, of 0.5 GB each (default: one a "
        f"core, at most {_MOST_WORKERS})",
    )
    parser.add_argument("--overwrite", action="store_true", help="do finished slides again")
    return parser


if __name__ == "__main__":
    main()
