"""From the files of a dataset to its examples: read, check, normalise the stain, resize."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from nucseg_jax.data.dataset import Example
from nucseg_jax.errors import DataError
from nucseg_jax.io.images import pixel_sha256
from nucseg_jax.slides import read_image, shared_white
from nucseg_jax.slides.reader import Resolution
from nucseg_jax.slides.resolution import check_prepared

from . import microns, normalize, sources
from .label_files import read_labels, verify_labels
from .manifest import ImageEntry, Manifest
from .normalize import Normalizer
from .resizing import resize_image, resize_labels, resize_mask
from .sources import Pair


@dataclass
class Preparation:
    """A dataset whose files were all found, readable and those of the manifest; made by `plan`.

    Attributes:
      source: of the images whose manifest names none.
      resolution: of the images as they came; its `mpp` is never None.
      resolution_notes: what a user should be told of it.
      normalizer: None where the stain stays as it is.
      white: the value that is white in images of 16 bits; None where there are none, or each has its own.
      white_notes: what a user should be told of that.
      sha256: of every image, computed.
      notes: by id what was done about an image's pixels, or left undone, of those with something to tell.
      skipped: by id the `outlines` of an annotation file, and by reason those of them that were `skipped`, of
        images with some.
      told: by id what else is to be told of its objects → of how many, of images with something to tell.
      annotated: by id the share of the pixels that are annotated, of images of which some are not.
      annotated_share: of the pixels of all images, in 0 … 1.
      region_classes: names of classes of regions, besides Region*.
    """

    manifest: Manifest
    source: str
    pairs: dict[str, Pair]
    size: int | None
    resolution: Resolution
    normalizer: Normalizer | None
    resolution_notes: tuple[str, ...] = ()
    white: int | None = None
    white_notes: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: dict[str, dict[str, Any]] = field(default_factory=dict)
    told: dict[str, dict[str, int]] = field(default_factory=dict)
    annotated: dict[str, float] = field(default_factory=dict)
    annotated_share: float = 1.0
    region_classes: tuple[str, ...] = ()

    def examples(self, split: str) -> Iterator[Example]:
        """The examples of one split, in the order of the manifest."""
        for entry in self.manifest.in_split(split):
            yield self._example(entry)

    def _example(self, entry: ImageEntry) -> Example:
        pair = self.pairs[entry.id]
        original = read_image(pair.image, white=self.white).pixels
        shape = original.shape[0], original.shape[1]
        assert self.resolution.mpp is not None
        drawing = read_labels(pair.label, shape, mpp=self.resolution.mpp, region_classes=self.region_classes)
        labels, unannotated = drawing.labels, drawing.unannotated
        image = self.normalizer(original, entry.id) if self.normalizer else original
        return Example(
            id=entry.id,
            organ=entry.organ,
            image=resize_image(image, self.size) if self.size else image,
            label_map=resize_labels(labels, self.size) if self.size else labels,
            original_image=original,
            original_label_map=labels,
            source=entry.source or self.source,
            unannotated=resize_mask(unannotated, self.size) if self.size else unannotated,
            original_unannotated=unannotated,
        )


def plan(
    manifest: Manifest,
    folders: Sequence[Path],
    *,
    source: str,
    stain: str,
    stain_backend: str,
    size: int | None,
    cache: Path,
    mpp: float | None = None,
    white: int | None = None,
    region_classes: Sequence[str] = (),
) -> Preparation:
    """Find and check every file of a dataset, before any slow step.

    Args:
      manifest: the images and their splits.
      folders: hold the files, each in one of the layouts of `data_prep.sources`.
      source: of the images whose manifest names none.
      stain: one of `normalize.METHODS`.
      stain_backend: one of `normalize.BACKENDS`.
      size: side of the prepared images in pixels, or None to keep each image's own.
      cache: the folder that keeps staintools' images between runs.
      mpp: µm a pixel of all images as they came; None to look in the files (`microns`).
      white: the value that is white in images of 16 bits; None to look for it (`slides.shared_white`).
      region_classes: names of classes of regions in GeoJSON, besides Region*.

    Raises:
      DataError: one error that lists all missing files, or all images that are unreadable, have other
        pixels than the manifest says, or are not square where a size is asked for; an id in several folders;
        no stain target; a label map that is none, or a mask; outlines of which most cannot be used, or that
        may be nuclei or regions; images of different resolutions, or, where a size is asked for, of different
        sides; a size at which nuclei cannot be seen.
      UserError: `mpp` or `white` is out of range; no object has a class of `region_classes`.
    """
    if stain not in normalize.METHODS:
        raise DataError(f"stain {stain!r} is unknown. Choose one of {', '.join(normalize.METHODS)}")
    if stain != "none" and not manifest.stain_target:
        raise DataError(
            f"stain {stain} needs a target, but manifest {manifest.name!r} names none. Set its "
            "stain_target to the id of a typical training image, or prepare with --stain none"
        )
    found = sources.scan(*folders)
    pairs = found.pairs(entry.id for entry in manifest.images)
    shared, said = (white, ()) if white else shared_white.find(pair.image for pair in pairs.values())
    facts = _verify(manifest, pairs, size, shared)
    resolution = microns.of_images({pairs[i].image: image.resolution for i, image in facts.items()}, mpp)
    assert resolution.mpp is not None  # it is assumed, where nothing states it
    labels = verify_labels(
        {i: (pairs[i].label, image.shape) for i, image in facts.items()}, resolution.mpp, region_classes
    )
    if size:
        side = next(iter(facts.values())).shape[0]
        check_prepared(resolution.mpp * side / size, manifest.name)
    normalizer = None
    if stain != "none":
        target = manifest.stain_target
        pixels = read_image(pairs[target].image, white=shared).pixels
        normalizer = normalize.fit(stain, stain_backend, pixels, target, cache)
    return Preparation(
        manifest,
        source,
        pairs,
        size,
        resolution,
        normalizer,
        microns.of_annotations(labels.mpp, resolution.mpp),
        shared,
        white_notes=said,
        sha256={i: image.sha256 for i, image in facts.items()},
        notes={i: image.notes for i, image in facts.items() if image.notes},
        skipped=labels.skipped,
        told=labels.told,
        annotated=labels.annotated,
        annotated_share=labels.annotated_share({i: image.shape for i, image in facts.items()}),
        region_classes=tuple(region_classes),
    )


class _ImageFacts(NamedTuple):
    """What is kept of an image that was read."""

    shape: tuple[int, int]
    sha256: str
    resolution: Resolution
    notes: tuple[str, ...]


def _verify(
    manifest: Manifest, pairs: dict[str, Pair], size: int | None, white: int | None
) -> dict[str, _ImageFacts]:
    """Read every image once; returns the facts of each."""
    facts: dict[str, _ImageFacts] = {}
    computed: dict[str, str] = {}
    sides: dict[Path, int] = {}
    problems = []
    for entry in manifest.images:
        path = pairs[entry.id].image
        try:
            image, resolution, notes = read_image(path, white=white)
        except DataError as error:
            problems.append(str(error))
            continue
        computed[entry.id] = pixel_sha256(image)
        facts[entry.id] = _ImageFacts(image.shape[:2], computed[entry.id], resolution, notes)
        sides[path] = image.shape[0]
        if entry.sha256 and computed[entry.id] != entry.sha256:
            problems.append(
                f"{path}: pixels have SHA-256 {computed[entry.id]}, expected {entry.sha256}"
                f"{_namesake(manifest, computed[entry.id])}"
            )
        if size and image.shape[0] != image.shape[1]:
            problems.append(
                f"{path}: is {image.shape[0]} x {image.shape[1]}, and would be distorted at "
                f"{size} x {size}. Crop it to a square, or keep the original size"
            )
    problems += _repeated(manifest, pairs, computed)
    if problems:
        raise DataError(
            f"{len(problems)} of {len(manifest.images)} images of {manifest.name!r} cannot be used:",
            *(f"  {problem}" for problem in problems),
            "Where the pixels differ, the file is another version of the image (several are "
            "in circulation): download the official one, or write a manifest of your own for "
            "data_prep.folder",
        )
    if size:
        _check_sides(sides, size)
    return facts


def _check_sides(sides: dict[Path, int], size: int) -> None:
    """Raise DataError unless all images are enlarged or reduced alike."""
    smallest, largest = min(sides, key=sides.__getitem__), max(sides, key=sides.__getitem__)
    if sides[largest] > microns.SAME * sides[smallest]:
        raise DataError(
            f"{largest}: is {sides[largest]} pixels wide, but {smallest} is {sides[smallest]}: rescaled to "
            f"--size {size}, they would have different µm a pixel. Cut them to one size, prepare them apart, "
            "or keep their own sizes (data_prep.folder without --size)"
        )


def _repeated(manifest: Manifest, pairs: dict[str, Pair], sha256: dict[str, str]) -> list[str]:
    """Images under two ids: in two splits they would be scored on what was learned of them."""
    first: dict[str, ImageEntry] = {}
    problems = []
    for entry in manifest.images:
        same = first.setdefault(sha256.get(entry.id, entry.id), entry)
        if same is not entry:
            problems.append(
                f"{pairs[entry.id].image} ({entry.split}): has the pixels of {pairs[same.id].image} "
                f"({same.split}). Leave one of them out"
            )
    return problems


def _namesake(manifest: Manifest, sha256: str) -> str:
    """A hint where the pixels are those of another image of the manifest."""
    for entry in manifest.images:
        if entry.sha256 == sha256:
            return f" (these are the pixels of {entry.id}: was the file renamed?)"
    return ""
