"""Aperio ImageScope annotations (XML polygons) to an integer label map.

MoNuSeg's ground truth is what its MATLAB code makes of the polygons: every ``Region`` of the file, in
order, through ``poly2mask``; where polygons overlap the first one wins. ``poly2mask`` decides on a grid
five times finer than the pixels, with pixel centres at 1-based integers. COCO's rasteriser follows the
same rule from 0-based pixel corners, so ``pycocotools`` on (x - 0.5, y - 0.5) gives the same pixels.
Any other polygon filler costs AJI (about 0.885 against the official masks).
"""

import math
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError

import numpy as np

from nucseg_jax.errors import DataError, MissingExtraError

try:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse
    from pycocotools import mask as coco_mask
except ImportError as error:
    raise MissingExtraError("data", error) from error

__all__ = [
    "AnnotationError",
    "AnnotationWarning",
    "Drawing",
    "check_usable",
    "draw",
    "polygon_mask",
    "rasterize",
    "shown_counts",
]

SUBPIXELS = 5
# Polygons are cut to the image and this margin (pixels) before they are drawn: a vertex a billion pixels
# away must not cost memory. Outside the margin the cut cannot be seen in the image.
MARGIN = 4096
# A polygon farther than this from the top left corner is drawn nearer to it, on a smaller canvas. Not
# nearer than this: the rasteriser rounds `y0 + slope * t` in floating point, and only a number of about
# the same size is rounded in the same way as at the polygon's own place.
NEAR = 1024

_CHECK = "Check that the annotation is of this image, and at its resolution"


class AnnotationError(DataError):
    """An annotation file cannot be used."""


class AnnotationWarning(UserWarning):
    """Regions of an annotation file were skipped; the message counts them."""


def rasterize(xml_path: str | os.PathLike[str], shape: tuple[int, int]) -> np.ndarray:
    """Draw the polygons of an ImageScope file as the MoNuSeg challenge does.

    Args:
      xml_path: the annotation file. ``NegativeROA`` is ignored, as in the challenge's code.
      shape: (height, width) of the image in pixels; polygons are clipped to it.

    Returns:
      int32 [height, width]: 0 is background, nuclei are 1..N in the order of the file. A pixel of two
      polygons belongs to the first.

    Warns:
      AnnotationWarning: once, counting the regions that were skipped: fewer than three vertices,
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
      regions: of the file.
      skipped: why regions were skipped → how many.
      mpp: µm a pixel that the file states; None where it states none.
    """

    labels: np.ndarray
    regions: int
    skipped: dict[str, int]
    mpp: float | None = None

    def said_of_skipped(self) -> str:
        """How many regions were skipped, and why."""
        return f"skipped {sum(self.skipped.values())} of {self.regions} regions: {shown_counts(self.skipped)}"


def shown_counts(skipped: Mapping[str, int]) -> str:
    """Why regions were skipped, for messages."""
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
        raise AnnotationError(
            f"{xml_path}: none of its {skipped.total()} regions can be drawn on an image of {height} × "
            f"{width} pixels: {shown_counts(skipped)}. {_CHECK}"
        )
    return Drawing(labels, count + skipped.total(), dict(skipped), _microns_a_pixel(root))


def check_usable(xml_path: Path, drawing: Drawing) -> None:
    """Raise AnnotationError where more than half of a file's regions were skipped."""
    if 2 * sum(drawing.skipped.values()) > drawing.regions:
        height, width = drawing.labels.shape
        raise AnnotationError(
            f"{xml_path}: {drawing.said_of_skipped()}, on an image of {height} × {width} pixels. {_CHECK}. "
            "If it is, delete these regions"
        )


