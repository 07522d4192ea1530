"""Where nuclei are, how large they are and of what shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nucseg_jax.export.canvas import Canvas
from nucseg_jax.export.outlines import Outlines


@dataclass(frozen=True)
class Measurements:
    """A value for each of M nuclei, float64 `[M]` unless it says otherwise; its fields are the table's
    columns.

    A pixel is a square: pixel i of a row covers i to i + 1. So a centroid is 0.5 pixels farther right and
    down than that of scikit-image, which counts from the centres of pixels.

    Attributes:
        id: int64.
        centroid_x_px: in pixels of the slide's base level, from its left side (of a slide that is cropped to
            what was scanned, from that of the scanned part).
        centroid_y_px: the same, from its top.
        centroid_x_um: in µm.
        centroid_y_um: in µm.
        area_um2: of the pixels, µm².
        perimeter_um: of the outline and its holes, µm, by Crofton's formula from the outline's crossings with
            lines of four directions (`skimage.measure.perimeter_crofton(mask, directions=4)`; Legland, Kiêu,
            Devaux, Image Anal. Stereol. 26, 2007). The length of the polygon would be a third too much: it
            goes up and down the sides of pixels.
        circularity: 4π area / perimeter², 1 for a disc. Where the estimate of the perimeter is too short by
            chance, as for nuclei of a few pixels, it would be above 1, and is 1.
        solidity: area / area of the convex hull of the outline's corners, at most 1. The hull is of the whole
            pixels, as QuPath's of the polygon is; scikit-image's is of points half a pixel further in, and
            its solidity of a small nucleus a few hundredths higher.
        major_axis_um: length of the longer axis, µm, of the ellipse with the same second moments.
        minor_axis_um: of the shorter axis, µm. Moments are of squares, as MATLAB's are, and so 1/12 px²
            larger than scikit-image's, which are of points: a single pixel has axes of 1.15 px, not 0.
        eccentricity: sqrt(1 − (minor / major)²), 0 for a disc.
        hematoxylin_density: mean optical density of hematoxylin, natural logarithm, 0 to 10, by the slide's
            own stain vectors; NaN where not measured.
        probability: the network's, mean over the pixels.
        touches_border: bool, the nucleus ends at the slide's edge, and may be cut.
        hematoxylin_contrast: texture of the chromatin: the mean square of the difference in density between
            pixels that touch, in squares of optical density; NaN where not measured, and for one pixel.
            Haralick's contrast of 1973 at a distance of 1 px of the network's level, mean of four
            directions, of density instead of its levels (`inference.texture`, which the entropy is of, too).
        hematoxylin_entropy_bits: of the histogram of density on 64 fixed levels of 0.157, bits, 0 to 6; NaN
            where not measured. Both depend on the resolution: compare nuclei of one model.
        eosin_ring_density: mean optical density of eosin, natural logarithm, 0 to 10, by the slide's own
            stain vectors, over the pixels within 5 µm outside of the nucleus: of those no pixel that the
            network takes for nucleus, none that is nearer to another nucleus, and none that is masked. Glass
            counts, as in QuPath's cells. NaN where not measured, and where there is no such pixel
            (`inference.rings`).
    """

    id: NDArray[np.int64]
    centroid_x_px: NDArray[np.float64]
    centroid_y_px: NDArray[np.float64]
    centroid_x_um: NDArray[np.float64]
    centroid_y_um: NDArray[np.float64]
    area_um2: NDArray[np.float64]
    perimeter_um: NDArray[np.float64]
    circularity: NDArray[np.float64]
    solidity: NDArray[np.float64]
    major_axis_um: NDArray[np.float64]
    minor_axis_um: NDArray[np.float64]
    eccentricity: NDArray[np.float64]
    hematoxylin_density: NDArray[np.float64]
    probability: NDArray[np.float64]
    touches_border: NDArray[np.bool_]
    hematoxylin_contrast: NDArray[np.float64]
    hematoxylin_entropy_bits: NDArray[np.float64]
    eosin_ring_density: NDArray[np.float64]


def measure(canvas: Canvas, outlines: Outlines) -> Measurements:
    """Measure nuclei.

    Args:
        canvas: their pixels.
        outlines: of the same nuclei.
    """
    frame = canvas.frame
    mpp = frame.network_mpp
    area, x, y, major, minor = _moments(canvas)
    perimeter = _perimeters(canvas)
    height, width = frame.network_size
    touches = (canvas.top == 0) | (canvas.top + canvas.height == height)
    touches |= (canvas.left == 0) | (canvas.left + canvas.width == width)
    return Measurements(
        id=canvas.ids,
        centroid_x_px=x * frame.scale,
        centroid_y_px=y * frame.scale,
        centroid_x_um=x * mpp,
        centroid_y_um=y * mpp,
        area_um2=area * mpp**2,
        perimeter_um=perimeter * mpp,
        circularity=np.minimum(1, 4 * np.pi * area / perimeter**2),
        # The division rounds: a convex nucleus is 1, not a bit more.
        solidity=np.minimum(1, area / _hull_areas(outlines)),
        major_axis_um=major * mpp,
        minor_axis_um=minor * mpp,
        eccentricity=np.sqrt(np.maximum(0, 1 - (minor / major) ** 2)),
        hematoxylin_density=canvas.hematoxylin,
        probability=canvas.probability,
        touches_border=touches,
        hematoxylin_contrast=canvas.hematoxylin_contrast,
        hematoxylin_entropy_bits=canvas.hematoxylin_entropy_bits,
        eosin_ring_density=canvas.eosin_ring,
    )


def centroids(canvas: Canvas) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """x and y of the centroids, float64 `[M]`, in pixels of the network's level."""
    _, x, y, _, _ = _moments(canvas)
    return x, y


