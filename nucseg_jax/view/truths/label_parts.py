"""The nuclei of a label map as parts of an index, with outlines along the edges of their pixels."""

from collections.abc import Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.export.batches import Batch, Gathering
from nucseg_jax.export.object_ids import ObjectIds
from nucseg_jax.export.polygons import polygons
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.view.nuclei.sources import Part

SHAPES = (
    *("area_um2", "perimeter_um", "circularity", "solidity"),
    *("major_axis_um", "minor_axis_um", "eccentricity"),
)
"""What is measured; the stain of the slide is not looked at."""

_MOST_NUMBERS = 10**7  # of a map that is not numbered again


def parts_of(labels: NDArray[np.int32], frame: Frame, ids: ObjectIds) -> Iterator[Part]:
    """The nuclei of a label map.

    A nucleus of several pieces stays one, as in scores. Of its measurements it has its area alone.

    Args:
      labels: int32 [height, width], 0 is background; numbers need not be contiguous.
      frame: of the slide, whose base level the map is of.
      ids: make the nuclei's object ids.
    """
    gathering = Gathering(frame)
    for number, top, left, mask in _masks(labels):
        pieces = _pieces(number, top, left, mask)
        if len(pieces) > 1:
            yield _of_pieces(number, Batch(pieces, frame), ids)
        elif (batch := gathering.add(pieces[0])) is not None:
            yield _of_batch(batch, ids)
    if (batch := gathering.rest()) is not None:
        yield _of_batch(batch, ids)


def _masks(labels: NDArray[np.int32]) -> Iterator[tuple[int, int, int, NDArray[np.bool_]]]:
    """Of each nucleus its number, the top row and the left column of a crop, and its pixels there."""
    numbers = None
    if labels.max(initial=0) > _MOST_NUMBERS:
        numbers, places = np.unique(labels, return_inverse=True)
        labels = (places.reshape(labels.shape) + int(numbers[0] > 0)).astype(np.int32)
        numbers = numbers[numbers > 0]
    for index, found in enumerate(ndimage.find_objects(labels), 1):
        if found is not None:
            number = index if numbers is None else int(numbers[index - 1])
            yield number, found[0].start, found[1].start, labels[found] == index


def _pieces(number: int, top: int, left: int, mask: NDArray[np.bool_]) -> list[Nucleus]:
    """The 4-connected pieces of a nucleus, the largest first; one has its number."""
    pieces, count = ndimage.label(mask)
    if count == 1:
        return [Nucleus(number, top, left, mask, np.nan)]
    sizes = np.bincount(pieces.ravel())[1:]
    found = ndimage.find_objects(pieces)
    return [
        Nucleus(
            index + 1,
            top + found[index][0].start,
            left + found[index][1].start,
            pieces[found[index]] == index + 1,
            np.nan,
        )
        for index in np.argsort(-sizes, kind="stable").tolist()
    ]


def _of_batch(batch: Batch, ids: ObjectIds) -> Part:
    measured = batch.measurements
    return Part(
        batch.ids.astype(np.int32),
        np.array(ids(batch), "S36"),
        np.stack([measured.centroid_x_px, measured.centroid_y_px], axis=1),
        {name: getattr(measured, name) for name in SHAPES},
        polygons(batch.outlines, batch.canvas.frame),
    )


def _of_pieces(number: int, batch: Batch, ids: ObjectIds) -> Part:
    """One nucleus, whose pieces are the nuclei of a batch."""
    pieces = _of_batch(batch, ids)
    areas = pieces.columns["area_um2"]
    assert pieces.outlines is not None
    return Part(
        np.array([number], np.int32),
        pieces.object_ids[:1],
        np.average(pieces.centroids, axis=0, weights=areas)[None],
        {name: np.array([areas.sum() if name == "area_um2" else np.nan]) for name in SHAPES},
        np.array([shapely.MultiPolygon(list(pieces.outlines))], object),
    )
