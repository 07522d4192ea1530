"""From what a network says of pixels to single nuclei.

Five methods: `components` of a mask (the paper's); `watershed` of a mask's distances, which cuts where nuclei
touch at a waist; `by_boundary`, which cuts along the boundaries that a network with that class has found;
`by_depth`, the watershed of how deep inside of a nucleus a network says that each pixel lies; and `by_polar`,
closed outlines around the summits of these depths. `split` applies the one that a config names. On the
binarised truth of three MoNuSeg images the first two reach AJI 0.61 and 0.93, and the others, given the true
boundaries or depths, 0.99: ceilings, which `nucseg_jax.tune` computes.

All make label maps: int32 [H, W], 0 = background, nuclei 1, 2, … without gaps, in the order of their first
pixels, row by row. Each nucleus is one 4-connected piece.
"""

from __future__ import annotations

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from scipy import ndimage

from nucseg_jax.errors import UserError
from nucseg_jax.instances.flooding import flood
from nucseg_jax.instances.nucleus_map import NucleusMap
from nucseg_jax.instances.parameters import NEEDS_BOUNDARY, check, check_values, max_area_px, parameters_px
from nucseg_jax.instances.passes import cut_at_depths, cut_at_passes, depths
from nucseg_jax.instances.polar import by_polar
from nucseg_jax.instances.sizes import without_large, without_small
from nucseg_jax.instances.summits import EIGHT_NEIGHBOURS, distance_inside


def split(nucleus_map: NucleusMap, config: ConfigDict, mpp: float) -> NDArray[np.int32]:
    """The nuclei of an image, by the method of a config; those of more than `max_area_um2` are left out.

    Args:
        nucleus_map: what a network, or several, say of the image [H, W].
        config: `config.instances`. A pixel is of a nucleus where the probability is above `threshold`; the
            other parameters are those of the method's function, in µm and µm².
        mpp: µm a pixel of the image.

    Returns:
        A label map int32 [H, W].

    Raises:
        UserError: as `check`; or the method needs boundaries and the map has none.
    """
    return without_large(cut(nucleus_map, config, mpp), max_area_px(config, mpp))


def cut(nucleus_map: NucleusMap, config: ConfigDict, mpp: float) -> NDArray[np.int32]:
    """As `split`, with nuclei of any size."""
    check(config)
    parameters = parameters_px(config, mpp)
    if config.method == "boundary":
        return by_boundary(nucleus_map, **parameters)
    if config.method == "depth":
        return by_depth(nucleus_map, **parameters)
    if config.method == "polar":
        return by_polar(nucleus_map, **parameters)
    mask = nucleus_map.nucleus > parameters.pop("threshold")
    return components(mask, **parameters) if config.method == "components" else watershed(mask, **parameters)


def components(mask: NDArray[np.bool_], *, min_area_px: float = 0) -> NDArray[np.int32]:
    """The 4-connected components of a mask, each a nucleus.

    This is how the paper (Hassan et al., IJIMAI 6(6), 2021) makes nuclei of its masks; it counts
    those of area ≥ 70 px. Nuclei that touch become one.

    Args:
        mask: bool `[H, W]`, True = nucleus.
        min_area_px: components of fewer pixels become background.

    Returns:
        A label map int32 `[H, W]`.

    Raises:
        ValueError: the mask is not a boolean `[H, W]`, or `min_area_px` is negative.
    """
    _check_mask(mask)
    check_values(min_area_px=min_area_px)
    labels, _ = ndimage.label(mask, output=np.int32)
    return without_small(labels, min_area_px)