def _moments(canvas: Canvas) -> tuple[NDArray[np.float64], ...]:
    """Area, centroid x and y, major and minor axis, in pixels of the network's level."""
    runs = canvas.runs

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(runs.nucleus, values, minlength=len(canvas)).astype(np.float64)

    # From the mask's own corner, so that the differences of large squares below lose no digits.
    start = (runs.start - canvas.left[runs.nucleus]).astype(np.float64)
    stop = (runs.stop - canvas.left[runs.nucleus]).astype(np.float64)
    row = (runs.y - canvas.top[runs.nucleus]).astype(np.float64)
    # Integrals over the rectangle of each run.
    length = stop - start
    along = (stop**2 - start**2) / 2
    area = total(length)
    x = total(along) / area
    y = total(length * (row + 0.5)) / area
    xx = total((stop**3 - start**3) / 3) / area - x**2
    yy = total(length * (row**2 + row + 1 / 3)) / area - y**2
    xy = total(along * (row + 0.5)) / area - x * y
    # The eigenvalues of [[xx, xy], [xy, yy]]; an axis is 4 times the standard deviation along it.
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    major, minor = 4 * np.sqrt(middle + spread), 4 * np.sqrt(middle - spread)
    return area, x + canvas.left, y + canvas.top, major, minor


def _perimeters(canvas: Canvas) -> NDArray[np.float64]:
    """By Crofton's formula, in pixels of the network's level."""
    quads = canvas.quads
    places = np.flatnonzero((quads > 0) & (quads < 15))  # the inside, most of it, adds nothing
    nucleus = canvas.owner[places // quads.shape[1]]
    kinds = np.bincount(nucleus * 16 + quads.ravel()[places], minlength=16 * len(canvas))
    return kinds.reshape(-1, 16) @ _CROFTON


def _crofton_weights() -> NDArray[np.float64]:
    """What a quad (`Canvas.quads`) adds to the perimeter, float64 `[16]`.

    π/2 times the mean over directions of crossings times the distance of lines. A pair of neighbours is in
    two quads, a pair across a corner in one; lines are 1 px apart along rows and columns, 1/√2 px on
    diagonals.
    """
    quad = np.arange(16)
    above_left, above_right, below_left, below_right = (quad >> bit & 1 for bit in range(4))
    sides = (above_left != above_right).astype(int) + (below_left != below_right)
    sides = sides + (above_left != below_left) + (above_right != below_right)
    diagonals = (above_left != below_right).astype(int) + (above_right != below_left)
    return np.pi / 8 * (sides / 2 + diagonals / np.sqrt(2))


_CROFTON = _crofton_weights()


def _hull_areas(outlines: Outlines) -> NDArray[np.float64]:
    """Of the convex hulls of the outlines, in pixels² of the network's level."""
    import shapely

    first, last = outlines.nucleus_start[:-1], outlines.nucleus_start[:-1] + 1
    counts = outlines.ring_start[last] - outlines.ring_start[first]
    nucleus = np.repeat(np.arange(len(first)), counts)
    # The corners of exteriors alone: holes are inside.
    skipped = outlines.ring_start[first] - (np.cumsum(counts) - counts)
    corners = np.arange(counts.sum()) + skipped[nucleus]
    points = np.stack([outlines.x[corners], outlines.y[corners]], axis=1).astype(np.float64)
    return shapely.area(shapely.convex_hull(shapely.linestrings(points, indices=nucleus)))
