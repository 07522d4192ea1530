"""What is not reported: nuclei where the slide is masked, and those that are too large to be any."""

import warnings

import numpy as np
import pytest
from ml_collections import ConfigDict
from numpy.typing import NDArray

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax import Segmenter
from nucseg_jax.config import get_config
from nucseg_jax.inference.magnification import Magnification
from nucseg_jax.inference.tile_network import SlideStain
from nucseg_jax.inference.tile_store import LARGEST_DENSITY
from nucseg_jax.slides import slide_of_array
from nucseg_jax.slides.tissue_mask import Kind
from tests.drawn_tissue import EOSIN, MPP

HEMATOXYLIN = (60, 40, 120)
BLUE_PEN = (30, 110, 190)
LARGE = (slice(100, 180), slice(700, 900))
"""A "nucleus" of 16,000 pixels: 1,000 µm²."""


def tissue() -> NDArray[np.uint8]:
    """768 × 1024 pixels with a nucleus of 100 pixels every 64."""
    image = np.tile(np.array(EOSIN, np.uint8), (768, 1024, 1))
    for top in range(20, 768, 64):
        for left in range(20, 1024, 64):
            image[top : top + 10, left : left + 10] = HEMATOXYLIN
    return image


def inked() -> NDArray[np.uint8]:
    image = tissue()
    image[300:420, 200:800] = BLUE_PEN
    image[700:] = 5  # a border
    return image


def segmenter(method: str = "watershed", *, small_px: int = 0, **instances: object) -> Segmenter:
    config: ConfigDict = get_config().instances
    config.method = method
    config.update_from_flattened_dict(instances)
    network = RedIsNucleus(tile=64, margin=4, batch_size=8)
    return Segmenter(network, config, Magnification(MPP, "test"), block_px=200, small_px=small_px)


def label_map(of: Segmenter, image: NDArray[np.uint8]) -> NDArray[np.int32]:
    with slide_of_array(image, MPP) as slide:
        return of.label_map(slide, of.frame(slide))


def centres(label_map: NDArray[np.int32]) -> set[tuple[int, int]]:
    """(top, left) of the drawn nuclei that were found whole."""
    return {
        (top, left)
        for top in range(20, 768, 64)
        for left in range(20, 1024, 64)
        if len(np.unique(label_map[top : top + 10, left : left + 10])) == 1 and label_map[top, left]
    }


@pytest.mark.parametrize("small_px", [0, 10**7])
def test_nothing_is_found_in_ink_and_black_and_all_beside(small_px: int) -> None:
    whole = label_map(segmenter(small_px=small_px), tissue())
    assert whole.max() == 12 * 16
    found = label_map(segmenter(small_px=small_px), inked())
    masked = np.zeros(found.shape, bool)
    masked[300:420, 200:800] = masked[700:] = True
    assert not found[masked].any()
    near = np.zeros(found.shape, bool)
    near[236:484, 136:864] = near[636:] = True
    far = {(y, x) for y, x in centres(whole) if not near[y, x]}
    assert far <= centres(found) and 100 < len(far) < found.max() <= 12 * 16
    assert set(np.unique(found)) == set(range(found.max() + 1))


@pytest.mark.parametrize("small_px", [0, 10**7])
def test_masked_pixels_are_not_measured_as_eosin(small_px: int) -> None:
    """Nuclei as near to what is masked as can be: around all of them there is the same eosin."""
    of = segmenter("components", small_px=small_px)
    image = tissue()
    for left in range(4):  # whatever the grid of the mask
        image[100:500, 8 * left + 200 * left :][:, :120] = BLUE_PEN
    with slide_of_array(image, MPP) as slide:
        stream = of.stream(slide)
        found = [nucleus.eosin_ring for nucleus in stream]
        assert stream.kinds.masked.any() and len(found) > 50
    np.testing.assert_allclose(found, (255 - EOSIN[2]) / 255 * LARGEST_DENSITY)


def test_ink_is_one_nucleus_where_it_is_not_masked() -> None:
    """As it was; the limit of the area alone leaves out what has this size."""
    components = {"masked": ("black",), "components.min_area_um2": 1.0}
    found = label_map(segmenter("components", **components), inked())
    assert (found[300:420, 200:800] == found[360, 500]).all() and found[360, 500]
    assert not found[700:].any()
    assert not label_map(segmenter(masked=("black",)), inked())[300:420, 200:800].any()


def test_the_nuclei_of_a_map_are_those_of_the_stream() -> None:
    """Tuning and ensembles take the one, prediction the other."""
    image = inked()
    image[LARGE] = HEMATOXYLIN
    for of in (segmenter(small_px=10**7), segmenter()):
        with slide_of_array(image, MPP) as slide:
            of_map = of.cut(of.nucleus_map(slide))
        of_stream = label_map(of, image)
        np.testing.assert_array_equal(of_map > 0, of_stream > 0)
        assert of_map.max() == of_stream.max()
        assert not of_map[LARGE].any()


