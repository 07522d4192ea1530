"""Files of many nuclei, format by format: seconds, size, memory.

python -m benchmarks.files [NAME …] [--nuclei 1000000] [--folder DIR] [--dicom FILE]

Drawn nuclei of about 40 × 40 pixels, as `benchmarks.slides` has them, go through each format alone, by one
process that does nothing else; `summary` is what each of them takes, too: making nuclei, and measuring them
for summary.json. `all` writes every format at once. `merge` joins the tables of two slides of half as many.
`spatialdata` is there where its package is, and `dicom` with --dicom, a file of a DICOM slide.
Time is by the clock, and then that of all cores that worked; memory the most that the process ever held.
--folder needs room for what is written, of which `all` is the most, and is deleted.
"""

import argparse
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.drawn_slide import MPP, PITCH_PX, ragged
from benchmarks.measure import shown, shown_bytes, shown_seconds
from nucseg_jax.export import FORMATS, Exports
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.predict.merge import SLIDES, TABLES, merge

TABLE_FORMATS = ("csv", "parquet", "neighbours")

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "files": lambda r: r["files"],
    "time": lambda r: shown_seconds(r["seconds"]),
    "of a core": lambda r: shown_seconds(r["core_seconds"]),
    "size": lambda r: shown_bytes(r["bytes"]),
    "bytes a nucleus": lambda r: shown(r["bytes"] / r["nuclei"], "{:.0f}"),
    "memory": lambda r: shown_bytes(r["memory_bytes"]),
}

ROWS: dict[str, dict[str, Any]] = {
    "summary": {"formats": ()},
    "geojson": {"formats": ("geojson",)},
    "geojson --gzip": {"formats": ("geojson",), "gzip": True},
    "geojson --simplify 0.25": {"formats": ("geojson",), "simplify_um": 0.25},
    "geojson --gzip --simplify 0.25": {"formats": ("geojson",), "gzip": True, "simplify_um": 0.25},
    "csv": {"formats": ("csv",)},
    "parquet": {"formats": ("parquet",)},
    "parquet --simplify 0.25": {"formats": ("parquet",), "simplify_um": 0.25},
    **{name: {"formats": (name,)} for name in FORMATS if name not in ("geojson", "csv", "parquet")},
    "all": {"formats": None},
    "spatialdata": {"formats": ("spatialdata",)},
    "dicom": {"formats": ("dicom",)},
}
"""Name → options of `Exports`."""

MERGE = "merge"


def nuclei(count: int) -> tuple[Frame, Iterator[Nucleus]]:
    """Nuclei row by row, a bit off the squares of a grid, and the slide that they fill."""
    a_row = math.ceil(math.sqrt(count))
    rows = math.ceil(count / a_row)
    frame = Frame((rows * PITCH_PX, a_row * PITCH_PX), MPP, MPP)

    def made() -> Iterator[Nucleus]:
        generator, masks = np.random.default_rng(0), ragged()
        for i in range(count):
            mask = masks[i % len(masks)]
            row, column = divmod(i, a_row)
            down, right = generator.integers(0, PITCH_PX - np.array(mask.shape))
            values = generator.uniform((0.5, 0.1, 0.0, 1.0), (1.0, 1.0, 0.1, 5.0)).tolist()
            yield Nucleus(i + 1, row * PITCH_PX + int(down), column * PITCH_PX + int(right), mask, *values)

    return frame, made()


def write(count: int, folder: Path, options: dict[str, Any], source: Path) -> dict[str, Any]:
    """What it took to write a folder of so many nuclei, as if of a slide."""
    frame, found = nuclei(count)
    thumbnail = np.full((1000, 1000, 3), (225, 190, 215), np.uint8)
    start = _now()
    with Exports(
        folder,
        frame,
        source=source,
        thumbnail=thumbnail,
        config={"request": {}},
        seconds={},
        **options,
    ) as exports:
        for nucleus in found:
            exports.add(nucleus)
    return _row(start, list(folder.rglob("*")))


def join(folder: Path) -> dict[str, Any]:
    """What it took to merge the slides in a folder."""
    start = _now()
    merge(folder)
    return _row(start, [folder / name for name in (*TABLES, SLIDES)])


def _now() -> tuple[float, float]:
    """Seconds by the clock, and of cores that this process worked on."""
    return time.perf_counter(), time.process_time()


def _row(start: tuple[float, float], written: Sequence[Path]) -> dict[str, Any]:
    seconds, core_seconds = (now - then for now, then in zip(_now(), start, strict=True))
    return {
        "seconds": seconds,
        "core_seconds": core_seconds,
        "bytes": sum(path.stat().st_size for path in written if path.is_file()),
        "memory_bytes": measure.held_bytes("VmHWM"),
    }


def rows(
    count: int, folder: Path, dicom: Path | None = None, chosen: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """A row for each of ROWS that can be written here, and one of the merge.

    Args:
      count: of nuclei.
      folder: where files are written.
      dicom: a file of a DICOM slide.
      chosen: names of rows; none: all.
    """
    source = Path(__file__)
    missing = {"dicom"} if dicom is None else set()
    if find_spec("spatialdata") is None:
        missing.add("spatialdata")
    for name in (name for name in chosen or ROWS if name in ROWS and name not in missing):
        of = dicom if dicom is not None and name == "dicom" else source
        found = measure.isolated(write, count, folder / "slide", ROWS[name], of)
        shutil.rmtree(folder / "slide")
        yield {"files": name, "nuclei": count} | found
    if chosen and MERGE not in chosen:
        return
    for slide in ("one", "other"):
        measure.isolated(write, max(1, count // 2), folder / slide, {"formats": TABLE_FORMATS}, source)
    yield {"files": MERGE, "nuclei": count} | measure.isolated(join, folder)


def main(argv: Sequence[str] | None = None) -> None:
    parser: argparse.ArgumentParser = measure.parser("files", __doc__, width=None)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join((*ROWS, MERGE))}; default: all"
    )
    parser.add_argument("--nuclei", type=int, default=1_000_000, help="default 1,000,000")
    parser.add_argument("--folder", type=Path, help="where files are written and deleted (default: $TMPDIR)")
    parser.add_argument("--dicom", type=Path, metavar="FILE", help="a file of a DICOM slide")
    args = parser.parse_args(argv)
    if unknown := set(args.names) - {*ROWS, MERGE}:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if args.nuclei < 1:
        parser.error("--nuclei must be 1 or more")
    report = measure.Report("files", measure.environment(), {"nuclei": args.nuclei}, COLUMNS, args.out)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for row in rows(args.nuclei, Path(folder), args.dicom, args.names):
            report.add(row)


if __name__ == "__main__":
    main()
