"""Annotations in GeoJSON, as QuPath exports them, to a label map and what is not annotated.

Which object is a nucleus and which a region: `geojson_objects`. Outlines are drawn as those of ImageScope
(`annotations`): in the order of the file, and a pixel of two nuclei belongs to the first. QuPath counts
coordinates from the top left corner of the top left pixel, so that an outline along the borders of pixels
gives these pixels.

A nucleus in several parts that is one object stays one, with one number. One that lies across the border of a
region, or of an ignored area, keeps its number outside, too: what lies there is not annotated, but the border
of the region is not the nucleus's. One of which nothing is annotated is left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from nucseg_jax.io.geojson_files import REMEDY, read_features

from .annotations import AnnotationError, Drawing, nothing_drawn, paint
from .geojson_objects import Objects, sort
from .poly2mask import polygon_mask

_HALF = 0.5  # pixels from QuPath's corner of a pixel to ImageScope's, which counts from pixels' middles at 1


def draw(path: Path, shape: tuple[int, int], *, mpp: float, region_classes: Sequence[str] = ()) -> Drawing:
    """The nuclei of a file, and the pixels that it does not annotate.

    Args:
      path: of GeoJSON, gzipped or not; coordinates are pixels of the image.
      shape: (height, width) of the image in pixels; outlines are clipped to it.
      mpp: µm a pixel of the image.
      region_classes: names of classes of regions, besides Region*.

    Returns:
      `labels` may be all background where there are regions: no nucleus lies in them.

    Raises:
      AnnotationError: the file has no nucleus and no region, none can be drawn, or nothing is annotated; an
        annotation may be a nucleus or a region.
      DataError: the file is missing, cannot be read or is no GeoJSON.
    """
    features, _ = read_features(path)
    found = sort(features, path, mpp=mpp, region_classes=region_classes)
    if not (found.nuclei or found.skipped or found.regions):
        more = f", only {len(features)} objects that are neither" if features else ""
        raise AnnotationError(f"{path}: has no nucleus and no region{more}. {REMEDY}")
    labels, count = _draw_nuclei(found, shape)
    if not count and not found.regions:
        raise nothing_drawn(path, labels, found.skipped)
    unannotated = _unannotated(found, path, shape)
    if unannotated is not None:
        labels, left_out = _without_unseen(labels, unannotated)
        if left_out:
            found.told["nuclei of which nothing is annotated, left out"] += left_out
    return Drawing(
        labels,
        count + found.skipped.total(),
        dict(found.skipped),
        unannotated=unannotated,
        told=dict(found.told),
        classes=frozenset(feature.classification for feature in features) - {""},
    )


def _draw_nuclei(found: Objects, shape: tuple[int, int]) -> tuple[np.ndarray, int]:
    """int32 [height, width], and the number of nuclei; counts in `found` what is skipped or told."""
    labels, count = np.zeros(shape, np.int32), 0
    for area in found.nuclei:
        problem, taken = paint(labels, *_area_mask(area, shape), count + 1)
        if problem:
            found.skipped[problem] += 1
            continue
        count += 1
        if taken:
            found.told["nuclei that overlap an earlier one, which keeps the pixels of both"] += 1
        if area.geom_type == "MultiPolygon":
            found.told["nuclei in several parts, which stay one nucleus"] += 1
    return labels, count


def _area_mask(area: BaseGeometry, shape: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    """The pixels of a Polygon or MultiPolygon, as `polygon_mask` returns those of an outline."""
    parts = []
    for polygon in shapely.get_parts(area):
        outer, *holes = (_ring_mask(ring, shape) for ring in shapely.get_rings(polygon))
        mask, top, left = outer
        for hole, hole_top, hole_left in holes:  # it lies within
            rows = slice(hole_top - top, hole_top - top + hole.shape[0])
            mask[rows, hole_left - left : hole_left - left + hole.shape[1]] &= ~hole
        parts.append(outer)
    return parts[0] if len(parts) == 1 else _together(parts)


def _ring_mask(ring: BaseGeometry, shape: tuple[int, int]) -> tuple[np.ndarray, int, int]:
    mask, top, left = polygon_mask(shapely.get_coordinates(ring)[:-1] + _HALF, shape)
    return mask.copy(), top, left


def _together(parts: Sequence[tuple[np.ndarray, int, int]]) -> tuple[np.ndarray, int, int]:
    """The pixels of several masks in one."""
    parts = [part for part in parts if part[0].size] or [parts[0]]
    top, left = min(y for _, y, _ in parts), min(x for _, _, x in parts)
    bottom = max(y + mask.shape[0] for mask, y, _ in parts)
    right = max(x + mask.shape[1] for mask, _, x in parts)
    whole = np.zeros((bottom - top, right - left), bool)
    for mask, y, x in parts:
        whole[y - top : y - top + mask.shape[0], x - left : x - left + mask.shape[1]] |= mask
    return whole, top, left


def _unannotated(found: Objects, path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """bool [height, width] of the pixels that are not annotated; None where all are.

    Raises:
      AnnotationError: no pixel is annotated.
    """
    unannotated = np.full(shape, bool(found.regions))
    for areas, value in ((found.regions, False), (found.ignored, True)):
        for area in areas:
            mask, top, left = _area_mask(area, shape)
            unannotated[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = value
            if not mask.any():
                found.told["regions or ignored areas without a pixel in the image"] += 1
    if unannotated.all():
        raise AnnotationError(
            f"{path}: annotates no pixel of the image of {shape[0]} × {shape[1]} pixels: its "
            f"{len(found.regions)} regions lie outside, or under its {len(found.ignored)} ignored areas. "
            "Check that the file is of this image, and at its resolution"
        )
    return unannotated if unannotated.any() else None


def _without_unseen(labels: np.ndarray, unannotated: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels without the nuclei of which no pixel is annotated, numbered again; and how many those were."""
    seen = np.unique(labels[~unannotated])
    seen = seen[seen > 0]
    numbers = np.zeros(labels.max(initial=0) + 1, np.int32)
    numbers[seen] = np.arange(1, len(seen) + 1)
    return numbers[labels], int(labels.max(initial=0)) - len(seen)
