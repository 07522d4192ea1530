"""Whether nuclei clump or keep apart: Ripley's L, with the tissue's border taken into account.

Ripley, Modelling spatial patterns, J. R. Stat. Soc. B 39, 1977; L is Besag's transform of his K, in the
discussion of the same paper.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import spatial

from nucseg_jax.export.tissue_area import TissueArea

RADII_UM = (10.0, 20.0, 50.0, 100.0)

_CENTRES = 20_000  # nuclei whose surroundings are looked at; more change nothing that shows


def ripley_l(points_um: NDArray[np.float64], tissue: TissueArea) -> list[dict[str, float | None]]:
    """Ripley's L at RADII_UM.

    L(r) = sqrt(K(r) / π), and K(r) = π r² / λ · the mean over nuclei of n(r) / a(r): n(r) are the other
    nuclei within r of a nucleus, a(r) is the tissue within r of it, and λ = (N - 1) / area of the tissue.
    So a disc that reaches over the border of the tissue or of the slide counts by its tissue alone, and no
    nucleus is lost for being near a border. L(r) is r for nuclei that lie at random (a homogeneous Poisson
    process), more where they clump, less where they keep apart. Nuclei have a size, so that few are closer
    than a diameter, which makes L(10) small. Tissue of different densities, as stroma and tumour have them,
    also counts as clumps.

    Args:
        points_um: float64 `[N, 2]`, x and y of the nuclei's centroids; those outside of the tissue's mask do
            not count.
        tissue: that was analysed.

    Returns:
        For each radius its `r_um` and `l_um`, µm. `l_um` is None with fewer than two nuclei, and for a radius
        above a quarter of the shorter side of the slide or region: too few discs of it fit in there.
    """
    points = points_um[tissue.contains(points_um)]
    centres = points[:: -(-len(points) // _CENTRES) or 1]
    values: dict[float, float] = {}
    if len(points) > 1:
        tree, density = spatial.KDTree(points), (len(points) - 1) / tissue.area_um2
        for r in (r for r in RADII_UM if r <= tissue.shorter_side_um / 4):
            area = tissue.around(centres, r)
            others = tree.query_ball_point(centres, r, return_length=True) - 1
            around = others[area > 0] / area[area > 0]
            if len(around):
                values[r] = r * float(np.sqrt(around.mean() / density))
    return [{"r_um": r, "l_um": values.get(r)} for r in RADII_UM]
