"""Blocks of a slide: the same nuclei whatever their size, each once and whole."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict
from numpy.typing import NDArray

from benchmarks.colour_network import RedIsNucleus
from nucseg_jax import instances
from nucseg_jax.inference.blocks import CutSizes
from nucseg_jax.inference.segmentation import Segmentation, Setup
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.slides import slide_of_array
from tests.drawn_tissue import EOSIN, MPP, assert_same_nuclei, config_of, of_whole, segmenter, tissue


@pytest.mark.parametrize("method", instances.METHODS)
def test_blocks_of_any_size_give_the_nuclei_of_the_whole(method: str) -> None:
    image = tissue(230, 310, 150)
    whole = of_whole(image, config_of(method))
    assert 30 < whole.max() < 150
    for block_px in (24, 50, 128, 1024):
        found = segmenter(method, block_px=block_px)(image, MPP)
        assert_same_nuclei(found, whole)
        assert set(np.unique(found)) == set(range(whole.max() + 1))  # consecutive


def eosin_of(
    image: NDArray[np.uint8], mpp: float, method: str, **options: int
) -> dict[tuple[int, int, int], float]:
    """The eosin around each nucleus, by its place and its size; -1 for one without a ring, amid others."""
    with slide_of_array(image, mpp) as slide:
        nuclei = segmenter(method, network_mpp=mpp, **options).stream(slide)
        return {
            (n.top, n.left, int(n.mask.sum())): float(np.nan_to_num(n.eosin_ring, nan=-1)) for n in nuclei
        }


@pytest.mark.parametrize(
    ("mpp", "method", "count"), [(0.1, "components", 25), (0.25, "watershed", 90), (0.5, "depth", 90)]
)
def test_the_eosin_around_nuclei_is_that_of_the_whole(mpp: float, method: str, count: int) -> None:
    """In a field that varies, of nuclei that touch and some that are too large, at blocks' borders, too."""
    image = tissue(230, 310, count)
    image[..., 2] = np.random.default_rng(1).integers(0, 255, image.shape[:2])
    image[40:130, 100:220, 0] = 0  # more than 800 µm² at 0.5 µm a pixel
    whole = eosin_of(image, mpp, method, small_px=10**6)
    assert len(whole) > 15 and len(set(whole.values())) > 15
    for block_px in (24, 50, 128):
        assert eosin_of(image, mpp, method, block_px=block_px) == whole


SMALL_REACH = CutSizes(reaches_px=(4, 16), largest_px=80, window_px=64, window_reach_px=48)
"""Components of more than 80 pixels are large ones."""


def with_small_reach(image: NDArray[np.uint8], config: ConfigDict, block_px: int) -> list[Nucleus]:
    """The nuclei of an image, as a large slide's, of blocks that look no further than `SMALL_REACH`."""
    with ThreadPoolExecutor(1) as cutter, slide_of_array(image, MPP) as slide:
        setup = Setup(
            RedIsNucleus(),
            config,
            block_px,
            cutters=lambda: cutter,
            cutter_count=1,
            readers=2,
            small_px=0,
            cut_sizes=SMALL_REACH,
        )
        return list(Segmentation(slide, Frame(slide.size, MPP, MPP), setup))


def label_map_of(nuclei: list[Nucleus], shape: tuple[int, ...]) -> NDArray[np.int32]:
    label_map = np.zeros(shape, np.int32)
    for nucleus in nuclei:
        part = label_map[place_of(nucleus)]
        assert not part[nucleus.mask].any(), "two nuclei overlap"
        part[nucleus.mask] = nucleus.id
    return label_map


def place_of(nucleus: Nucleus) -> tuple[slice, slice]:
    height, width = nucleus.mask.shape
    return slice(nucleus.top, nucleus.top + height), slice(nucleus.left, nucleus.left + width)


def coverage_of(nuclei: list[Nucleus], shape: tuple[int, ...]) -> NDArray[np.int32]:
    """How many nuclei each pixel is of."""
    covered = np.zeros(shape, np.int32)
    for nucleus in nuclei:
        covered[place_of(nucleus)] += nucleus.mask
    return covered