@pytest.mark.parametrize("small_px", [0, 10**7])
def test_too_large_ones_are_counted_and_said(small_px: int) -> None:
    image = tissue()
    image[LARGE] = HEMATOXYLIN
    with slide_of_array(image, MPP) as slide:
        stream = segmenter(small_px=small_px).stream(slide)
        nuclei = list(stream)
    assert [nucleus.id for nucleus in nuclei] == list(range(1, len(nuclei) + 1))
    assert max(nucleus.mask.sum() for nucleus in nuclei) == 100
    assert stream.left_out == {"too_large": 1}
    (note,) = stream.notes()
    assert note.startswith("left out: 1 larger than 800 µm², too large")
    assert "instances.watershed.max_area_um2" in note
    with slide_of_array(image, MPP) as slide:
        all_of_them = segmenter(small_px=small_px, **{"watershed.max_area_um2": 0.0}).stream(slide)
        largest = max(nucleus.mask.sum() for nucleus in all_of_them)
    assert largest == 16_000 and all_of_them.left_out == {"too_large": 0}
    assert stream.implausible == {"too_large": 0} and all_of_them.implausible == {"too_large": 1}
    (note,) = all_of_them.notes()
    assert note.startswith("kept: 1 larger than 800 µm², too large")
    assert "instances.watershed.max_area_um2 = 800 leaves them out" in note


@pytest.mark.parametrize("small_px", [0, 10**7])
def test_components_that_are_too_large_are_kept_and_said(small_px: int) -> None:
    """They have no limit of their own, since nuclei that touch are one; whoever wants one sets it."""
    image = tissue()
    image[LARGE] = HEMATOXYLIN
    image[300:400, 100:228] = HEMATOXYLIN  # 12,800 pixels are just 800 µm²
    of = segmenter("components", small_px=small_px)
    with slide_of_array(image, MPP) as slide:
        stream = of.stream(slide)
        areas = sorted(int(nucleus.mask.sum()) for nucleus in stream)
    assert areas[-2:] == [12_800, 16_000]
    assert stream.implausible == {"too_large": 1} and stream.left_out == {"too_large": 0}
    (note,) = stream.notes()
    assert note.startswith("kept: 1 larger than 800 µm²") and "components.max_area_um2 = 800" in note
    with slide_of_array(image, MPP) as slide:
        limited = segmenter("components", small_px=small_px, **{"components.max_area_um2": 800.0}).stream(
            slide
        )
        assert len(list(limited)) == len(areas) - 1
    assert limited.implausible == {"too_large": 0} and limited.left_out == {"too_large": 1}


@pytest.mark.parametrize("scale", [1, 2])
def test_the_limit_is_an_area_at_any_resolution(scale: int) -> None:
    """At 0.5 µm a pixel the same 1,000 µm² are 4,000 pixels."""
    config = get_config().instances
    config.method = "watershed"
    image = tissue()
    image[LARGE] = HEMATOXYLIN
    mpp = MPP * scale
    network = RedIsNucleus(tile=64, margin=4, batch_size=8)
    of = Segmenter(network, config, Magnification(mpp, "test"), small_px=0)
    with slide_of_array(np.ascontiguousarray(image[::scale, ::scale]), mpp) as slide:
        for limit, left_out in ((800.0, 1), (1100.0, 0)):
            config.watershed.max_area_um2 = limit
            stream = of.stream(slide)
            list(stream)
            assert stream.left_out == {"too_large": left_out}


def test_a_call_warns_of_both_and_of_nothing_else() -> None:
    image = inked()
    image[LARGE] = HEMATOXYLIN
    with pytest.warns(UserWarning, match="image: ") as caught:
        segmenter(small_px=10**7)(image, MPP)
    said = [str(warning.message) for warning in caught]
    assert len(said) == 2 and "pen " in said[0] and "black " in said[0] and "fold" not in said[0]
    assert "left out: 1 larger than 800 µm²" in said[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        segmenter(small_px=10**7)(tissue(), MPP)


class OfAnotherStain(RedIsNucleus):
    def estimate(self, pixels: NDArray[np.uint8]) -> SlideStain:
        return super().estimate(pixels)._replace(found=False)


def test_a_stain_that_is_not_found_is_said() -> None:
    config = get_config().instances
    config.method = "watershed"
    network = OfAnotherStain(tile=64, margin=4, batch_size=8)
    of = Segmenter(network, config, Magnification(MPP, "test"), small_px=10**7)
    with pytest.warns(
        UserWarning, match="image: shows no hematoxylin and eosin; its stain is left"
    ) as caught:
        found = of(tissue(), MPP)
    assert len(caught) == 1 and found.max() == 12 * 16


def test_squares_of_black_are_not_computed() -> None:
    """A black border around a piece of tissue, as viewers export it."""
    image = np.zeros((1536, 1536, 3), np.uint8)
    image[600:900, 600:900] = tissue()[:300, :300]
    with slide_of_array(image, MPP) as slide:
        stream = segmenter().stream(slide)
        count = len(list(stream))
    assert stream.megapixels <= 4 * 256**2 / 1e6
    assert 12 <= count <= 25  # those within a pixel of the mask from the border are lost
    assert stream.kinds.tissue.mean() == pytest.approx((270 / 1536) ** 2, rel=0.25)
    assert stream.kinds.shares()["black"] > 0.95
    assert stream.kinds.kinds[0, 0] == Kind.BLACK
