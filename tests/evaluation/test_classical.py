import numpy as np
import pytest
from skimage.color import hed2rgb
from skimage.draw import disk

from nucseg_jax.evaluation.classical import nucleus_mask
from nucseg_jax.metrics import PixelCounts

CENTRES = [(20, 20), (20, 60), (70, 30), (75, 90), (100, 60)]


def tissue(truth, seed=0):
    """Hematoxylin nuclei on eosin, with noise of a camera's size."""
    rng = np.random.default_rng(seed)
    hed = np.zeros((*truth.shape, 3))
    hed[..., 0] = np.where(truth, 0.15, 0.02)
    hed[..., 1] = 0.08
    noisy = hed2rgb(hed) + rng.normal(0, 0.01, hed.shape)
    return (np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def discs(radius=9, shape=(128, 128)):
    truth = np.zeros(shape, dtype=bool)
    for centre in CENTRES:
        truth[disk(centre, radius, shape=shape)] = True
    return truth


def test_finds_stained_nuclei():
    truth = discs()
    mask = nucleus_mask(tissue(truth))
    assert mask.dtype == bool
    assert mask.shape == truth.shape
    assert PixelCounts.of(truth, mask).f1_nucleus > 0.97


def test_holes_are_filled():
    hollow = discs() & ~discs(radius=4)
    assert PixelCounts.of(discs(), nucleus_mask(tissue(hollow))).f1_nucleus > 0.97


def test_specks_are_removed():
    truth = discs()
    specked = truth.copy()
    specked[118:122, 10:14] = True  # 16 px, far from any nucleus
    assert not nucleus_mask(tissue(specked))[110:, :20].any()


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (180, 120, 190), (90, 60, 140)])
def test_an_image_of_one_colour_is_background(colour):
    image = np.full((40, 50, 3), colour, dtype=np.uint8)
    assert not nucleus_mask(image).any()


def test_an_image_without_pixels():
    assert nucleus_mask(np.zeros((0, 5, 3), np.uint8)).shape == (0, 5)


def test_the_image_is_not_changed():
    image = tissue(discs())
    before = image.copy()
    nucleus_mask(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)]
)
def test_only_rgb_bytes(image):
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\]"):
        nucleus_mask(image)
