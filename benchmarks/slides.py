"""From a slide to files, stage by stage: seconds, megapixels a second, memory.

python -m benchmarks.slides --run RUN --slide SLIDE     a trained run, or --model NAME, on a slide
python -m benchmarks.slides [--blocks 18]               what comes after the network, alone

The road of `python -m nucseg_jax.predict`, everything it writes included. Stages run side by side: a row has
the seconds that the stage was at work, whoever did it, summed over threads and processes, and the megapixels
(of the network's level, in tiles with tissue) and nuclei over these seconds: what it would do alone. The
stage with the fewest a core is the next bottleneck. The last row is the clock's, and what the process and the
largest of its workers ever held in memory.

Without a network a drawn slide is segmented by a network that reads nuclei off their colour, which costs next
to nothing: what is left is the post-processing (watershed) and the export of blocks² × 324 ragged nuclei,
104,976 of them by default. Exits with 1 unless it finds all. With --run or --model drawn tissue is segmented
before, so that compilation is not counted.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any

from benchmarks import measure
from benchmarks.colour_network import RedIsNucleus
from benchmarks.drawn_slide import MPP, NUCLEI_A_BLOCK, drawn_slide
from benchmarks.measure import shown, shown_bytes, shown_seconds
from nucseg_jax.config import get_config
from nucseg_jax.cores import usable_cores
from nucseg_jax.errors import UserError
from nucseg_jax.inference.magnification import Magnification
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.predict import one_slide
from nucseg_jax.slides import Slide, open_slide, slide_of_array

CLOCK = "all, by the clock"

COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "stage": lambda r: r["stage"],
    "time": lambda r: shown_seconds(r["seconds"]),
    "share of the work": lambda r: shown(r["share"], "{:.0%}"),
    "MP/s": lambda r: shown(r["megapixels_per_second"]),
    "nuclei/s": lambda r: shown(r["nuclei_per_second"], "{:.0f}"),
    "memory": lambda r: shown_bytes(r["memory_bytes"]),
    "a worker's": lambda r: shown_bytes(r["worker_memory_bytes"]),
}


def segment(segmenter: Segmenter, slide: Slide, folder: Path) -> list[dict[str, Any]]:
    """A row a stage, and one for all."""
    scratch = folder.with_name("scratch")
    scratch.mkdir()
    start = time.perf_counter()
    nuclei = segmenter.stream(slide, scratch=scratch)
    count = one_slide.write(nuclei, folder, source=slide.path, config={"run": segmenter.facts})
    clock = time.perf_counter() - start
    workers = [measure.held_bytes("VmHWM", child.pid) or 0 for child in active_children()]
    memory = {
        "memory_bytes": measure.held_bytes("VmHWM"),
        "worker_memory_bytes": max(workers, default=0) or None,
    }
    segmenter.close()
    total = sum(nuclei.times.values())
    rows = [
        {"stage": stage, "seconds": seconds, "share": seconds / total} | dict.fromkeys(memory)
        for stage, seconds in nuclei.times.items()
    ]
    rows.append({"stage": CLOCK, "seconds": clock, "share": None} | memory)
    return [_completed(row, count, nuclei.megapixels) for row in rows]


def _completed(row: dict[str, Any], nuclei: int, megapixels: float) -> dict[str, Any]:
    per_second = 1 / row["seconds"] if row["seconds"] else None
    return row | {
        "nuclei": nuclei,
        "megapixels": megapixels,
        "megapixels_per_second": per_second and megapixels * per_second,
        "nuclei_per_second": per_second and nuclei * per_second,
    }


def colour_segmenter(workers: int) -> Segmenter:
    """Nuclei by their colour, then cut by a watershed."""
    config = get_config().instances
    config.method = "watershed"
    config.masked = ()  # no tissue has these colours
    network = RedIsNucleus(tile=256, margin=32, batch_size=16)
    return Segmenter(network, config, Magnification(MPP, "drawn"), workers=workers, small_px=0)


def compiled(segmenter: Segmenter) -> Segmenter:
    """The same, after its first slide."""
    image = drawn_slide(4).thumbnail(4096)
    with slide_of_array(image, segmenter.magnification.network_mpp) as slide:
        list(segmenter.stream(slide))
    return segmenter


def _segmenter(run: Path | None, model: str | None, workers: int) -> Segmenter:
    if run is not None:
        return compiled(Segmenter.load(run, workers=workers, small_px=0))
    if model is not None:
        return compiled(Segmenter.from_pretrained(model, workers=workers, small_px=0))
    return colour_segmenter(workers)


def main(argv: Sequence[str] | None = None) -> None:
    parser = measure.parser("slides", __doc__)
    parser.add_argument("--run", type=Path, help="a trained run's folder")
    parser.add_argument("--model", help="an installed model, in place of a run")
    parser.add_argument("--slide", type=Path, help="what it segments")
    parser.add_argument("--blocks", type=int, default=18, help="side of the drawn slide, of 1024 px each")
    parser.add_argument("--workers", type=int, default=usable_cores(), help="default: one a core")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where what it writes is left")
    args = parser.parse_args(argv)
    networks = [network for network in (args.run, args.model) if network is not None]
    if len(networks) != (args.slide is not None) or args.blocks < 1 or args.workers < 1:
        parser.error("needs --slide with one of --run and --model, or none; --blocks, --workers 1 or more")
    drawn = not networks
    settings = {"workers": args.workers, "load": f"{os.getloadavg()[0]:.1f}"}
    if drawn:
        settings |= {"blocks": args.blocks}
    else:
        settings |= {"network": Path(networks[0]).name, "slide": args.slide.name}
    name = "slides_drawn" if drawn else f"slides_{Path(networks[0]).stem}"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            segmenter = _segmenter(args.run, args.model, args.workers)
            slide = drawn_slide(args.blocks) if drawn else open_slide(args.slide)
            with slide:
                rows = segment(segmenter, slide, Path(scratch) / "nuclei")
        except UserError as error:
            sys.exit(f"error: {error}")
        if args.keep is not None:
            shutil.copytree(Path(scratch) / "nuclei", args.keep)
    report = measure.Report(name, measure.environment(), settings, COLUMNS, args.out)
    for row in rows:
        report.add(row)
    found = rows[-1]["nuclei"]
    print(f"\n{found:,} nuclei, {rows[-1]['megapixels']:.1f} megapixels with tissue")
    if drawn and found != args.blocks**2 * NUCLEI_A_BLOCK:
        sys.exit(f"error: {args.blocks**2 * NUCLEI_A_BLOCK:,} were drawn")


if __name__ == "__main__":
    main()
