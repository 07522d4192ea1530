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
from xml.etree import ElementTree

import numpy as np
import shapely

from data_prep.manifest import ImageEntry, Manifest, load

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
      monuseg: folder of MoNuSeg, with `Tissue Images` and `Annotations`.
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

    def outlines(self, image_id: str) -> list[shapely.Polygon]:
        """The nuclei of an image; outlines that are no area are left out."""
        root = ElementTree.parse(self.monuseg / "Annotations" / f"{image_id}.xml").getroot()
        polygons = []
        for region in root.iter("Region"):
            points = [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iter("Vertex")]
            if len(points) >= 3 and (polygon := shapely.Polygon(points)).area > 0:
                polygons.append(polygon)
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
    folder.mkdir(parents=True, exist_ok=True)
    for entry in (image.entry, *scored):
        _link(folder / f"{entry.id}.tif", sources.monuseg / "Tissue Images" / f"{entry.id}.tif")
    for entry in scored:
        _link(folder / f"{entry.id}.xml", sources.monuseg / "Annotations" / f"{entry.id}.xml")
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


def _link(link: Path, target: Path) -> None:
    if not link.exists():
        link.symlink_to(target)


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
