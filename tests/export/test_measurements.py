"""Measurements against scikit-image, shapely and closed forms."""

import dataclasses
import math

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage import measure

from nucseg_jax.export.batches import Batch
from nucseg_jax.export.measurements import Measurements, centroids
from nucseg_jax.nuclei import Frame, Nucleus
from tests.export.drawn_nuclei import FRAME, SHAPES, batch_of, many, mask_of, masks, nuclei_of, polygons

MPP = FRAME.network_mpp


def check_against_skimage(found: list[NDArray[np.bool_]]) -> None:
    nuclei = nuclei_of(found)
    ours = Batch(nuclei, FRAME).measurements
    for i, nucleus in enumerate(nuclei):
        theirs = measure.regionprops(nucleus.mask.astype(np.uint8))[0]
        y, x = np.array(theirs.centroid) + 0.5  # from the centre of a pixel to its corner
        assert ours.centroid_x_um[i] == pytest.approx((x + nucleus.left) * MPP)
        assert ours.centroid_y_um[i] == pytest.approx((y + nucleus.top) * MPP)
        assert ours.area_um2[i] == pytest.approx(theirs.area * MPP**2)
        perimeter = measure.perimeter_crofton(nucleus.mask, directions=4)
        assert ours.perimeter_um[i] == pytest.approx(perimeter * MPP)
        # Theirs are of points, ours of squares, whose second moment is 1/12 larger in all directions.
        longer, shorter = (value + 1 / 12 for value in theirs.inertia_tensor_eigvals)
        assert ours.major_axis_um[i] == pytest.approx(4 * math.sqrt(longer) * MPP)
        assert ours.minor_axis_um[i] == pytest.approx(4 * math.sqrt(max(1 / 12, shorter)) * MPP)
        assert ours.eccentricity[i] == pytest.approx(math.sqrt(max(0, 1 - shorter / longer)), abs=1e-6)


@given(st.lists(masks(), min_size=1, max_size=10))
def test_random_masks(found):
    check_against_skimage(found)


def test_shapes_made_by_hand():
    check_against_skimage(list(map(mask_of, SHAPES)))


def test_solidity_is_that_of_the_polygon():
    batch = batch_of(*map(mask_of, SHAPES))
    expected = [polygon.area / polygon.convex_hull.area for polygon in polygons(batch)]
    np.testing.assert_allclose(batch.measurements.solidity, expected, rtol=1e-12)
    assert dict(zip(SHAPES, batch.measurements.solidity, strict=True))["row"] == 1


def test_large_nuclei_are_close_to_skimage_as_it_is():
    """40 px across the definitions differ by little, solidity too."""
    y, x = np.mgrid[-25:26, -25:26]
    ellipse = (x / 24) ** 2 + ((y + 0.4 * x) / 15) ** 2 < 1
    rows, columns = np.flatnonzero(ellipse.any(1)), np.flatnonzero(ellipse.any(0))
    ellipse = ellipse[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ours = batch_of(ellipse).measurements
    theirs = measure.regionprops(ellipse.astype(np.uint8))[0]
    assert ours.major_axis_um[0] == pytest.approx(theirs.axis_major_length * MPP, rel=2e-3)
    assert ours.minor_axis_um[0] == pytest.approx(theirs.axis_minor_length * MPP, rel=2e-3)
    assert ours.eccentricity[0] == pytest.approx(theirs.eccentricity, rel=2e-3)
    assert ours.solidity[0] == pytest.approx(theirs.solidity, abs=0.04)


@pytest.mark.parametrize("radius", [5, 10, 20])
def test_a_disc(radius):
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = x**2 + y**2 <= (radius + 0.5) ** 2
    values = batch_of(disc).measurements
    assert values.circularity[0] == pytest.approx(1, abs=0.06)
    assert values.perimeter_um[0] == pytest.approx(2 * np.pi * (radius + 0.5) * MPP, rel=0.03)
    assert values.major_axis_um[0] == pytest.approx((2 * radius + 1) * MPP, rel=0.02)
    assert values.eccentricity[0] == pytest.approx(0, abs=1e-6)


def test_a_single_pixel():
    values = batch_of(mask_of("pixel")).measurements
    assert values.area_um2[0] == MPP**2
    assert values.circularity[0] == 1
    assert values.solidity[0] == 1
    assert values.eccentricity[0] == 0
    assert values.major_axis_um[0] == pytest.approx(4 / math.sqrt(12) * MPP)


@given(st.lists(masks(), min_size=1, max_size=10))
def test_ratios_stay_between_0_and_1(found):
    values = batch_of(*found).measurements
    for name in ("circularity", "solidity", "eccentricity"):
        ratio = getattr(values, name)
        assert (ratio >= 0).all() and (ratio <= 1).all(), name


def test_units_where_the_network_sees_other_pixels_than_the_slide_has():
    frame = Frame(size=(300, 400), mpp=0.5, network_mpp=0.25)  # read at twice its resolution
    nucleus = Nucleus(4, 100, 200, np.ones((6, 10), dtype=bool), 0.75, 1.5)
    values = Batch([nucleus], frame).measurements
    assert values.centroid_x_px[0] == 102.5 and values.centroid_y_px[0] == 51.5
    assert values.centroid_x_um[0] == 51.25 and values.centroid_y_um[0] == 25.75
    assert values.area_um2[0] == 60 * 0.25**2
    assert values.major_axis_um[0] == pytest.approx(4 * 10 * 0.25 / math.sqrt(12))
    assert (values.id[0], values.probability[0], values.hematoxylin_density[0]) == (4, 0.75, 1.5)


def test_nuclei_at_the_edge_are_marked():
    places = {
        (0, 50): True,
        (50, 0): True,
        (298, 50): True,
        (50, 397): True,
        (1, 1): False,
        (297, 396): False,
    }
    nuclei = [Nucleus(i + 1, *place, np.ones((2, 3), bool), 0.5) for i, place in enumerate(places)]
    assert Batch(nuclei, FRAME).measurements.touches_border.tolist() == list(places.values())


def test_stain_that_was_not_measured_is_nan():
    values = batch_of(mask_of("L"), mask_of("U")).measurements
    np.testing.assert_array_equal(values.hematoxylin_density, [0.25, np.nan])
    np.testing.assert_array_equal(values.hematoxylin_contrast, [0.0625, np.nan])
    np.testing.assert_array_equal(values.hematoxylin_entropy_bits, [1.5, np.nan])
    np.testing.assert_array_equal(values.eosin_ring_density, [0.375, np.nan])


def test_centroids_alone_are_the_same():
    batch = batch_of(*map(mask_of, SHAPES))
    x, y = centroids(batch.canvas)
    np.testing.assert_array_equal(x * MPP, batch.measurements.centroid_x_um)
    np.testing.assert_array_equal(y * MPP, batch.measurements.centroid_y_um)


def test_batches_do_not_change_what_is_measured():
    nuclei = many(60, FRAME)
    whole = Batch(nuclei, FRAME).measurements
    parts = [Batch(nuclei[:7], FRAME).measurements, Batch(nuclei[7:], FRAME).measurements]
    for field in dataclasses.fields(Measurements):
        joined = np.concatenate([getattr(part, field.name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, field.name))


def test_hull_of_many_equals_one_by_one():
    batch = Batch(many(80, FRAME), FRAME)
    expected = [shapely.convex_hull(polygon).area for polygon in polygons(batch)]
    found = batch.measurements.area_um2 / MPP**2 / batch.measurements.solidity
    np.testing.assert_allclose(found, expected, rtol=1e-12)