def test_components_that_reach_far_are_cut_whole() -> None:
    image = tissue(260, 260, 8)
    image[10:85, 100:103] = 0  # 75 px high, and at once 79 wide
    image[82:85, 60:139] = 0
    config = config_of("watershed")
    for block_px in (24, 50, 100, 1024):
        found = label_map_of(with_small_reach(image, config, block_px), (260, 260))
        assert_same_nuclei(found, of_whole(image, config))


def test_larger_components_give_whole_nuclei_in_any_block() -> None:
    """All touching: one component of the whole image, cut in windows on a fixed grid."""
    y, x = np.mgrid[:230, :310]
    image = np.tile(np.array(EOSIN, np.uint8), (230, 310, 1))
    image[..., 0] = np.where(((y % 20) - 10) ** 2 + ((x % 20) - 10) ** 2 < 115, 10, 230)
    config = config_of("watershed")
    for block_px in (24, 100, 1024):
        found = label_map_of(with_small_reach(image, config, block_px), (230, 310))
        assert_same_nuclei(found, of_whole(image, config))


@settings(max_examples=15)
@given(
    st.integers(0, 2**31),
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
    st.integers(16, 100),
    st.sampled_from(instances.METHODS),
)
def test_any_image_in_any_blocks(seed: int, shape: tuple[int, int], block_px: int, method: str) -> None:
    image = tissue(*shape, count=shape[0] * shape[1] // 150, seed=seed)
    found = segmenter(method, block_px=block_px)(image, MPP)
    assert found.shape == shape and found.dtype == np.int32
    assert_same_nuclei(found, of_whole(image, config_of(method)))


@pytest.mark.parametrize("length", [30, 44, 47, 49, 52, 58, 64, 90])
@pytest.mark.parametrize("min_area_px", [0, 40])
def test_long_nuclei_in_a_huge_component(length: int, min_area_px: int) -> None:
    """Bars between boundaries: those longer than windows reach are cut where these meet, none is dropped."""
    image = np.zeros((260, 200, 3), np.uint8)
    image[..., 1] = 255
    image[:, ::12, 1] = image[:, 1::12, 1] = image[::length, :, 1] = image[1::length, :, 1] = 0
    config = config_of("boundary")
    config.boundary.min_area_um2 = min_area_px * MPP**2
    covered = coverage_of(with_small_reach(image, config, block_px=100), image.shape[:2])
    assert covered.max() == 1
    if min_area_px == 0:
        assert (covered == 1).mean() > 0.99
    else:  # a piece of a bar, 12 pixels wide, that is too small
        assert (covered == 1).mean() > 0.9


@pytest.mark.parametrize("method", ["components", "watershed"])
def test_no_pixel_of_a_huge_component_is_lost(method: str) -> None:
    """All of it is one nucleus, or a mesh: windows cut it where they meet."""
    mesh = np.full((400, 300), 255, np.uint8)
    mesh[(np.arange(400)[:, None] % 20 > 3) & (np.arange(300)[None] % 20 > 3)] = 0
    for nucleus in (np.full((400, 300), 255, np.uint8), mesh):
        image = np.stack([255 - nucleus, np.full_like(nucleus, 255), nucleus], axis=-1)
        expected: list[NDArray[np.int32]] = []
        config = config_of(method)
        config[method].max_area_um2 = 0.0
        for block_px in (50, 333):
            covered = coverage_of(with_small_reach(image, config, block_px), image.shape[:2])
            if method == "components":
                np.testing.assert_array_equal(covered > 0, nucleus > 0)
            assert (covered[nucleus > 0] > 0).mean() > 0.98 and not covered[nucleus == 0].any()
            expected.append(covered)
        np.testing.assert_array_equal(*expected)


def test_pieces_of_a_huge_component_do_not_pass_for_nuclei() -> None:
    """Where the whole of it is larger than any nucleus, it is left out as a whole."""
    image = np.tile(np.array((0, 255, 255), np.uint8), (400, 300, 1))
    config = config_of("watershed")
    config.watershed.max_area_um2 = 300.0  # 4,800 pixels: more than a window holds, less than it looks at
    for block_px in (50, 333):
        assert with_small_reach(image, config, block_px) == []