def watershed(
    mask: NDArray[np.bool_], *, h_px: float, smoothing_px: float, min_area_px: float = 0
) -> NDArray[np.int32]:
    """Components cut at their waists: the watershed of each pixel's distance to the background.

    Every summit of the distance is a nucleus if it rises at least `h_px` above the pass to a higher one.
    Where the image ends is no background: a nucleus that it cuts has its summit there.

    Args:
        mask: bool `[H, W]`, True = nucleus.
        h_px: least height of a summit over its pass, in pixels of distance; more of it cuts less.
        smoothing_px: standard deviation of the Gaussian that smooths the distance first, 0 for none. A
            ragged outline has false summits, which it flattens.
        min_area_px: nuclei of fewer pixels become background, after the cutting.

    Returns:
        A label map int32 `[H, W]`; without small ones removed, its nuclei cover the mask.

    Raises:
        ValueError: the mask is not a boolean `[H, W]`, or another argument is negative.

    Source: Soille, Morphological Image Analysis, 2nd edition, 2003, 6.3.4 (extended maxima) and 9.2.
    """
    _check_mask(mask)
    check_values(h_px=h_px, smoothing_px=smoothing_px, min_area_px=min_area_px)
    if mask.all() or not mask.any():  # no distance to measure
        return components(mask, min_area_px=min_area_px)
    clumps, _ = ndimage.label(mask, EIGHT_NEIGHBOURS, output=np.int32)
    places = ndimage.find_objects(clumps)
    distance = distance_inside(clumps, places)
    if smoothing_px:
        distance = ndimage.gaussian_filter(distance, smoothing_px)
    return without_small(cut_at_passes(distance, mask, clumps, places, h_px), min_area_px)


def by_boundary(
    nucleus_map: NucleusMap,
    *,
    threshold: float,
    inside_threshold: float,
    min_marker_px: float,
    min_area_px: float = 0,
) -> NDArray[np.int32]:
    """Nuclei grown from their insides until they meet on the boundary between them.

    The inside is where the probability of nucleus but not boundary is high; each of its components is a
    nucleus, and takes the mask's pixels around it in the order of that probability. A component of the mask
    without any inside, such as a nucleus that is all boundary, is a nucleus as it is.

    Args:
        nucleus_map: probabilities [H, W], with a boundary.
        threshold: the mask is where the probability of nucleus is above it.
        inside_threshold: the inside is where that of nucleus but not boundary is above it.
        min_marker_px: components of the inside of fewer pixels are no nuclei of their own.
        min_area_px: nuclei of fewer pixels become background, after all that.

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
        inside_threshold=inside_threshold,
        min_marker_px=min_marker_px,
        min_area_px=min_area_px,
    )
    mask = nucleus_map.nucleus > threshold
    inside = nucleus_map.nucleus - nucleus_map.boundary
    markers = components(mask & (inside > inside_threshold), min_area_px=min_marker_px)
    return without_small(flood(-inside, markers, mask), min_area_px)


def by_depth(
    nucleus_map: NucleusMap, *, threshold: float, h: float, smoothing_px: float, min_area_px: float = 0
) -> NDArray[np.int32]:
    """Components cut where a network says that one nucleus's inside ends and another one's begins.

    The landscape is the probability of nucleus but not boundary. From a network whose boundary is one of
    distances (`model.boundary`) it is how deep a pixel lies in its nucleus, 1 in the middle. Every summit is
    a nucleus if it rises at least `h` above the pass to a higher one.

    Args:
        nucleus_map: probabilities [H, W], with a boundary.
        threshold: the mask is where the probability of nucleus is above it.
        h: least height of a summit over its pass, 0 … 1; more of it cuts less.
        smoothing_px: standard deviation of the Gaussian that smooths the landscape first, 0 for none.
        min_area_px: nuclei of fewer pixels become background, after the cutting.

    Returns:
        A label map int32 [H, W]; without small ones removed, its nuclei cover the mask.

    Raises:
        UserError: the map has no boundary.
        ValueError: another argument is out of its range.
    """
    if nucleus_map.boundary is None:
        raise UserError(NEEDS_BOUNDARY)
    check_values(threshold=threshold, h=h, smoothing_px=smoothing_px, min_area_px=min_area_px)
    mask = nucleus_map.nucleus > threshold
    return without_small(cut_at_depths(depths(nucleus_map, mask, smoothing_px), mask, h), min_area_px)


def _check_mask(mask: NDArray[np.bool_]) -> None:
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"mask must be bool [H, W], got {mask.dtype} {mask.shape}")
