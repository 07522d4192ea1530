"""The datasets of `fine_tuning`: an image with a few annotated regions, and other images to score.

The regions and their nuclei are written as QuPath exports them, and prepared as a laboratory's are.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from skimage.measure import find_contours, regionprops

from data_prep.label_files import read_labels
from data_prep.manifest import ImageEntry, Manifest, load
from data_prep.sources import Pair, scan

MPP, IMAGE_PX, REGION_PX, WORKING_PX = 0.25, 1000, 256, 500
"""µm a pixel of the images; sides of an image and of a region there; of an image as the network sees it."""

FEWEST_NUCLEI = 5
MONUSEG = "monuseg"


class Annotated(NamedTuple):
    """An image that is annotated in part.

    Attributes:
      entry: of the manifest.
      corners: (top, left) of its regions.
    """

    entry: ImageEntry
    corners: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Sources:
    """Where images come from.

    Attributes:
      monuseg: folder of MoNuSeg.
      others: folders of more images to train the base on.
      manifest: of all of them.
    """

    monuseg: Path
    others: tuple[Path, ...]
    manifest: Path

    def images_of(self, organ: str) -> list[ImageEntry]:
        """MoNuSeg's images of an organ, in the order of their ids."""
        found = [e for e in load(self.manifest).images if e.organ == organ and e.source == MONUSEG]
        return sorted(found, key=lambda entry: entry.id)

    def files(self, image_id: str) -> Pair:
        """The image and its annotation."""
        return scan(self.monuseg).pairs([image_id])[image_id]

    def outlines(self, image_id: str) -> list[shapely.Polygon]:
        """The nuclei of an image, as polygons in pixels; of one in several parts the largest."""
        path = self.files(image_id).label
        drawing = read_labels(path, (IMAGE_PX, IMAGE_PX), mpp=MPP)
        polygons = []
        for nucleus in regionprops(drawing.labels):
            top, left = nucleus.bbox[:2]
            contours = find_contours(np.pad(nucleus.image, 1).astype(float), 0.5)
            # From centres of pixels, of which the first is padding, to their corners.
            parts = [shapely.Polygon(c[:, ::-1] + (left - 0.5, top - 0.5)) for c in contours if len(c) > 3]
            polygons.append(max(parts, key=lambda part: part.area))
        return polygons

    def random_corners(self, image_id: str, count: int, seed: int) -> tuple[tuple[int, int], ...]:
        """(top, left) of regions that have nuclei and do not overlap. The first ones are those of fewer."""
        draw = np.random.default_rng((seed, 22))
        outlines = self.outlines(image_id)
        chosen: list[tuple[int, int]] = []
        while len(chosen) < count:
            top, left = (int(v) for v in draw.integers(0, IMAGE_PX - REGION_PX + 1, 2))
            apart = all(max(abs(top - t), abs(left - x)) >= REGION_PX for t, x in chosen)
            if apart and sum(map(region((top, left)).intersects, outlines)) >= FEWEST_NUCLEI:
                chosen.append((top, left))
        return tuple(chosen)


def region(corner: tuple[int, int]) -> shapely.Polygon:
    """The outline of a region in pixels, by its (top, left)."""
    top, left = corner
    return shapely.box(left, top, left + REGION_PX, top + REGION_PX)


def prepare_base(sources: Sources, organ: str, out: Path) -> str:
    """Prepare all images but those of an organ, all to train; returns the dataset's name."""
    known = load(sources.manifest)
    kept = tuple(entry for entry in known.images if entry.organ != organ)
    manifest = Manifest(f"no_{organ}", f"All images but those of {organ}.", kept[0].id, kept)
    return _prepare(manifest, [sources.monuseg, *sources.others], out, "--no-test")


def prepare_annotated(
    sources: Sources, image: Annotated, scored: Sequence[ImageEntry], name: str, out: Path
) -> str:
    """Prepare an image that is annotated in its regions only, and images to score; returns the name."""
    folder = out / "sources" / name
    _link(folder / "images", sources.files(image.entry.id).image)
    for entry in scored:
        files = sources.files(entry.id)
        _link(folder / "images", files.image)
        _link(folder / "labels", files.label)
    outlines = sources.outlines(image.entry.id)
    inside = [o for o in outlines if any(region(c).intersects(o) for c in image.corners)]
    features = [_feature(region(corner), "annotation", "Region*") for corner in image.corners]
    features += [_feature(outline, "annotation", "Nucleus") for outline in inside]
    collection = {"type": "FeatureCollection", "features": features}
    (folder / f"{image.entry.id}.geojson").write_text(json.dumps(collection), encoding="utf-8")
    entries = [_in_split(image.entry, "train"), *(_in_split(entry, "test") for entry in scored)]
    manifest = Manifest(name, f"{image.entry.organ}, annotated in part.", image.entry.id, tuple(entries))
    return _prepare(manifest, [folder], out)


def _in_split(entry: ImageEntry, split: str) -> ImageEntry:
    return ImageEntry(entry.id, split, entry.organ, entry.sha256)


def _feature(outline: shapely.Polygon, kind: str, name: str) -> dict[str, Any]:
    properties = {"objectType": kind, "classification": {"name": name, "color": [200, 0, 0]}}
    return {"type": "Feature", "geometry": shapely.geometry.mapping(outline), "properties": properties}


def _link(folder: Path, file: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / file.name).exists():
        (folder / file.name).symlink_to(file)


def _prepare(manifest: Manifest, folders: Sequence[Path], out: Path, *options: str) -> str:
    """Prepare a dataset unless it is there; returns the name of its split."""
    file = out / "manifests" / f"{manifest.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(manifest.to_json()), encoding="utf-8")
    command = [sys.executable, "-m", "data_prep.folder", "--source", *map(str, folders)]
    command += [
        "--manifest",
        str(file),
        "--name",
        manifest.name,
        "--stain",
        "none",
        "--out",
        str(out / "data"),
    ]
    command += ["--size", str(WORKING_PX), "--mpp", str(MPP), *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return manifest.name
