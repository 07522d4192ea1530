"""A second look at single nuclei: each gets the best outline around its summit (`star_outlines`).

`refine` draws the borders between the nuclei of a label map anew. `by_polar` finds nuclei: of many summits,
outlines that lie on one another are of one nucleus, and the highest summit's stays, as StarDist suppresses
its polygons (Schmidt, Weigert, Broaddus & Myers, Cell Detection with Star-convex Polygons, MICCAI 2018).

What becomes of pixels:

- One that lies in one outline is of its nucleus.
- One that lies in several outlines, or in none, goes to what it adjoins, as the watershed of heights has it:
  outlines that share pixels are sure of the nuclei's shapes, and the pass between them lies where heights are
  lowest.
- Where a large piece of the mask lies in no outline, it is a nucleus (`by_polar`).
- A nucleus that is no star around its summit keeps the outline that it had: where more than a fifth of its
  pixels would lie in no outline.

So nuclei cover the mask, and each is one 4-connected piece. What becomes of a component of the mask depends
on it alone, but for the smoothing.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from skimage import measure

from nucseg_jax.errors import UserError
from nucseg_jax.instances.flooding import flood
from nucseg_jax.instances.nucleus_map import NucleusMap
from nucseg_jax.instances.parameters import NEEDS_BOUNDARY, check_values
from nucseg_jax.instances.passes import cut_at_depths, depths
from nucseg_jax.instances.sizes import without_small
from nucseg_jax.instances.star_outlines import Covered, Landscape, covered, radii_of
from nucseg_jax.instances.summits import EIGHT_NEIGHBOURS, distance_inside

_MOST_LOST = 0.2
"""Of a nucleus's pixels, those that no outline may cover; with more it is no star."""


def refine(
    nucleus_map: NucleusMap,
    labels: NDArray[np.int32],
    *,
    threshold: float,
    smoothing_px: float,
    rise: float,
    reach_px: float,
) -> NDArray[np.int32]:
    """The same nuclei with other borders where they touch.

    Args:
        nucleus_map: probabilities [H, W]; without a boundary, a pixel's height is its distance to the
            background.
        labels: int32 [H, W], 0 = background, nuclei 1, 2, … without gaps, each one 4-connected piece.
        threshold, smoothing_px, rise, reach_px: as of `by_polar`.

    Returns:
        A label map int32 [H, W] of as many nuclei, but for those of which nothing is left. They cover the
        pixels that they covered before.

    Raises:
        ValueError: a parameter is out of its range, or the sizes differ.
    """
    check_values(threshold=threshold, smoothing_px=smoothing_px, rise=rise, reach_px=reach_px)
    if labels.shape != nucleus_map.nucleus.shape:
        raise ValueError(f"labels {labels.shape} and nucleus_map {nucleus_map.nucleus.shape} differ in size")
    mask = labels > 0
    if nucleus_map.boundary is None:
        height = _distances(mask, smoothing_px)
    else:
        height = depths(nucleus_map, mask, smoothing_px)
    landscape = Landscape(nucleus_map.nucleus, height, ndimage.label(mask, output=np.int32)[0])
    found = _outlined(landscape, labels, summits(labels, height), threshold, rise, reach_px)
    return flood(-height, _assigned(found, labels.shape), mask)


