"""Compare runs, and report: ``python -m nucseg_jax.report --workdirs DIR… --out DIR``.

Every run, an ensemble of them, a classical baseline and other tools' label maps segment the test images, are
scored alike and drawn. DIR/report.html shows everything; DIR/scores.csv has a row an entry and image,
DIR/label_maps/ENTRY/ID.png the nuclei (16-bit), DIR/figures/ the figures.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import logging
from numpy.typing import NDArray
from PIL import Image

from nucseg_jax import arguments, compilation_cache, ensemble, report, scoring
from nucseg_jax.compare import Request, compare
from nucseg_jax.comparison import Comparison
from nucseg_jax.errors import UserError
from nucseg_jax.files import replacing, write_text


def main(argv: Sequence[str] | None = None) -> None:
    """The command; see ``--help``. A UserError is printed without a traceback, with exit code 2."""
    args = _parser().parse_args(argv)
    try:
        tools = arguments.pairs(args.predictions, "--predictions NAME=DIR")
        values = arguments.pairs(args.set, "--set KEY=VALUE")
        request = Request(
            workdirs=tuple(args.workdirs),
            expression=args.ensemble,
            tools={name: Path(folder) for name, folder in tools.items()},
            split=args.split,
            overrides={key: arguments.value(text) for key, text in values.items()},
        )
        compilation_cache.enable()
        logging.set_verbosity(logging.ERROR)  # Orbax and TFDS narrate all
        write(compare(request), args.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def write(comparison: Comparison, out: Path) -> None:
    """Write report.html, figures/, scores.csv and label_maps/ to a folder, and print the scores."""
    out.mkdir(parents=True, exist_ok=True)
    entries = {entry.name: entry.images for entry in comparison.entries}
    write_text(out / "scores.csv", scoring.to_csv(entries))
    for name, images in entries.items():
        folder = out / "label_maps" / re.sub(r"[^\w.-]+", "_", name).strip("_")
        folder.mkdir(parents=True, exist_ok=True)
        for image in images:
            _write_label_map(folder / image.id, image.label_map)
    page = report.write(comparison, out)
    title = f"{comparison.dataset} {comparison.split}"
    print(scoring.table(title, entries, comparison.min_area_um2))
    print(f"wrote {page}, figures/, scores.csv and label_maps/")


def _write_label_map(path: Path, label_map: NDArray[np.int32]) -> None:
    """PATH.png of 16 bits, or PATH.npy where there are more nuclei than these can number."""
    if label_map.max(initial=0) < 2**16:
        with replacing(path.with_name(f"{path.name}.png")) as temporary:
            Image.fromarray(label_map.astype(np.uint16)).save(temporary, format="PNG")
    else:
        with replacing(path.with_name(f"{path.name}.npy")) as temporary, open(temporary, "wb") as file:
            np.save(file, label_map)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nucseg_jax.report", description=__doc__.partition("\n\n")[2]
    )
    parser.add_argument(
        "--workdirs", action="extend", nargs="+", type=Path, required=True, metavar="DIR", help="runs"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder; made if need be")
    parser.add_argument(
        "--ensemble",
        metavar="EXPRESSION",
        help=f"of the runs' folder names, such as the paper's {ensemble.PAPER}; operators: "
        f"{', '.join(ensemble.OPERATORS)}",
    )
    parser.add_argument(
        "--predictions",
        action="extend",
        nargs="+",
        default=[],
        metavar="NAME=DIR",
        help="label maps of other tools, DIR/ID.png (.tif, .npy, HoVer-Net's .mat)",
    )
    parser.add_argument("--split", default="test", help="of the dataset (default: test)")
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="config values that differ from the runs' own: data.dir, eval.…, instances.…. Without "
        "instances.…, a run's tuning.json (python -m nucseg_jax.tune) says how its nuclei are made",
    )
    return parser


if __name__ == "__main__":
    main()
