"""What each object of a QuPath file is: a nucleus, a region that is annotated, or neither.

Decided in this order (classes without regard to case, the objects in the order of the file):

  1. An object whose class is `Region*`, `Region`, or one that the user names is a **region**: within regions
     all nuclei are annotated, outside of them nothing is. A file without regions annotates the whole image.
  2. An object whose class is `Ignore`, or another that ends with an asterisk (QuPath's mark of classes that
     are not to be measured), is **ignored**: its pixels are not annotated.
  3. Detections are **nuclei**; of a cell, its `nucleusGeometry` is one, and its own outline is not.
  4. An annotation without a class that detections lie in is a region: the one they were detected in.
  5. Other annotations are nuclei, unless they look like a region (`_looks_like_region`): those are refused,
     since whoever drew them must say which.

Tiles, cores of a TMA, points and lines are left out, and counted.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from nucseg_jax.errors import in_short
from nucseg_jax.io.geojson_files import Area, Feature, NoArea, area_of, has_lines_or_points, is_area

from .annotations import AnnotationError

LARGEST_UM2 = 2000.0
"""Of a nucleus: that of a circle of 50 µm, which few nuclei reach."""

_SPARSE = 0.5  # other outlines cover less of what they lie in, if that is no nucleus
_REGION, _IGNORE = "region", "ignore"
_NEVER = ("tile", "tmaCore", "root")
NEVER = "tiles, cores, points or lines, left out"
"""Of `Objects.told`."""

Kind = Literal["nucleus", "region", "ignored"]


@dataclass
class Objects:
    """The objects of a file, sorted.

    Attributes:
      nuclei: their areas, in the order of the file.
      regions: that are annotated; empty where all of the image is.
      ignored: areas that are not annotated.
      skipped: why outlines of nuclei cannot be used → how many.
      told: what else a user should be told → of how many objects.
      kinds: what a feature is, by its number. The nuclei among them are in the order of `nuclei`, the regions
        in that of `regions`, those that are ignored in that of `ignored`.
    """

    nuclei: list[BaseGeometry] = field(default_factory=list)
    regions: list[BaseGeometry] = field(default_factory=list)
    ignored: list[BaseGeometry] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    kinds: dict[int, Kind] = field(default_factory=dict)

    def add(self, feature: Feature, kind: Kind, area: BaseGeometry) -> None:
        """Sort in a feature."""
        self._of(kind).append(area)
        self.kinds[feature.number] = kind

    def areas(self, kind: Kind) -> dict[int, BaseGeometry]:
        """The areas of one kind, by the numbers of their features."""
        numbers = [number for number, other in self.kinds.items() if other == kind]
        return dict(zip(numbers, self._of(kind), strict=True))

    def _of(self, kind: Kind) -> list[BaseGeometry]:
        return {"nucleus": self.nuclei, "region": self.regions, "ignored": self.ignored}[kind]


@dataclass(frozen=True)
class _Outline:
    """An object that may be a nucleus: a detection, or an annotation."""

    feature: Feature
    area: BaseGeometry

    @property
    def detected(self) -> bool:
        return self.feature.kind in ("detection", "cell")


def sort(
    features: Sequence[Feature], path: Path, *, mpp: float, region_classes: Sequence[str] = ()
) -> Objects:
    """Sort the objects of a file.

    Args:
      features: of the file.
      path: of the file, for messages.
      mpp: µm a pixel of the image.
      region_classes: names of further classes of regions.

    Raises:
      AnnotationError: an annotation may be a nucleus or a region; the outline of a region cannot be used.
    """
    found = Objects()
    named = {plain_class(name) for name in (_REGION, *region_classes)}
    outlines: list[_Outline] = []
    for feature in features:
        plain = plain_class(feature.classification)
        if feature.kind in _NEVER or not (feature.nucleus or is_area(feature.geometry)):
            found.told[NEVER] += 1
        elif plain in named:
            found.add(feature, "region", _needed(feature, path, found))
        elif plain == _IGNORE or feature.classification.endswith("*"):
            found.add(feature, "ignored", _needed(feature, path, found))
        else:
            outlines += _nucleus(feature, found)
    _decide(outlines, found, path, mpp)
    if found.regions:
        found.told["regions, outside of which nothing is annotated"] += len(found.regions)
    if found.ignored:
        found.told["objects of a class like Ignore*, in which nothing is annotated"] += len(found.ignored)
    return found


def plain_class(name: str) -> str:
    """The name of a class without its asterisk and its case."""
    return name.strip().removesuffix("*").strip().casefold()


def _needed(feature: Feature, path: Path, found: Objects) -> BaseGeometry:
    """The area of a region, or one that is ignored; without it, pixels would count that must not."""
    try:
        drawn = area_of(feature.geometry)
    except NoArea as error:
        raise AnnotationError(
            f"{path}: {feature.label}: {error}. Draw it again in QuPath, or take it out of the file"
        ) from error
    _tell_mended(drawn, found)
    return drawn.area


def _nucleus(feature: Feature, found: Objects) -> Iterator[_Outline]:
    """An object that may be a nucleus; nothing where it is skipped."""
    geometry = feature.nucleus if feature.kind == "cell" else feature.geometry
    if not geometry:
        found.skipped["cells without an outline of the nucleus"] += 1
        return
    try:
        drawn = area_of(geometry)
    except NoArea as error:
        found.skipped[error.reason] += 1
        return
    _tell_mended(drawn, found)
    yield _Outline(feature, drawn.area)


def _tell_mended(found_area: Area, found: Objects) -> None:
    if not found_area.drawn.is_valid:
        found.told["outlines that cross themselves, made valid"] += 1
    if has_lines_or_points(found_area.drawn):
        found.told["outlines with lines or points beside their areas, which are left out"] += 1


def _decide(outlines: Sequence[_Outline], found: Objects, path: Path, mpp: float) -> None:
    """Add each outline to the nuclei or to the regions.

    Raises:
      AnnotationError: an annotation may be either.
    """
    if not outlines:
        return
    areas = np.array([outline.area for outline in outlines], dtype=object)
    sizes_um2 = shapely.area(areas) * mpp**2
    held = _held(outlines, areas)
    doubtful: list[str] = []
    for i, outline in enumerate(outlines):
        inside = held.get(i, [])
        detected = sum(outlines[other].detected for other in inside)
        if outline.detected or not _looks_like_region(sizes_um2[i], sizes_um2[inside], detected):
            found.add(outline.feature, "nucleus", outline.area)
        elif not outline.feature.classification and detected > (sizes_um2[i] <= LARGEST_UM2):
            # In a small area two must be detected: one may be a nucleus that was drawn again, larger.
            found.add(outline.feature, "region", outline.area)
        else:
            doubtful.append(_doubt(outline.feature, sizes_um2[i], len(inside)))
    if doubtful:
        more = f" (as may {len(doubtful) - 1} more of the file)" if len(doubtful) > 1 else ""
        raise AnnotationError(f"{path}: {doubtful[0].replace('…', more)}")


def _held(outlines: Sequence[_Outline], areas: np.ndarray) -> dict[int, list[int]]:
    """By annotation, the other outlines whose middles lie in it."""
    drawn = [i for i, outline in enumerate(outlines) if not outline.detected]
    middles = shapely.STRtree(shapely.centroid(areas))
    held: dict[int, list[int]] = {}
    for which, other in middles.query(areas[drawn], predicate="contains").T.tolist():
        if drawn[which] != other:
            held.setdefault(drawn[which], []).append(other)
    return held


def _looks_like_region(size_um2: float, inside_um2: np.ndarray, detected: int) -> bool:
    """Whether an annotation is too large for a nucleus, or others lie in it with room between them.

    Args:
      size_um2: of it, µm².
      inside_um2: of the others that lie in it. One that was drawn may be a nucleus in a nucleus.
      detected: how many of them were detected, and not drawn.
    """
    holds = len(inside_um2) > 1 or detected
    return bool(size_um2 > LARGEST_UM2 or (holds and inside_um2.sum() < _SPARSE * size_um2))


def _doubt(feature: Feature, size_um2: float, inside: int) -> str:
    """Why an annotation may be a nucleus or a region, and what to do; … stands for how many more may."""
    name = in_short(feature.classification)
    of_class = f"of the class {name}" if name else "without a class"
    holds = f" with {inside} other outlines in it" if inside else ""
    by_option = f", or give --region-class {name!r}" if name else ""
    return (
        f"{feature.label}: an annotation {of_class}, of {size_um2:,.0f} µm²{holds}, may be a nucleus or a "
        f"region…. If it is a region in which all nuclei are annotated, give it the class Region* in QuPath"
        f"{by_option}; else take it out of the file"
    )