def by_polar(
    nucleus_map: NucleusMap,
    *,
    threshold: float,
    h: float,
    smoothing_px: float,
    rise: float,
    overlap: float,
    reach_px: float,
    min_rest_px: float = 0,
    min_area_px: float = 0,
) -> NDArray[np.int32]:
    """Components cut by closed outlines, one around each summit of how deep a pixel lies in its nucleus.

    Summits are those of `by_depth`. They may be more than there are nuclei: a summit whose outline lies
    mostly in that of a higher one is dropped.

    Args:
        nucleus_map: probabilities [H, W], with a boundary.
        threshold: the mask is where the probability of nucleus is above it.
        h: least height of a summit over its pass, 0 … 1; more of it makes fewer summits.
        smoothing_px: standard deviation of the Gaussian that smooths the landscape first, 0 for none.
        rise: a nucleus ends where the way from its summit outwards has climbed again by this part of the
            summit's height, 0 … 1; more of it cuts less.
        overlap: two outlines are of one nucleus if they share more than this part of the smaller one, 0 … 1;
            more of it cuts more.
        reach_px: how far from a summit its outline may lie. A nucleus that reaches farther keeps the outline
            that `by_depth` gives it.
        min_rest_px: a piece that no outline covers is a nucleus if a disc of so many pixels fits in it.
        min_area_px: nuclei of fewer pixels become background, after the cutting.

    Returns:
        A label map int32 [H, W]; without small ones removed, its nuclei cover the mask.

    Raises:
        UserError: the map has no boundary.
        ValueError: another argument is out of its range.
    """
    if nucleus_map.boundary is None:
        raise UserError(NEEDS_BOUNDARY)
    check_values(
        threshold=threshold,
        h=h,
        smoothing_px=smoothing_px,
        rise=rise,
        overlap=overlap,
        reach_px=reach_px,
        min_rest_px=min_rest_px,
        min_area_px=min_area_px,
    )
    mask = nucleus_map.nucleus > threshold
    height = depths(nucleus_map, mask, smoothing_px)
    basins = cut_at_depths(height, mask, h)
    landscape = Landscape(nucleus_map.nucleus, height, ndimage.label(mask, output=np.int32)[0])
    points = summits(basins, height)
    found = _outlined(landscape, basins, points, threshold, rise, reach_px)
    kept = suppressed(found, height.ravel()[points], overlap)
    found = found.among(kept[found.owner])
    assigned = _with_rest(_assigned(found, mask.shape), _outside(found, mask), min_rest_px)
    return without_small(flood(-height, assigned, mask), min_area_px)


def summits(labels: NDArray[np.int32], height: NDArray[np.float32]) -> NDArray[np.intp]:
    """The highest pixel of each nucleus; of several the nearest to their middle, and of those the first.

    It lies in its nucleus, as the centroid of a bent one does not.

    Args:
        labels: int32 [H, W], nuclei 1, 2, … without gaps.
        height: float32 [H, W].

    Returns:
        int [N], in the flat image.
    """
    pixels = np.flatnonzero(labels)
    of = labels.ravel()[pixels]
    count = int(of.max(initial=0))
    heights = height.ravel()[pixels]
    top = np.full(count + 1, -np.inf, np.float32)
    np.maximum.at(top, of, heights)
    is_top = heights == top[of]
    pixels, of = pixels[is_top], of[is_top]
    number = np.bincount(of, minlength=count + 1)
    # In whole numbers, so that it is the same wherever the nucleus lies.
    off = np.zeros(len(pixels), np.int64)
    for place in np.divmod(pixels, labels.shape[1]):
        total = np.zeros(count + 1, np.int64)
        np.add.at(total, of, place)
        off += (number[of] * place - total[of]) ** 2
    order = np.lexsort((pixels, off, of))
    first = np.searchsorted(of[order], np.arange(1, count + 1))
    return pixels[order][first]


def suppressed(found: Covered, heights: NDArray[np.float32], overlap: float) -> NDArray[np.bool_]:
    """Which outlines stay: bool [N]. One goes that shares too much with a higher one that stays.

    Args:
        found: their pixels.
        heights: float32 [N], of their summits; of equals the first counts as the higher.
        overlap: that is too much, as a part of the smaller outline's pixels.
    """
    count = len(heights)
    stays = np.ones(count, bool)
    _, pixel = np.unique(found.pixel, return_inverse=True)
    number = int(pixel.max(initial=-1)) + 1
    is_in = sparse.csr_array((np.ones(len(pixel), np.int32), (found.owner, pixel)), (count, number))
    shared = sparse.coo_array(sparse.triu(is_in @ is_in.T, k=1))
    area = np.bincount(found.owner, minlength=count)
    too_much = shared.data > overlap * np.minimum(area[shared.row], area[shared.col])
    rank = np.empty(count, np.intp)
    rank[np.lexsort((np.arange(count), -heights))] = np.arange(count)
    pairs = np.stack([shared.row[too_much], shared.col[too_much]], axis=1)
    pairs = np.take_along_axis(pairs, rank[pairs].argsort(axis=1), axis=1)
    for higher, lower in pairs[rank[pairs[:, 0]].argsort(kind="stable")].tolist():
        if stays[higher]:
            stays[lower] = False
    return stays


