"""Nuclei of regions: the same as those of the whole slide there, and no more is computed than they need."""

from collections.abc import Iterable

import numpy as np
import pytest
import shapely

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax.errors import DataError
from nucseg_jax.inference.magnification import Magnification
from nucseg_jax.inference.segmenter import Segmenter
from nucseg_jax.nuclei import Nucleus
from nucseg_jax.regions import Regions
from nucseg_jax.slides import slide_of_array
from tests.drawn_tissue import EOSIN, MPP, config_of, tissue

SIDES = 1500, 1700
HOLED = shapely.box(600, 500, 1000, 1000).difference(shapely.box(700, 700, 800, 800))
REGIONS = Regions({"holed": HOLED, "small": shapely.Point(900, 950).buffer(80)})


def drawn() -> np.ndarray:
    image = np.full((*SIDES, 3), EOSIN, np.uint8)
    part = tissue(500, 850, 700)
    for row in range(3):
        for column in range(2):
            image[row * 500 : row * 500 + 500, column * 850 : column * 850 + 850] = part
    return image


def key(nucleus: Nucleus) -> tuple[int, int, bytes, float, float | None, float | None]:
    stains = nucleus.hematoxylin, nucleus.eosin_ring
    return nucleus.top, nucleus.left, nucleus.mask.tobytes(), nucleus.probability, *stains


def centroid(nucleus: Nucleus) -> shapely.Point:
    rows, columns = np.nonzero(nucleus.mask)
    return shapely.Point(nucleus.left + columns.mean() + 0.5, nucleus.top + rows.mean() + 0.5)


def inside(nuclei: Iterable[Nucleus]) -> dict[tuple, tuple[str, ...]]:
    names = {
        key(nucleus): tuple(
            name
            for name, area in zip(REGIONS.names, REGIONS.areas, strict=True)
            if area.intersects(centroid(nucleus))
        )
        for nucleus in nuclei
    }
    return {nucleus: held for nucleus, held in names.items() if held}


@pytest.mark.parametrize(
    ("small_px", "blend"),
    [
        pytest.param(0, 0, id="side by side"),
        pytest.param(2**23, 32, id="at once, blended"),
        pytest.param(2**23, 0, id="at once", marks=pytest.mark.slow),
        pytest.param(0, 32, id="side by side, blended", marks=pytest.mark.slow),
    ],
)
def test_the_nuclei_of_a_region_are_those_of_the_slide(small_px: int, blend: int) -> None:
    network = RedIsNucleus(tile=128, margin=16, blend=blend)
    segmenter = Segmenter(
        network, config_of("watershed"), Magnification(MPP, "test"), block_px=512, small_px=small_px
    )
    with segmenter, slide_of_array(drawn(), MPP) as slide:
        everywhere = segmenter.stream(slide)
        expected = inside(everywhere)
        stain = network.estimated_from
        stream = segmenter.stream(slide, regions=REGIONS)
        found = list(stream)
        np.testing.assert_array_equal(network.estimated_from, stain)
    assert len(expected) > 50 and any(len(names) == 2 for names in expected.values())
    assert {key(nucleus): nucleus.regions for nucleus in found} == expected
    assert [nucleus.id for nucleus in found] == list(range(1, len(found) + 1))
    assert len(stream.places) < 0.7 * len(everywhere.places)
    assert stream.megapixels < 0.7 * everywhere.megapixels
    assert stream.notes()[0].startswith("regions overlap: holed and small")


def test_no_regions_no_names_and_no_tissue_no_nuclei() -> None:
    segmenter = Segmenter(RedIsNucleus(), config_of("watershed"), Magnification(MPP, "test"))
    image = np.full((600, 900, 3), 245, np.uint8)
    image[:100, :100] = tissue(100, 100, 12)
    corner, glass = Regions({"a": shapely.box(0, 0, 90, 90)}), Regions({"b": shapely.box(800, 550, 900, 600)})
    with segmenter, slide_of_array(image, MPP) as slide:
        assert {nucleus.regions for nucleus in segmenter.stream(slide)} == {None}
        assert {nucleus.regions for nucleus in segmenter.stream(slide, regions=corner)} == {("a",)}
        empty = segmenter.stream(slide, regions=glass)
        assert list(empty) == [] and empty.places == [] and empty.scratch_bytes == 0
        with pytest.raises(DataError, match="c lies off the slide, which has 900×600 pixels"):
            segmenter.stream(slide, regions=Regions({"c": shapely.box(900, 0, 950, 50)}))
