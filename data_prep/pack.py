"""Pack a prepared dataset: ``python -m data_prep.pack --dataset monuseg --split paper --out DIR``.

Writes plain image files (`nucseg_jax.data.packed`) that `--config.data.dir=DIR` trains and scores from on
machines without TensorFlow. `--shards N` puts the training images into N shards, from which
`--config.data.pipeline=streamed` reads more of them than memory holds.
"""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from nucseg_jax import data
from nucseg_jax.data import packed
from nucseg_jax.errors import shown

from .plain_warnings import plain_warnings

DEFAULT_STAINS = {"monuseg": "vahadane", "folder": "none"}
"""Of the commands that prepare the datasets."""


def pack(
    data_dir: Path | None,
    *,
    dataset: str,
    split: str,
    stain: str | None,
    size: int | None,
    out: Path,
    overwrite: bool,
    shards: int | None = None,
) -> None:
    """Pack a prepared dataset; prints what was made.

    Args:
      data_dir: folder with the prepared datasets; None: TFDS's.
      dataset, split, stain, size: as it was prepared; `stain` None: the usual one of the dataset.
      out: folder for packed datasets.
      overwrite: do it again.
      shards: how many the training images are put into; None: each is a file.

    Raises:
      UserError: no such prepared dataset; it is packed already; more shards than possible.
    """
    config = ConfigDict(
        {
            "dir": data_dir and str(data_dir),
            "dataset": dataset,
            "split": split,
            "stain": stain or DEFAULT_STAINS[dataset],
            "size": size,
        }
    )
    folder = out / data.dataset_name(config)
    with plain_warnings():
        stored = data.open_stored(config)
        packed.write(stored, folder, overwrite=overwrite, shards=shards)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"packed {shown(folder)} ({total / 1e6:.1f} MB)")
    for name, examples in stored.splits.items():
        print(f"  {name}: {len(examples)} images")


def main(arguments: Sequence[str] | None = None) -> None:
    """`nucseg prepare pack`."""
    from nucseg_jax.cli import door

    door("prepare", "pack", arguments=arguments)


if __name__ == "__main__":
    main()
