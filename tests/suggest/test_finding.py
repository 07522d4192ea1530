"""The regions of a slide: the doubtful spot is found; regions are apart, and the same each time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax.errors import DataError
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.regions import Regions
from nucseg_jax.slides import Slide, slide_of_array
from nucseg_jax.suggest.finding import SuggestionRequest, Suggestions, find
from tests import drawn_tissue

SIDE_UM = 16.0  # 64 pixels
SPOT = slice(128, 192), slice(192, 256)


class ContradictsItself(RedIsNucleus):
    """Of pixels that are not blue at all it is sure or not by the column of the tile that they lie in."""

    def kept(self, tiles: jax.Array, dyes: jax.Array, tiling: Tiling) -> jax.Array:
        stripes = jnp.where(jnp.arange(tiling.tile) // 4 % 2, 10, 160)  # it says 0.96 or 0.37
        red = jnp.where(tiles[..., 2] == 0, stripes.astype(jnp.uint8), tiles[..., 0])
        return super().kept(tiles.at[..., 0].set(red), dyes, tiling)


def image() -> NDArray[np.uint8]:
    """Tissue, glass on its right, and a spot that the network contradicts itself in."""
    picture = drawn_tissue.tissue(256, 384, 130)
    spot = picture[SPOT]
    spot[spot[..., 0] < 140, 2] = 0  # the nuclei in it
    picture[:, 320:] = 250
    return picture


def found(slide: Slide, count: int = 4, roi: Regions | None = None, **options: bool) -> Suggestions:
    segmenter = drawn_tissue.segmenter(network=ContradictsItself(tile=72))
    return find(slide, segmenter, SuggestionRequest(count, SIDE_UM, **options), roi=roi)


def test_the_doubtful_spot_comes_first() -> None:
    parts: list[float] = []
    with slide_of_array(image(), drawn_tissue.MPP) as slide:
        result = found(slide)
        segmenter = drawn_tissue.segmenter(network=ContradictsItself(tile=72))
        again = find(slide, segmenter, SuggestionRequest(4, SIDE_UM), on_progress=parts.append)
    assert again.regions == result.regions
    assert [of.mask.sum() for of in again.nuclei] == [of.mask.sum() for of in result.nuclei]
    assert parts == sorted(parts) and parts[-1] == pytest.approx(1)

    boxes = [shapely.box(*region.box) for region in result.regions]
    spot = shapely.box(SPOT[1].start, SPOT[0].start, SPOT[1].stop, SPOT[0].stop)
    assert shapely.intersection(boxes[0], spot).area > 0.5 * spot.area
    scores = [region.score.uncertainty for region in result.regions]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0.05
    assert len(boxes) == 4 and shapely.union_all(boxes).area == 4 * 64 * 64  # none overlap
    assert all(region.score.tissue >= 0.5 for region in result.regions)
    assert result.looked_at == (7 * 11, 77 // 4) and result.covered == 1


def test_nuclei_are_those_that_reach_into_a_region() -> None:
    with slide_of_array(image(), drawn_tissue.MPP) as slide:
        result = found(slide)
        segmenter = drawn_tissue.segmenter(network=ContradictsItself(tile=72))
        everywhere = segmenter.label_map(slide, result.frame)
        without = found(slide, with_nuclei=False)
    inside = np.zeros(everywhere.shape, bool)
    for region in result.regions:
        left, top, right, bottom = region.box
        inside[top:bottom, left:right] = True
    wanted = np.unique(everywhere[inside & (everywhere > 0)])
    assert len(result.nuclei) == len(wanted) > 10
    drawn = np.zeros(everywhere.shape, bool)
    for nucleus in result.nuclei:
        height, width = nucleus.mask.shape
        drawn[nucleus.top : nucleus.top + height, nucleus.left : nucleus.left + width] |= nucleus.mask
    np.testing.assert_array_equal(drawn, np.isin(everywhere, wanted))
    assert without.nuclei == [] and without.regions == result.regions


def test_roi_and_slides_with_too_little_room() -> None:
    drawn = shapely.Polygon([(10, 10), (260, 20), (250, 250), (30, 240)])
    with slide_of_array(image(), drawn_tissue.MPP) as slide:
        result = found(slide, 30, Regions({"a": drawn}))
        assert all(drawn.covers(shapely.box(*region.box)) for region in result.regions)
        count = len(result.regions)
        assert 4 <= count <= 9
        (note,) = result.notes
        assert note.startswith(f"only {count} of 30 regions: no other of 16 µm lies apart from these.")
        with pytest.raises(DataError, match="no square of 16 µm in the regions given is at least 50% tissue"):
            found(slide, 1, Regions({"a": shapely.box(0, 0, 60, 300)}))
        with pytest.raises(DataError, match="shows no tissue in the regions given"):
            found(slide, 1, Regions({"a": shapely.box(354, 0, 384, 256)}))
    white = np.full((300, 300, 3), 250, np.uint8)
    with slide_of_array(white, drawn_tissue.MPP) as slide, pytest.raises(DataError, match="shows no tissue"):
        found(slide)
