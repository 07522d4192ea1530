"""Wrong training labels, on purpose: ``python -m data_prep.label_noise --source DIR --out DIR --rate 0.2``.

Writes a copy of a packed dataset (`nucseg_jax.data.packed`) in which a share of the training nuclei is
annotated wrongly, to measure how training copes with it (`data.dir=DIR`). Three kinds of
error, each with the share --rate of all nuclei:

  dropped   the nucleus is background
  shifted   it lies --shift-px pixels off, in a random direction; what leaves the image is cut off
  dilated   it is larger by a disk of radius --dilate-px

Only `label_map`, which is what training sees, changes. `original_label_map`, which scores are computed
against, stays the true annotation; images named by --clean and all other splits stay as they are.
"""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from nucseg_jax import data
from nucseg_jax.data import packed
from nucseg_jax.data.dataset import TRAIN, Dataset
from nucseg_jax.errors import DataError, UserError, shown

KINDS = ("dropped", "shifted", "dilated")

METADATA = "label_noise"
"""The entry of the dataset's metadata that says what was done: rate, shift_px, dilate_px, seed, clean."""


def corrupt(
    label_map: NDArray[np.int32],
    generator: np.random.Generator,
    *,
    rate: float,
    shift_px: int,
    dilate_px: int,
) -> tuple[NDArray[np.int32], dict[str, int]]:
    """A label map with annotation errors.

    Each nucleus, independently of the others, is wrong with probability 3·`rate`; one of the three kinds
    is then drawn, each as likely, so that each has the share `rate` of all nuclei. The draws do not depend
    on `rate`: from the same state of the generator, a higher rate makes the same errors and further ones.

    Nuclei that are right keep their pixels, as do those that grow. Then, in the order of their ids, the
    shifted ones and the rims of the grown ones are painted on what is background by then: no nucleus takes
    a pixel of another. What is left of a shifted nucleus may be in several pieces, or nothing (`hidden`).

    Args:
      label_map: int32 [H, W], 0 = background, any other value one nucleus.
      generator: decides which nuclei are wrong, how, and the directions.
      rate: share of each kind of error, 0 to 1/3.
      shift_px: how far nuclei are shifted, in pixels, at an angle that is uniform; at least 1. The way is
        rounded to whole pixels down and across.
      dilate_px: radius of the disk, in pixels, that nuclei grow by; at least 1.

    Returns:
      int32 [H, W] with the ids of `label_map`, and numbers of nuclei: `nuclei` in all, `dropped`,
      `shifted`, `dilated`, and `hidden`: those of the shifted ones of which nothing is left.

    Raises:
      UserError: a value is out of its range.
    """
    _check_errors(rate, shift_px, dilate_px)
    ids = np.unique(label_map[label_map > 0])
    wrong = generator.random(ids.size) < len(KINDS) * rate
    kind = generator.integers(len(KINDS), size=ids.size)
    angle = generator.uniform(0, 2 * np.pi, ids.size)
    dropped, shifted, dilated = (wrong & (kind == k) for k in range(len(KINDS)))
    ways = np.rint(shift_px * np.stack([np.sin(angle), np.cos(angle)], axis=1)).astype(np.intp)
    disk = np.argwhere(morphology.disk(dilate_px)) - dilate_px

    noisy = np.where(np.isin(label_map, ids[dropped | shifted]), 0, label_map)
    boxes = ndimage.find_objects(label_map)
    for i in np.flatnonzero(shifted | dilated):
        rows, columns = boxes[ids[i] - 1]
        pixels = np.argwhere(label_map[rows, columns] == ids[i]) + (rows.start, columns.start)
        _paint(noisy, ids[i], pixels, disk if dilated[i] else ways[[i]])
    return noisy, {
        "nuclei": ids.size,
        "dropped": int(dropped.sum()),
        "shifted": int(shifted.sum()),
        "dilated": int(dilated.sum()),
        "hidden": int(np.isin(ids[shifted], noisy, invert=True).sum()),
    }