def polygon_mask(polygon: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """The pixels of one polygon by MATLAB's ``poly2mask`` rule, in its bounding box.

    Args:
      polygon: float64 [vertices, 2], (x, y) in pixels as ImageScope stores them; finite, any range.
      shape: (height, width) of the image.

    Returns:
      (mask, top, left): bool [h, w], and where its first pixel lies in the image. h or w is 0 if no
      part of the bounding box lies in the image.
    """
    height, width = shape
    polygon = _clip(polygon, (-MARGIN, -MARGIN), (width + MARGIN, height + MARGIN))
    if len(polygon) < 3:
        return np.zeros((0, 0), bool), 0, 0
    # The nearest sub-pixel corner, found at the polygon's true place: moving the polygon by whole
    # pixels afterwards then cannot change its pixels.
    corners = np.floor(SUBPIXELS * (polygon - 0.5) + 0.5)
    low = np.floor(corners.min(axis=0) / SUBPIXELS).astype(int)
    high = np.ceil(corners.max(axis=0) / SUBPIXELS).astype(int) + 1
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, (width, height))
    if right <= left or bottom <= top:
        return np.zeros((0, 0), bool), 0, 0
    # pycocotools truncates towards zero, which rounds negative numbers the wrong way: a polygon with
    # negative corners is moved to where it has none.
    origin = np.where(low < 0, low, np.maximum(low - NEAR, 0))
    local = (corners - SUBPIXELS * origin) / SUBPIXELS
    canvas_width, canvas_height = (int(size) for size in (right, bottom) - origin)
    runs = coco_mask.frPyObjects([local.ravel().tolist()], canvas_height, canvas_width)
    with warnings.catch_warnings():
        # pycocotools 2.0.11 is behind NumPy 2's copy keyword, a warning a nucleus.
        warnings.simplefilter("ignore", DeprecationWarning)
        canvas = coco_mask.decode(runs)[:, :, 0].astype(bool, copy=False)
    return canvas[top - origin[1] :, left - origin[0] :], int(top), int(left)


def _draw_region(labels: np.ndarray, region: Element, label: int) -> str | None:
    """Write `label` on the free pixels of a region; returns why it was skipped, or None."""
    vertices = list(region.iter("Vertex"))
    if len(vertices) < 3:
        return "with fewer than three vertices"
    polygon = _coordinates(vertices)
    if polygon is None:
        return "with coordinates that are no finite numbers"
    mask, top, left = polygon_mask(polygon, (labels.shape[0], labels.shape[1]))
    if not mask.any():
        return "without a pixel in the image"
    window = labels[top : top + mask.shape[0], left : left + mask.shape[1]]
    free = mask & (window == 0)
    if not free.any():
        return "covered by earlier regions"
    window[free] = label
    return None


def _coordinates(vertices: Sequence[Element]) -> np.ndarray | None:
    """float64 [vertices, 2] (x, y), or None where one is missing, not a number or not finite."""
    try:
        polygon = np.array([(float(v.attrib["X"]), float(v.attrib["Y"])) for v in vertices])
    except (KeyError, ValueError):
        return None
    return polygon if np.isfinite(polygon).all() else None


def _clip(polygon: np.ndarray, low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Sutherland and Hodgman's clipping of a polygon [vertices, 2] to a box; most need none.

    A concave polygon may gain edges that run along the box's border twice. They enclose nothing, and
    the border lies outside the image.
    """
    for axis in (0, 1):
        for sign, limit in ((1, low[axis]), (-1, -high[axis])):
            inside = sign * polygon[:, axis] >= limit
            if inside.all():
                continue
            following = np.roll(polygon, -1, axis=0)
            kept: list[np.ndarray] = []
            for i, (start, end) in enumerate(zip(polygon, following, strict=True)):
                if inside[i]:
                    kept.append(start)
                if inside[i] != inside[(i + 1) % len(polygon)]:
                    # Halved first, since the difference of two huge numbers could overflow.
                    span = end[axis] / 2 - start[axis] / 2
                    part = (sign * limit / 2 - start[axis] / 2) / span
                    cut = start * (1 - part) + end * part
                    cut[axis] = sign * limit
                    kept.append(cut)
            polygon = np.array(kept).reshape(-1, 2)
            if not len(polygon):
                break
    return polygon


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
