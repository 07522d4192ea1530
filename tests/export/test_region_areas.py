"""Regions: their sizes, their tissue, and clumping in each."""

import numpy as np
import shapely

from nucseg_jax.export.clumping import RADII_UM, ripley_l
from nucseg_jax.export.region_areas import region_areas
from nucseg_jax.nuclei import Frame
from nucseg_jax.regions import Regions

FRAME = Frame((2000, 4000), 0.5, 0.5)  # 1000 × 2000 µm
EVERYWHERE = np.ones((125, 250), bool)  # 8 µm a pixel


def test_sizes_of_a_region_and_of_its_tissue() -> None:
    tissue = EVERYWHERE.copy()
    tissue[:, :125] = False  # the left half is glass
    half = Regions({"a": shapely.box(1600, 800, 2400, 1600), "off": shapely.box(3200, -800, 4800, 800)})
    found = region_areas(half, FRAME, tissue)
    assert list(found) == ["a", "off"]
    np.testing.assert_allclose(found["a"][:2], [0.16, 0.08])
    np.testing.assert_allclose(found["off"][:2], [0.16, 0.16])
    np.testing.assert_allclose([area.tissue.area_um2 for area in found.values()], [0.08e6, 0.16e6])


def test_clumping_of_each_region() -> None:
    """Two regions of different densities: nuclei lie at random in each, and clump where both are one."""
    generator = np.random.default_rng(0)
    few, many = (
        generator.uniform((0, 0), (1000, 1000), (500, 2)),
        generator.uniform((1000, 0), (2000, 1000), (4000, 2)),
    )
    points = np.concatenate([few, many])
    left, right = shapely.box(0, 0, 2000, 2000), shapely.box(2000, 0, 4000, 2000)
    areas = region_areas(Regions({"few": left, "many": right, "both": left | right}), FRAME, EVERYWHERE)
    values = {name: [row["l_um"] for row in ripley_l(points, area.tissue)] for name, area in areas.items()}
    np.testing.assert_allclose(values["few"], RADII_UM, rtol=0.15)
    np.testing.assert_allclose(values["many"], RADII_UM, rtol=0.03)
    assert np.all(np.array(values["both"]) > 1.2 * np.array(RADII_UM))


def test_no_radius_that_does_not_fit_into_a_region() -> None:
    points = np.random.default_rng(0).uniform(600, 700, (300, 2))
    areas = region_areas(
        Regions({"a": shapely.box(1200, 1200, 1360, 1400)}), FRAME, EVERYWHERE
    )  # 80 × 100 µm
    rows = ripley_l(points, areas["a"].tissue)
    assert [row["l_um"] is None for row in rows] == [False, False, True, True]
