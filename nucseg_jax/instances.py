"""From what a network says of pixels to single nuclei.

Three methods: `components` of a mask (the paper's), `watershed` of a mask's distances, which cuts where
nuclei touch at a waist, and `by_boundary`, which cuts along the boundaries that a network with that class has
found. `split` applies the one that a config names. On the binarised truth of three MoNuSeg images they reach
AJI 0.61, 0.93 and, given the true boundaries, 1.00: ceilings, which `nucseg_jax.tune` computes.

All make label maps: int32 [H, W], 0 = background, nuclei 1, 2, … without gaps, in the order of their first
pixels, row by row. Each nucleus is one 4-connected piece.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from nucseg_jax.errors import UserError
from nucseg_jax.flooding import flood
from nucseg_jax.maps import NucleusMap

METHODS = ("components", "watershed", "boundary")
"""Values of `instances.method`; each has its parameters under its own name."""

NEEDS_BOUNDARY = (
    "instances.method = 'boundary' needs a network with a class for boundaries: train one with "
    "model.num_classes = 3, or set instances.method to components or watershed"
)

_PROBABILITY: tuple[Callable[[float], bool], str] = (lambda value: 0 < value < 1, "between 0 and 1")
_NOT_NEGATIVE: tuple[Callable[[float], bool], str] = (
    lambda value: 0 <= value < math.inf,
    "a number that is not negative",
)
_ALLOWED = {
    "threshold": _PROBABILITY,
    "inside_threshold": _PROBABILITY,
    **dict.fromkeys(("h_um", "smoothing_um", "min_marker_um2", "min_area_um2"), _NOT_NEGATIVE),
    **dict.fromkeys(("h_px", "smoothing_px", "min_marker_px", "min_area_px"), _NOT_NEGATIVE),
}

Place = tuple[slice, slice]
"""Rows and columns of a component's bounding box."""

_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def check(config: ConfigDict) -> None:
    """Raise UserError for an unknown method, or for one with a value out of its range.

    Args:
        config: `config.instances`.
    """
    if config.method not in METHODS:
        raise UserError(f"instances.method must be one of {', '.join(METHODS)}, got {config.method!r}")
    for name, value in config[config.method].items():
        _check_value(f"instances.{config.method}.{name}", value)


def parameters_px(config: ConfigDict, mpp: float) -> dict[str, Any]:
    """The parameters of a config's method as its function takes them.

    Args:
        config: `config.instances`, where lengths end with _um and areas with _um2.
        mpp: µm a pixel of the image.

    Returns:
        By name, lengths and areas in pixels; these need not be whole numbers.
    """
    units = {"_um2": mpp**2, "_um": mpp}
    parameters: dict[str, Any] = {}
    for name, value in config[config.method].items():
        unit = next((unit for unit in units if name.endswith(unit)), None)
        if unit is None:
            parameters[name] = value
        else:
            parameters[f"{name.removesuffix(unit)}_px"] = _px(value, units[unit])
    return parameters


def area_px(area_um2: float, mpp: float) -> float:
    """An area in pixels; it need not be a whole number.

    Args:
        area_um2: in µm².
        mpp: µm a pixel.
    """
    return _px(area_um2, mpp**2)


def _px(value: float, unit: float) -> float:
    """Rounded, so that an area that was converted from pixels is the same number of pixels again."""
    return round(value / unit, 6)


