"""Pack a prepared dataset: ``python -m data_prep.pack --dataset monuseg --split paper --out DIR``.

Writes plain image files (`nucseg_jax.packed`) that `--config.data.dir=DIR` trains and scores from on
machines without TensorFlow.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from data_prep.builder import positive, run
from data_prep.normalize import METHODS
from nucseg_jax import data, packed


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; see ``--help``."""
    parser = argparse.ArgumentParser(prog="data_prep.pack", description=__doc__.partition("\n\n")[2])
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="folder with the prepared datasets (default: $TFDS_DATA_DIR, or TFDS's ~/tensorflow_datasets)",
    )
    parser.add_argument("--dataset", choices=data.COMMANDS, required=True)
    parser.add_argument(
        "--split", required=True, help="as it was prepared: monuseg's --split, folder's --name"
    )
    parser.add_argument("--stain", choices=METHODS, help="as it was prepared (default: that command's)")
    parser.add_argument(
        "--size", type=positive, help="as it was prepared, where --size was given (default: it was not)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for packed datasets")
    parser.add_argument("--overwrite", action="store_true", help="pack again even if it is there")
    args = parser.parse_args(arguments)
    run(lambda: _pack(args))


def _pack(args: argparse.Namespace) -> None:
    config = ConfigDict(
        {
            "dir": args.data_dir and str(args.data_dir),
            "dataset": args.dataset,
            "split": args.split,
            "stain": args.stain or DEFAULT_STAINS[args.dataset],
            "size": args.size,
        }
    )
    folder = args.out / data.dataset_name(config)
    dataset = data.load(config)
    packed.write(dataset, folder, overwrite=args.overwrite)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"packed {folder} ({size / 1e6:.1f} MB)")
    for split, examples in dataset.splits.items():
        print(f"  {split}: {len(examples)} images")


DEFAULT_STAINS = {"monuseg": "vahadane", "folder": "none"}
"""Of the commands that prepare the datasets."""


if __name__ == "__main__":
    main()