def _distances(mask: NDArray[np.bool_], smoothing_px: float) -> NDArray[np.float32]:
    """Heights for a network without boundaries: the distance to the background, smoothed."""
    if mask.all() or not mask.any():
        return mask.astype(np.float32)
    clumps, _ = ndimage.label(mask, EIGHT_NEIGHBOURS, output=np.int32)
    distance = distance_inside(clumps, ndimage.find_objects(clumps))
    return ndimage.gaussian_filter(distance, smoothing_px) if smoothing_px else distance


def _outlined(
    landscape: Landscape,
    labels: NDArray[np.int32],
    points: NDArray[np.intp],
    threshold: float,
    rise: float,
    reach_px: float,
) -> Covered:
    """The pixels in each nucleus's outline; of one that is no star, its own."""
    radii = radii_of(landscape, points, threshold=threshold, rise=rise, reach_px=reach_px)
    found = covered(radii, points, landscape.pieces)
    of = labels.ravel()
    is_reached = np.zeros(of.shape, bool)
    is_reached[found.pixel] = True
    area = np.bincount(of, minlength=len(points) + 1)
    lost = np.bincount(of[~is_reached], minlength=len(points) + 1)
    is_own = lost > _MOST_LOST * area
    is_own[0] = False
    stays = ~is_own[found.owner + 1]
    pixel = np.flatnonzero(is_own[of])
    owner = np.concatenate([found.owner[stays], of[pixel] - 1])
    order = np.argsort(owner, kind="stable")
    pixels = np.concatenate([found.pixel[stays], pixel])
    return Covered(owner[order], pixels[order])


def _assigned(found: Covered, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Pixels that lie in one outline, as its number, and the largest piece of each: int32 [H, W], 0 = none.

    Of an outline without such a pixel all pixels count, and of several such the first has what they share.
    """
    assigned = np.zeros(math.prod(shape), np.int32)
    times = np.bincount(found.pixel, minlength=len(assigned))
    alone = times[found.pixel] == 1
    has_own = np.zeros(int(found.owner.max(initial=-1)) + 1, bool)
    has_own[found.owner[alone]] = True
    # The last assignment stays.
    counts = np.flatnonzero(alone | ~has_own[found.owner])[::-1]
    assigned[found.pixel[counts]] = found.owner[counts] + 1
    pieces = measure.label(assigned.reshape(shape), connectivity=1).astype(np.int32)
    area = np.bincount(pieces.ravel())
    of = np.zeros(len(area), np.int32)
    of[pieces.ravel()] = assigned
    order = np.lexsort((np.arange(len(area)), -area, of))
    is_largest = np.zeros(len(area), bool)
    is_largest[order[np.diff(of[order], prepend=-1) > 0]] = True
    is_largest[0] = False
    return np.where(is_largest[pieces], assigned.reshape(shape), np.int32(0))


def _outside(found: Covered, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of the mask that lie in no outline: bool [H, W]."""
    outside = mask.ravel().copy()
    outside[found.pixel] = False
    return outside.reshape(mask.shape)


def _with_rest(
    assigned: NDArray[np.int32], outside: NDArray[np.bool_], min_rest_px: float
) -> NDArray[np.int32]:
    """Nuclei, too, are pieces of what lies in no outline, if a disc of so many pixels fits in them."""
    rest, count = ndimage.label(outside, output=np.int32)
    if not count:
        return assigned
    # Not `distance_inside`: here the pieces end at nuclei, too. Where the image ends, they go on.
    around = np.pad(rest > 0, 1, mode="edge")
    deepest = np.zeros(count + 1)
    if not around.all():
        distance = ndimage.distance_transform_edt(around)[1:-1, 1:-1]
        np.maximum.at(deepest, rest[rest > 0], distance[rest > 0])
    fits = deepest >= math.sqrt(min_rest_px / math.pi)
    fits[0] = False
    number = np.where(fits, np.cumsum(fits) + int(assigned.max()), 0).astype(np.int32)
    return np.where(assigned > 0, assigned, number[rest])