def add_noise(
    dataset: Dataset, *, rate: float, shift_px: int, dilate_px: int, seed: int, clean: Sequence[str]
) -> tuple[Dataset, dict[str, int]]:
    """A dataset whose training images have annotation errors in `label_map`.

    An image's errors depend on its id, its label map and the values given here, not on the other images.

    Args:
      dataset: a dataset without such errors.
      rate, shift_px, dilate_px: see `corrupt`; pixels of `label_map`, which may have been rescaled.
      seed: another one, other errors; not negative.
      clean: ids of training images that stay as they are.

    Returns:
      The dataset, with `label_noise` in its metadata, and the sums of `corrupt`'s counts.

    Raises:
      UserError: a value is out of its range.
      DataError: the dataset has such errors already, an id of `clean` is not a training image's, or no
        training image is left to change.
    """
    if seed < 0:
        raise UserError(f"--seed must not be negative, got {seed}")
    if METADATA in dataset.metadata:
        raise DataError(
            f"{dataset.name}: has annotation errors already ({dataset.metadata[METADATA]}). "
            "Give the dataset they were added to by --source"
        )
    train = dataset.splits.get(TRAIN, [])
    known = [e.id for e in train]
    if unknown := [i for i in clean if i not in known]:
        raise DataError(
            f"--clean names {', '.join(unknown)}, not in the training split of {dataset.name}, which has: "
            f"{', '.join(known) or 'no images'}"
        )
    if not set(known) - set(clean):
        raise DataError(
            f"{dataset.name}: no training image is left to change: it has {len(known)}, and --clean names "
            "them all. Name fewer, or another dataset"
        )
    examples, counts = [], Counter[str]()
    for example in train:
        if example.id not in clean:
            labels, of_image = corrupt(
                example.label_map,
                _generator(seed, example.id),
                rate=rate,
                shift_px=shift_px,
                dilate_px=dilate_px,
            )
            example = dataclasses.replace(example.loaded(), label_map=labels)
            counts.update(of_image)
        examples.append(example)
    noise = {
        "rate": rate,
        "shift_px": shift_px,
        "dilate_px": dilate_px,
        "seed": seed,
        "clean": sorted(set(clean)),
    }
    noisy = Dataset(dataset.name, {**dataset.splits, TRAIN: examples}, {**dataset.metadata, METADATA: noise})
    return noisy, dict(counts)


def _check_errors(rate: float, shift_px: int, dilate_px: int) -> None:
    """Raise UserError for a value out of its range."""
    if not 0 <= len(KINDS) * rate <= 1:
        raise UserError(
            f"--rate must be from 0 to 1/3, got {rate}: each of 3 kinds of error has this share of the nuclei"
        )
    for option, value in (("--shift-px", shift_px), ("--dilate-px", dilate_px)):
        if value < 1:
            raise UserError(f"{option} must be at least 1 pixel, got {value}")


def _generator(seed: int, image_id: str) -> np.random.Generator:
    """The random numbers of an image."""
    digest = hashlib.sha256(image_id.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def _paint(
    label_map: NDArray[np.int32], nucleus: int, pixels: NDArray[np.intp], ways: NDArray[np.intp]
) -> None:
    """Paint every pixel [N, 2], moved every way [M, 2], where the map is background; changes it."""
    moved = (pixels[:, None] + ways[None]).reshape(-1, 2)
    rows, columns = moved[((moved >= 0) & (moved < label_map.shape)).all(axis=1)].T
    free = label_map[rows, columns] == 0
    label_map[rows[free], columns[free]] = nucleus


def copy_with_errors(
    source_dir: Path,
    out: Path,
    *,
    dataset: str,
    split: str,
    stain: str,
    size: int | None,
    rate: float,
    shift_px: int,
    dilate_px: int,
    seed: int,
    clean: Sequence[str],
    overwrite: bool,
) -> None:
    """Copy a packed dataset with errors in its training labels; prints what was made.

    Args:
      source_dir: folder of packed datasets.
      out: another one, for the copy.
      dataset, split, stain, size: as it was packed.
      rate, shift_px, dilate_px, seed, clean: as for `add_noise`.
      overwrite: do it again.

    Raises:
      UserError: no such packed dataset, a number out of its range, or the copy is there.
    """
    name = data.dataset_name(ConfigDict({"dataset": dataset, "split": split, "stain": stain, "size": size}))
    source, folder = source_dir / name, out / name
    if not packed.is_packed(source):
        raise DataError(
            f"{source}: no packed dataset. Make it with `nucseg prepare pack`, or give the folder that "
            "was its --out by --source"
        )
    if source.resolve().is_relative_to(folder.resolve()):  # whatever --overwrite says
        raise UserError(f"{folder}: is the source, or holds it. Give another --out")
    noisy, counts = add_noise(
        packed.read(source),
        rate=rate,
        shift_px=shift_px,
        dilate_px=dilate_px,
        seed=seed,
        clean=clean,
    )
    packed.write(noisy, folder, overwrite=overwrite)
    images, sound = len(noisy.splits[TRAIN]), len(set(clean))
    print(f"wrote {shown(folder)}")
    print(f"  {images - sound} of {images} training images changed, with {counts['nuclei']} nuclei:")
    for kind in KINDS:
        hidden = f" ({counts['hidden']} of them with nothing left)" if kind == "shifted" else ""
        print(f"  {counts[kind]} {kind}{hidden}")


def main(arguments: Sequence[str] | None = None) -> None:
    """`nucseg prepare label-noise`."""
    from nucseg_jax.cli import door

    door("prepare", "label-noise", arguments=arguments)


if __name__ == "__main__":
    main()