def split(nucleus_map: NucleusMap, config: ConfigDict, mpp: float) -> NDArray[np.int32]:
    """The nuclei of an image, by the method of a config.

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
    check(config)
    parameters = parameters_px(config, mpp)
    if config.method == "boundary":
        return by_boundary(nucleus_map, **parameters)
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
    _check_value("min_area_px", min_area_px)
    labels, _ = ndimage.label(mask, output=np.int32)
    return _without_small(labels, min_area_px)


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
    _check_value("h_px", h_px)
    _check_value("smoothing_px", smoothing_px)
    _check_value("min_area_px", min_area_px)
    if mask.all() or not mask.any():  # no distance to measure
        return components(mask, min_area_px=min_area_px)
    clumps, _ = ndimage.label(mask, _EIGHT_NEIGHBOURS, output=np.int32)
    places = ndimage.find_objects(clumps)
    distance = _distance(clumps, places)
    if smoothing_px:
        distance = ndimage.gaussian_filter(distance, smoothing_px)
    # Lifted by more than h, so that the summit of a nucleus thinner than h stays one, too.
    height = np.where(mask, distance + np.float32(h_px + 1), np.float32(0))
    maxima = _extended_maxima(height, h_px, clumps, places)
    markers, _ = ndimage.label(maxima, _EIGHT_NEIGHBOURS, output=np.int32)
    return _without_small(flood(-height, markers, mask), min_area_px)


def _distance(clumps: NDArray[np.int32], places: Sequence[Place]) -> NDArray[np.float32]:
    """Each pixel's distance to the background: float32 [H, W].

    Clump by clump, which spares the background in between: the nearest background of a pixel adjoins the
    pixel's own clump, since all that is nearer is connected to it.

    Args:
        clumps: the 8-connected components of a mask that is not True everywhere.
        places: where each is.
    """
    distance = np.zeros(clumps.shape, np.float32)
    for i, (rows, columns) in enumerate(places, start=1):
        around = (
            slice(max(0, rows.start - 1), rows.stop + 1),
            slice(max(0, columns.start - 1), columns.stop + 1),
        )
        own = clumps[around] == i
        distance[around][own] = ndimage.distance_transform_edt(own)[own]
    return distance


def _extended_maxima(
    height: NDArray[np.float32], h: float, clumps: NDArray[np.int32], places: Sequence[Place]
) -> NDArray[np.bool_]:
    """The plateaus that are left of a landscape's summits when each is lowered by h, but for lower ones.

    Not skimage's h_maxima: that takes single pixels, and so two markers where summits of one height share a
    plateau, as those of a long nucleus do.

    Args:
        height: [H, W], 0 = background, and more than `h` elsewhere: so nothing of one clump reaches another.
        h: least height of a summit above its pass, ≥ 0.
        clumps: the 8-connected components of what is not background.
        places: where each is.
    """
    lowered = np.float32(h)
    is_summit = morphology.local_maxima(height) & (clumps > 0)
    summits, summit_count = ndimage.label(is_summit, _EIGHT_NEIGHBOURS, output=np.int32)
    pixels = np.flatnonzero(is_summit)
    tops = np.zeros(summit_count + 1, np.int64)
    tops[summits.ravel()[pixels]] = pixels  # one pixel of each summit
    tops = tops[1:]
    of = clumps.ravel()[tops]
    summits_of = np.bincount(of, minlength=len(places) + 1)
    highest = np.zeros(len(places) + 1, np.float32)
    np.maximum.at(highest, of, height.ravel()[tops])
    # Most clumps have one summit; nothing is to be reconstructed there, which takes most of the time. Of a
    # clump with more, no height is infinite: its pixels are done below.
    least = np.where(summits_of == 1, highest - lowered, np.float32(np.inf))
    plateaus = (clumps > 0) & (height >= least[clumps])
    for i, slices in enumerate(places, start=1):
        if summits_of[i] > 1:
            own = clumps[slices] == i
            alone = np.where(own, height[slices], np.float32(0))
            plateaus[slices] |= own & morphology.local_maxima(
                morphology.reconstruction(alone - lowered, alone)
            )
    return plateaus


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
    _check_value("threshold", threshold)
    _check_value("inside_threshold", inside_threshold)
    _check_value("min_marker_px", min_marker_px)
    _check_value("min_area_px", min_area_px)
    mask = nucleus_map.nucleus > threshold
    inside = nucleus_map.nucleus - nucleus_map.boundary
    markers = components(mask & (inside > inside_threshold), min_area_px=min_marker_px)
    return _without_small(flood(-inside, markers, mask), min_area_px)


def _without_small(labels: NDArray[np.int32], min_area_px: float) -> NDArray[np.int32]:
    """The label map without nuclei of fewer pixels, renumbered without gaps in the same order."""
    stays = np.bincount(labels.ravel(), minlength=1) >= min_area_px
    stays[0] = False
    return np.where(stays, np.cumsum(stays), 0).astype(np.int32)[labels]


def _check_mask(mask: NDArray[np.bool_]) -> None:
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"mask must be bool [H, W], got {mask.dtype} {mask.shape}")


def _check_value(key: str, value: float) -> None:
    """Raise UserError unless the parameter that `key` ends with may have this value."""
    is_allowed, allowed = _ALLOWED[key.rpartition(".")[2]]
    if not is_allowed(value):
        raise UserError(f"{key} must be {allowed}, got {value}")
