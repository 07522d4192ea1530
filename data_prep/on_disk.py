"""Prepared datasets on disk: made unless they are there, and what is told of them."""

import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nucseg_jax import data
from nucseg_jax.data import tfds
from nucseg_jax.data.dataset import TRAIN, default_source, shown_sources
from nucseg_jax.errors import DataError, listed, shown
from nucseg_jax.io.files import filled_folder, replacing_folder
from nucseg_jax.io.leftovers import remove_leftovers
from nucseg_jax.io.locks import alone, lock_beside
from nucseg_jax.nuclei import TYPICAL_MPP

from . import sources
from .annotations import shown_counts
from .builder import NucleiBuilder

_SHOWN_NOTES = 5
"""Images of which it is said what was done about their pixels; metadata.json has all."""

_ROUNDING = 1e-4
"""Of µm a pixel, which files state as whole numbers of pixels a metre or as fractions."""


def build(
    make_builder: Callable[[Path], NucleiBuilder],
    out: Path | None,
    folders: Sequence[Path],
    *,
    overwrite: bool,
) -> None:
    """Prepare a dataset on disk unless it is there, and print what was made.

    Args:
      make_builder: makes the builder for a folder of prepared datasets; it reads the dataset that is there.
      out: folder for prepared datasets; None: TFDS's.
      folders: those with the raw files.
      overwrite: do it again. A finished dataset is replaced when the new one is complete, a damaged one, too.

    Raises:
      DataError: see `prepare.plan`; or the dataset is there, but damaged, or made from another recipe.
      InUseError: another process prepares it.
    """
    root = data.root_of(out)
    with tempfile.TemporaryDirectory() as empty:  # what is in `root` may be damaged
        asked = make_builder(Path(empty))
        final = root / Path(asked.data_path).relative_to(empty)
    remove_leftovers(final)
    if final.exists() and not overwrite:
        _tell_prepared(final, asked)
        return
    # The commonest error, found before the slow import of TensorFlow.
    sources.scan(*folders).pairs(entry.id for entry in asked.builder_config.manifest.images)
    with filled_folder(final.parent), alone(lock_beside(final), final, print):
        if final.exists() and not overwrite:  # another process has just prepared it
            _tell_prepared(final, asked)
            return
        remove_leftovers(final)
        _replace(final, root, make_builder, folders)
    print("\n".join(map(shown, _summary(final, asked))))


def _tell_prepared(final: Path, asked: NucleiBuilder) -> None:
    """Print that a dataset is there; DataError where it is damaged, or was made from another recipe."""
    metadata = tfds.read_metadata(final)
    _check_recipe(final, metadata, asked)
    print(shown(f"{final}: already prepared, nothing to do (--overwrite prepares it again)"))
    if "mpp" not in metadata:
        print(
            f"{shown(final)}: an earlier release prepared it and recorded no µm a pixel, so "
            f"{TYPICAL_MPP:g} (40×) is taken. --overwrite records it"
        )


def _replace(
    final: Path, root: Path, make_builder: Callable[[Path], NucleiBuilder], folders: Sequence[Path]
) -> None:
    """Prepare a dataset in a temporary folder, and give it its name when it is complete."""
    with replacing_folder(final) as temporary:
        fresh = make_builder(temporary / "root")  # below which TFDS makes folders of its own
        fresh.cache = root / "cache"
        fresh.prepare_from(folders)
        for path in Path(fresh.data_path).iterdir():
            os.replace(path, temporary / path.name)
        shutil.rmtree(temporary / "root")


def _check_recipe(final: Path, metadata: Mapping[str, Any], asked: NucleiBuilder) -> None:
    wanted = asked.recipe()
    before: dict[str, Any] = {"region_classes": []}  # what earlier releases did not record
    different = [key for key in wanted if metadata.get(key, before.get(key)) != wanted[key]]
    mpp = asked.builder_config.mpp
    if mpp is not None and not math.isclose(mpp, metadata.get("mpp", 0), rel_tol=_ROUNDING):
        different.append("mpp")
    white = asked.builder_config.white
    if white is not None and white != metadata.get("white"):
        different.append("white")
    if different:
        raise DataError(
            f"{final}: already prepared with another {' and '.join(different)}. "
            "Give --overwrite to prepare it again, or another --out"
        )


