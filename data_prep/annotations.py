"""Aperio ImageScope annotations (XML polygons) to an integer label map.

MoNuSeg's ground truth is what its MATLAB code makes of the polygons: every ``Region`` of the file, in
order, through ``poly2mask``; where polygons overlap the first one wins.
"""

import math
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np

from nucseg_jax.errors import DataError, MissingExtraError

from .poly2mask import polygon_mask

try:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse
except ImportError as error:
    raise MissingExtraError("data", error) from error

__all__ = [
    "AnnotationError",
    "AnnotationWarning",
    "Drawing",
    "check_usable",
    "draw",
    "nothing_drawn",
    "paint",
    "rasterize",
    "shown_counts",
]

_CHECK = "Check that the annotation is of this image, and at its resolution"


class AnnotationError(DataError):
    """An annotation file cannot be used."""


class AnnotationWarning(UserWarning):
    """Outlines of an annotation file were skipped; the message counts them."""


def rasterize(xml_path: str | os.PathLike[str], shape: tuple[int, int]) -> np.ndarray:
    """Draw the polygons of an ImageScope file as the MoNuSeg challenge does.

    Args:
      xml_path: the annotation file. ``NegativeROA`` is ignored, as in the challenge's code.
      shape: (height, width) of the image in pixels; polygons are clipped to it.

    Returns:
      int32 [height, width]: 0 is background, nuclei are 1..N in the order of the file. A pixel of two
      polygons belongs to the first.

    Warns:
      AnnotationWarning: once, counting the outlines that were skipped: fewer than three vertices,
        coordinates that are no finite numbers, no pixel in the image, wholly covered by earlier ones.

    Raises:
      AnnotationError: the file is missing, malformed, hostile or has no ``Region``, or all are skipped.

    Source: Kumar et al., IEEE TMI 36(7), 2017, and the challenge's MATLAB code.
    """
    drawing = draw(xml_path, shape)
    if drawing.skipped:
        warnings.warn(f"{xml_path}: {drawing.said_of_skipped()}", AnnotationWarning, stacklevel=2)
    return drawing.labels


class Drawing(NamedTuple):
    """The nuclei of an annotation file.

    Attributes:
      labels: int32 [height, width], as `rasterize` returns them.
      outlines: of nuclei, in the file.
      skipped: why outlines were skipped → how many.
      mpp: µm a pixel that the file states; None where it states none.
      unannotated: bool [height, width], true where the file says that nobody has looked for nuclei; None
        where all of the image is annotated.
      told: what else a user should be told of the file's objects → of how many.
      classes: names of the classes of the file's objects.
    """

    labels: np.ndarray
    outlines: int
    skipped: dict[str, int]
    mpp: float | None = None
    unannotated: np.ndarray | None = None
    told: Mapping[str, int] = MappingProxyType({})
    classes: frozenset[str] = frozenset()

    def said_of_skipped(self) -> str:
        """How many outlines were skipped, and why."""
        return (
            f"skipped {sum(self.skipped.values())} of {self.outlines} outlines: {shown_counts(self.skipped)}"
        )


def shown_counts(skipped: Mapping[str, int]) -> str:
    """Why outlines were skipped, for messages."""
    return "; ".join(f"{number} {problem}" for problem, number in skipped.items())


def draw(xml_path: str | os.PathLike[str], shape: tuple[int, int]) -> Drawing:
    """`rasterize` without its warning: whoever calls it says what was skipped.

    Raises:
      AnnotationError: as `rasterize`.
    """
    height, width = shape
    labels = np.zeros((height, width), np.int32)
    skipped: Counter[str] = Counter()
    count = 0
    root = _read(Path(xml_path))
    for region in root.iter("Region"):
        problem = _draw_region(labels, region, count + 1)
        if problem:
            skipped[problem] += 1
        else:
            count += 1
    if not count:
        raise nothing_drawn(xml_path, labels, skipped)
    return Drawing(labels, count + skipped.total(), dict(skipped), _microns_a_pixel(root))


