"""Seconds, bytes and memory of each format for many drawn nuclei.

python -m benchmarks.exports csv spatialdata --nuclei 1000000

Each format in a process of its own, without helpers. Nuclei are those of `drawn_slide`, of about 40×40 px.
"drawing" is what a process without any format takes; the others' seconds contain it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.drawn_slide import MPP, PITCH_PX, ragged
from nucseg_jax.export import EXTRA_FORMATS, FORMATS, Exports
from nucseg_jax.nuclei import Frame, Nucleus


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("formats", nargs="*", help="default: all that can be written here")
    parser.add_argument("--nuclei", type=int, default=50_000)
    parser.add_argument("--dicom", type=Path, help="a file of a DICOM slide, which dicom needs")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    formats = options.formats or [
        name for name in FORMATS | EXTRA_FORMATS if name != "dicom" or options.dicom
    ]
    if options.alone:
        print(json.dumps(_measure([name for name in formats if name != "drawing"], options)))
        return
    for name in ["drawing", *formats]:
        command = [sys.executable, "-m", "benchmarks.exports", name, "--alone", f"--nuclei={options.nuclei}"]
        command += [f"--dicom={options.dicom}"] if options.dicom else []
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"| `{name}` | {found['seconds']:.0f} s | {found['bytes'] / 2**20:.0f} MiB | "
            f"{found['peak_kib'] / 2**20:.2f} GiB |",
            flush=True,
        )


def _measure(formats: list[str], options: argparse.Namespace) -> dict[str, float]:
    masks, a_row = ragged(), max(1, round(options.nuclei**0.5))
    rows = -(-options.nuclei // a_row)
    frame = Frame((rows * PITCH_PX, a_row * PITCH_PX), MPP, MPP)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with Exports(
            Path(folder) / "out",
            frame,
            source=options.dicom or Path(__file__),
            thumbnail=np.full((2000, 2000, 3), (225, 190, 215), np.uint8),
            config={},
            seconds={},
            formats=formats,
            say=lambda note: print(note, file=sys.stderr),
        ) as exports:
            for i in range(options.nuclei):
                top, left = i // a_row * PITCH_PX, i % a_row * PITCH_PX
                exports.add(Nucleus(i + 1, top, left, masks[i % len(masks)], 0.9, 0.4, 0.02, 3.1))
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in (Path(folder) / "out").rglob("*") if path.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "bytes": size, "peak_kib": peak}


if __name__ == "__main__":
    main()
