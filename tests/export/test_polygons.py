"""Outlines as polygons: exact ones, and simpler ones that stay valid and near."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from nucseg_jax.errors import UserError
from nucseg_jax.export.batches import Batch
from nucseg_jax.export.outlines import Outlines
from nucseg_jax.export.polygons import Shapes, check_simplify, polygons
from nucseg_jax.nuclei import Frame
from tests.export.drawn_nuclei import FRAME, SHAPES, batch_of, many, mask_of, masks, nuclei_of


def rings(polygon: shapely.Polygon) -> list[shapely.LinearRing]:
    return [polygon.exterior, *polygon.interiors]


def check(batch: Batch, simplify_um: float) -> None:
    frame = batch.canvas.frame
    outlines = batch.made(Shapes(simplify_um))
    exact, simple = polygons(batch.outlines, frame), polygons(outlines, frame)
    for before, after in zip(exact, simple, strict=True):
        assert before.is_valid and after.is_valid and after.geom_type == "Polygon" and after.area > 0
        assert len(before.interiors) == len(after.interiors)
        assert [ring.is_ccw for ring in rings(after)] == [True] + [False] * len(after.interiors)
        assert before.boundary.hausdorff_distance(after.boundary) * frame.mpp <= simplify_um + 1e-9
        corners = {corner for ring in rings(before) for corner in ring.coords}
        assert corners >= {corner for ring in rings(after) for corner in ring.coords}


@settings(max_examples=30, deadline=None)
@given(found=st.lists(masks(), min_size=1, max_size=10), um=st.floats(0.02, 5), scale=st.floats(0.3, 4))
def test_simplified_masks_are_valid_and_near(found, um, scale) -> None:
    check(Batch(nuclei_of(found), Frame((2000, 2000), 0.25 / scale, 0.25)), um)


@pytest.mark.parametrize("um", [0.1, 0.25, 0.5, 1, 100])
def test_shapes_and_nuclei(um) -> None:
    check(batch_of(*(mask_of(name) for name in SHAPES)), um)
    check(Batch(many(100, FRAME), FRAME), um)


def test_it_has_fewer_corners() -> None:
    batch = Batch(many(100, FRAME), FRAME)
    counts = [len(batch.made(Shapes(um)).x) for um in (None, 0.25, 0.5)]
    assert counts[1] < 0.6 * counts[0] and counts[2] < 0.7 * counts[1]


def test_at_the_edge_of_a_slide_that_cuts_the_last_pixel() -> None:
    """At 0.5 µm a pixel it has 502 columns, the last of which ends past the slide's 1003rd pixel."""
    frame, mask = Frame((12, 1003), 0.25, 0.5), np.ones((6, 4), bool)
    mask[0, 3] = mask[2, 3] = mask[5, 2] = mask[5, 3] = False
    (nucleus,) = nuclei_of([mask])
    object.__setattr__(nucleus, "top", 0)
    object.__setattr__(nucleus, "left", 498)
    check(Batch([nucleus], frame), 0.5)


def test_an_exact_one_is_the_outline() -> None:
    batch = batch_of(mask_of("ring"))
    assert batch.made(Shapes()) is batch.outlines
    (polygon,) = polygons(batch.outlines, FRAME)
    assert polygon.equals(shapely.box(5, 3, 8, 6) - shapely.box(6, 4, 7, 5))


def test_where_geos_errs_the_exact_outline_is_written(monkeypatch) -> None:
    batch = batch_of(mask_of("ring"), mask_of("U"))
    bowtie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    monkeypatch.setattr(shapely, "simplify", lambda found, *_, **__: np.full(len(found), bowtie))
    found: Outlines = batch.made(Shapes(1.0))
    for name in ("x", "y", "ring_start", "nucleus_start"):
        np.testing.assert_array_equal(getattr(found, name), getattr(batch.outlines, name))


@pytest.mark.parametrize("um", [0.0, -1.0, float("nan"), float("inf")])
def test_what_is_no_distance_is_refused(um) -> None:
    with pytest.raises(UserError, match="must be a distance of more than 0 µm"):
        check_simplify(um)