def nothing_drawn(
    path: str | os.PathLike[str], labels: np.ndarray, skipped: Mapping[str, int]
) -> AnnotationError:
    """The error where all outlines of a file were skipped.

    Args:
      path: of the file.
      labels: int32 [height, width], of the image.
      skipped: why → how many.
    """
    height, width = labels.shape
    return AnnotationError(
        f"{path}: none of its {sum(skipped.values())} outlines can be drawn on an image of {height} × "
        f"{width} pixels: {shown_counts(skipped)}. {_CHECK}"
    )


def check_usable(path: Path, drawing: Drawing) -> None:
    """Raise AnnotationError where more than half of a file's outlines were skipped."""
    if 2 * sum(drawing.skipped.values()) > drawing.outlines:
        height, width = drawing.labels.shape
        raise AnnotationError(
            f"{path}: {drawing.said_of_skipped()}, on an image of {height} × {width} pixels. {_CHECK}. "
            "If it is, delete these outlines"
        )


def _draw_region(labels: np.ndarray, region: Element, label: int) -> str | None:
    """Write `label` on the free pixels of a region; returns why it was skipped, or None."""
    vertices = list(region.iter("Vertex"))
    if len(vertices) < 3:
        return "with fewer than three vertices"
    polygon = _coordinates(vertices)
    if polygon is None:
        return "with coordinates that are no finite numbers"
    problem, _ = paint(labels, *polygon_mask(polygon, (labels.shape[0], labels.shape[1])), label)
    return problem


def paint(labels: np.ndarray, mask: np.ndarray, top: int, left: int, label: int) -> tuple[str | None, int]:
    """Write `label` on the free pixels of an outline: a pixel of two belongs to the first.

    Args:
      labels: int32 [height, width], changed.
      mask, top, left: as `polygon_mask` returns them.
      label: of the nucleus.

    Returns:
      Why it was skipped, or None; and how many of its pixels belong to others.
    """
    if not mask.any():
        return "without a pixel in the image", 0
    window = labels[top : top + mask.shape[0], left : left + mask.shape[1]]
    free = mask & (window == 0)
    taken = int(mask.sum() - free.sum())
    if not free.any():
        return "covered by earlier outlines", taken
    window[free] = label
    return None, taken


def _coordinates(vertices: Sequence[Element]) -> np.ndarray | None:
    """float64 [vertices, 2] (x, y), or None where one is missing, not a number or not finite."""
    try:
        polygon = np.array([(float(v.attrib["X"]), float(v.attrib["Y"])) for v in vertices])
    except (KeyError, ValueError):
        return None
    return polygon if np.isfinite(polygon).all() else None


def _microns_a_pixel(root: Element) -> float | None:
    """``MicronsPerPixel`` of the file; 0 and what is no number say nothing."""
    try:
        mpp = float(root.attrib["MicronsPerPixel"])
    except (KeyError, ValueError):
        return None
    return mpp if 0 < mpp < math.inf else None


def _read(path: Path) -> Element:
    """The file's root, below which there are ``Region``s."""
    try:
        with path.open("rb") as file:
            root: Element = parse(file, forbid_dtd=True).getroot()
    except OSError as error:
        raise AnnotationError(f"{path}: cannot read the annotations: {error.strerror}") from error
    except DefusedXmlException as error:
        raise AnnotationError(
            f"{path}: refused, since it declares a DTD, entities or external files ({error}). "
            "ImageScope writes none of them: download the file again, or delete its <!DOCTYPE ...>"
        ) from error
    except (ParseError, LookupError, ValueError) as error:
        raise AnnotationError(
            f"{path}: not a complete XML file ({error}). Download or export it again"
        ) from error
    if next(root.iter("Region"), None) is None:
        raise AnnotationError(
            f"{path}: holds no Region, so no nucleus. Expected an Aperio ImageScope annotation file "
            "(Annotations/Annotation/Regions/Region/Vertices/Vertex)"
        )
    return root
