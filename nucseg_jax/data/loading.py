"""Finds prepared datasets, as TFDS stored them or packed, and reads them into host memory."""

import os
import shlex
from pathlib import Path

from ml_collections import ConfigDict

from nucseg_jax.data import packed, tfds
from nucseg_jax.data.dataset import Dataset, Prepared
from nucseg_jax.errors import DataError

COMMANDS = {"monuseg": "nucseg prepare monuseg", "folder": "nucseg prepare folder"}
"""What prepares each dataset."""

DEFAULT_DIR = "~/tensorflow_datasets"
"""TFDS's own default, known here so that TFDS need not be imported to look there."""


def load(config: ConfigDict) -> Dataset:
    """Read a prepared dataset, as TFDS stored it or packed, into host memory.

    The images of a packed dataset with shards are read when they are asked for.

    Args:
      config: `config.data`: dataset, split, stain, size and dir: a root of TFDS datasets or of packed
        folders (None: $TFDS_DATA_DIR, or TFDS's default).

    Raises:
      DataError: the dataset was not prepared (the message has the command that prepares it), is damaged,
        or is there both as TFDS dataset and packed.
      MissingExtraError: the dataset is TFDS's and the extra `data` is not installed; the message has the
        command.
    """
    folder, name = _find(config)
    return packed.read(folder) if packed.is_packed(folder) else tfds.read(folder, name)


def open_stored(config: ConfigDict) -> Prepared:
    """A prepared dataset whose images are taken one by one, since they may be more than memory holds.

    Args:
      config: as for `load`.

    Raises:
      DataError, MissingExtraError: as `load` does; where an image is damaged, when it is its turn.
    """
    folder, name = _find(config)
    return packed.read(folder) if packed.is_packed(folder) else tfds.open_stored(folder, name)


def _find(config: ConfigDict) -> tuple[Path, str]:
    """The folder that holds a prepared dataset, packed or of TFDS's newest version, and its name."""
    if config.dataset not in COMMANDS:
        raise DataError(f"data.dataset must be one of {', '.join(COMMANDS)}, got {config.dataset!r}")
    root = root_of(config.dir)
    name = dataset_name(config)
    versions = tfds.versions(root / name)
    if packed.is_packed(root / name):
        if versions:
            raise DataError(
                f"{root / name}: holds both a packed dataset and TFDS's ({versions[-1].name}). Delete one: "
                "they may differ"
            )
        return root / name, name
    if not versions:
        there = sorted(
            "/".join(folder.parts[-2:])
            for folder in root.glob("*/*")
            if packed.is_packed(folder) or tfds.versions(folder)
        )
        raise DataError(
            f"no prepared dataset {name} in {root} (there: {', '.join(there) or 'none'}). Prepare it with:",
            f"  {COMMANDS[config.dataset]} --source DIR {_options(config, root)}",
        )
    return versions[-1], name


def root_of(given: str | Path | None) -> Path:
    """The folder of the prepared datasets: the one that is given, $TFDS_DATA_DIR, or TFDS's default."""
    return Path(given or os.environ.get("TFDS_DATA_DIR") or DEFAULT_DIR).expanduser()


def dataset_name(config: ConfigDict) -> str:
    """DATASET/SPLIT_STAIN, with _SIZE at the end where a size is given: the folder below the root."""
    size = f"_{config.size}" if config.size else ""
    return f"{config.dataset}/{config.split}_{config.stain}{size}"


def _options(config: ConfigDict, root: Path) -> str:
    """The options of the command that prepares what `config` asks for."""
    name = "--split" if config.dataset == "monuseg" else "--name"
    size = f"--size {config.size} " if config.size else ""
    return f"{name} {config.split} --stain {config.stain} {size}--out {shlex.quote(str(root))}"