def _summary(final: Path, asked: NucleiBuilder) -> Iterator[str]:
    metadata, manifest = tfds.read_metadata(final), asked.builder_config.manifest
    yield f"prepared {final}"
    otherwise = ". Give another with --mpp" if metadata["mpp_source"].startswith("assumed") else ""
    yield f"  {metadata['mpp']:.4g} µm a pixel: {metadata['mpp_source']}{otherwise}"
    for key in ("resolution_notes", "white_notes"):
        yield from (f"  {note}" for note in metadata.get(key, ()))
    yield from _image_notes(metadata["image_notes"])
    yield from _skipped(metadata["skipped_outlines"])
    yield from _told(metadata["object_notes"])
    yield from _annotated(metadata["annotated"], metadata["annotated_share"])
    yield from _vanished(metadata["vanished_nuclei"], metadata["nuclei"])
    default = default_source(f"{asked.name}/", metadata)
    for split in manifest.splits:
        entries = manifest.in_split(split)
        nuclei = sum(metadata["nuclei"][entry.id] for entry in entries)
        of_sources = shown_sources([entry.source or default for entry in entries])
        vanished = sum(metadata["vanished_nuclei"].get(entry.id, 0) for entry in entries)
        after = f", {nuclei - vanished} after scaling" if vanished else ""
        yield f"  {split}: {len(entries)} images{of_sources}, {nuclei} nuclei{after}"
    if manifest.splits == (TRAIN,):
        yield "  no image is for testing: scores need another dataset"
    unknown = [entry.id for entry in manifest.images if not entry.sha256]
    if unknown:
        yield "SHA-256 of the images for which the manifest has none:"
        yield from (f"  {image_id} {metadata['sha256'][image_id]}" for image_id in unknown)


def _image_notes(notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What was done about the pixels of some images, by their ids."""
    for image_id in list(notes)[:_SHOWN_NOTES]:
        yield from (f"  {image_id}: {note}" for note in notes[image_id])
    if len(notes) > _SHOWN_NOTES:
        yield f"  … and of {len(notes) - _SHOWN_NOTES} more images: see image_notes in metadata.json"


def _vanished(by_image: Mapping[str, int], nuclei: Mapping[str, int]) -> Iterator[str]:
    """How many nuclei have no pixel in the label maps that were scaled, by image."""
    if by_image:
        worst = sorted(by_image, key=lambda i: -by_image[i])
        counts = listed([f"{i} {by_image[i]} of {nuclei[i]}" for i in worst], _SHOWN_NOTES)
        yield (
            f"  {sum(by_image.values())} nuclei are too small for --size, so that nothing of them is trained "
            f"on: {counts} (vanished_nuclei in metadata.json)"
        )


def _skipped(by_image: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """How many outlines are no nuclei of the dataset, and why, in all and by image."""
    if not by_image:
        return
    total: Counter[str] = Counter()
    for of_image in by_image.values():
        total.update(of_image["skipped"])
    yield f"  skipped {total.total()} outlines of {len(by_image)} images: {shown_counts(total)}"
    worst = sorted(by_image, key=lambda i: -sum(by_image[i]["skipped"].values()))
    counts = (f"{i} {sum(by_image[i]['skipped'].values())} of {by_image[i]['outlines']}" for i in worst)
    yield f"    {listed(list(counts), _SHOWN_NOTES)} (skipped_outlines in metadata.json)"


def _told(by_image: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """What was done with objects of GeoJSON, in all."""
    total: Counter[str] = Counter()
    for of_image in by_image.values():
        total.update(of_image)
    yield from (f"  {count} {what}" for what, count in total.items())
    if total:
        yield "    (by image: object_notes in metadata.json)"


def _annotated(by_image: Mapping[str, float], share: float) -> Iterator[str]:
    """How much is annotated, where that is not all: of the whole dataset, and by image."""
    if by_image:
        least = sorted(by_image, key=by_image.__getitem__)
        shares = listed([f"{i} {_percent(by_image[i])}" for i in least], _SHOWN_NOTES)
        yield f"  {_percent(share)} of the pixels are annotated; of {len(by_image)} images a part: {shares}"


def _percent(share: float) -> str:
    """Such as "12 %", with a digit after the point below 1 %."""
    return f"{share:.1%}" if share < 0.01 else f"{share:.0%}"
