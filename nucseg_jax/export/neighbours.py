"""How nuclei lie to each other: distances, density around each, and Delaunay's graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from nucseg_jax.export.tissue_area import TissueArea

NEAREST = 5
"""Neighbours of the mean distance."""

NEAR_UM = 50.0
"""How far neighbours of the local density and of Delaunay's graph may be: about five nuclei."""

_AT_ONCE = 1 << 16  # nuclei that are worked on together, for bounded memory


@dataclass(frozen=True)
class Neighbours:
    """A value for each of N nuclei, float64 `[N]`; its fields are the columns of the table, beside the id.

    Nuclei stand for their centroids. Those that were not found are missing here: beyond the slide's edge, and
    on glass and masked areas. Nuclei near a border so seem to have fewer neighbours, and farther ones, than
    they have. Nothing is corrected but the local density; `border_um` says which nuclei that concerns. The
    nearest neighbour is surely the nearest where `nearest_um` ≤ `border_um`.

    Attributes:
        nearest_um: to the nearest other nucleus, µm; NaN for a nucleus alone on the slide.
        mean_of_5_nearest_um: mean distance of the five nearest others, µm; NaN with fewer than five.
        local_density_per_mm2: other nuclei within 50 µm, per mm² of the tissue within 50 µm. Nuclei that lie
            outside of the tissue's mask, which is coarse, are not counted, and theirs is NaN.
        delaunay_degree: neighbours in the Delaunay triangulation of all centroids that are within 50 µm.
            Longer edges are not counted: they span glass, or run along the outside of the tissue. NaN without
            a triangle. A nucleus with the same centroid as another has the degree of the
            other.
        border_um: to the nearest point without tissue or beyond the slide, µm; 0 outside of the mask.
    """

    nearest_um: NDArray[np.float64]
    mean_of_5_nearest_um: NDArray[np.float64]
    local_density_per_mm2: NDArray[np.float64]
    delaunay_degree: NDArray[np.float64]
    border_um: NDArray[np.float64]


def find_neighbours(points_um: NDArray[np.float64], tissue: TissueArea) -> Neighbours:
    """Look at the neighbours of all nuclei of a slide.

    The triangulation takes about 600 bytes of memory a nucleus, the rest little.

    Args:
        points_um: float64 `[N, 2]`, x and y of their centroids.
        tissue: that was analysed.
    """
    nearest, mean = _distances(points_um)
    return Neighbours(
        nearest_um=nearest,
        mean_of_5_nearest_um=mean,
        local_density_per_mm2=_densities(points_um, tissue),
        delaunay_degree=_degrees(points_um),
        border_um=tissue.to_border(points_um),
    )


def _distances(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """To the nearest, and the mean to the NEAREST nearest."""
    nearest, mean = np.full(len(points), np.nan), np.full(len(points), np.nan)
    tree = spatial.KDTree(points)
    for part in _parts(len(points)):
        # The first is the nucleus itself, or another at its place, which is as far.
        distances, _ = tree.query(points[part], NEAREST + 1)
        distances[np.isinf(distances)] = np.nan
        nearest[part], mean[part] = distances[:, 1], distances[:, 1:].mean(axis=1)
    return nearest, mean


def _densities(points: NDArray[np.float64], tissue: TissueArea) -> NDArray[np.float64]:
    inside = np.flatnonzero(tissue.contains(points))
    density, counted = np.full(len(points), np.nan), points[inside]
    tree = spatial.KDTree(counted)
    for part in _parts(len(counted)):
        others = tree.query_ball_point(counted[part], NEAR_UM, return_length=True) - 1
        area_mm2 = tissue.around(counted[part], NEAR_UM) / 1e6
        density[inside[part]] = others / np.where(area_mm2 > 0, area_mm2, np.nan)
    return density


def _degrees(points: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(points) < 3:
        return np.full(len(points), np.nan)
    try:
        triangulation = spatial.Delaunay(points - points.mean(axis=0))
    except spatial.QhullError:  # all on one line
        return np.full(len(points), np.nan)
    start, others = triangulation.vertex_neighbor_vertices
    degree = np.zeros(len(points))
    for part in _parts(len(points)):
        own, first = np.diff(start[part.start : part.stop + 1]), start[part.start]
        near = others[first : first + own.sum()]
        place = np.repeat(np.arange(part.start, part.stop), own)
        is_near = np.hypot(*(points[near] - points[place]).T) <= NEAR_UM
        degree[part] = np.bincount(place - part.start, is_near, part.stop - part.start)
    twin, _, vertex = triangulation.coplanar.T
    degree[twin] = degree[vertex]
    return degree


def _parts(count: int) -> list[slice]:
    return [slice(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE)]
