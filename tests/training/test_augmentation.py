"""Random changes of training patches: what each does, and that nothing else moves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nucseg_jax.config import get_config
from nucseg_jax.training import augmentation

KEY = jax.random.key(0)


def ramp(size: int) -> np.ndarray:
    """uint8 [1, size, size, 3]: red grows with the row, green with the column."""
    rows, columns = np.mgrid[:size, :size]
    return np.stack([rows, columns, np.zeros_like(rows)], -1)[None].astype(np.uint8)


def test_windows_are_larger_than_patches_by_the_smallest_scale() -> None:
    config = get_config()
    config.data.crop_size = 256
    assert augmentation.window_size(config) == 256
    assert augmentation.rescale_of(config) is None
    assert augmentation.hidden_margin(config) == 0
    config.augment.smallest_scale = 0.8
    assert augmentation.window_size(config) == 320
    assert augmentation.hidden_margin(config) == 32, "at scale 1"
    config.augment.largest_scale = 1.25
    assert augmentation.hidden_margin(config) == 57, "256 / 1.25 of 320 pixels are shown"


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_rescaling_shows_the_windows_middle_at_the_scale(factor: float) -> None:
    """Pixel i of the patch, and its label, lies at window / 2 + (i + ½ − size / 2) / factor."""
    window, size = 96, 48
    batch = {
        "image": jnp.asarray(ramp(window)),
        "label_map": jnp.asarray(ramp(window)[..., 0].astype(np.int32)),
        "unannotated": jnp.asarray(ramp(window)[..., 0] > 50),
    }
    found = augmentation.rescale(batch, KEY, size=size, smallest=factor, largest=factor)
    assert found["image"].shape == (1, size, size, 3) and found["image"].dtype == jnp.uint8
    assert found["label_map"].shape == (1, size, size) and found["label_map"].dtype == jnp.int32
    places = window / 2 + (np.arange(size) + 0.5 - size / 2) / factor
    np.testing.assert_array_equal(found["label_map"][0, :, 0], np.floor(places))
    np.testing.assert_array_equal(found["unannotated"], found["label_map"] > 50)
    np.testing.assert_allclose(found["image"][0, :, 5, 0], places - 0.5, rtol=0, atol=0.51)
    np.testing.assert_allclose(found["image"][0, 5, :, 1], places - 0.5, rtol=0, atol=0.51)


def test_each_patch_has_a_scale_of_its_own_within_the_bounds() -> None:
    window, size, count = 80, 64, 32
    images = jnp.asarray(np.repeat(ramp(window), count, axis=0))
    found = augmentation.rescale({"image": images}, KEY, size=size, smallest=0.8, largest=1.25)["image"]
    steps = np.asarray(found[:, -1, 0, 0], float) - np.asarray(found[:, 0, 0, 0], float)
    factors = (size - 1) / steps
    assert 0.78 < factors.min() < 0.9 and 1.1 < factors.max() < 1.28
    again = augmentation.rescale({"image": images}, KEY, size=size, smallest=0.8, largest=1.25)["image"]
    np.testing.assert_array_equal(found, again)


def test_half_of_the_images_are_blurred_and_none_moves() -> None:
    """A white point: its sum and its middle stay, and it spreads by at most the largest deviation."""
    images = np.zeros((64, 21, 21, 3), np.float32)
    images[:, 10, 10] = 255
    found = np.asarray(augmentation.blur(jnp.asarray(images), KEY, largest=1.5))
    np.testing.assert_allclose(found.sum((1, 2)), 255, rtol=1e-5)
    rows = np.arange(21) - 10
    middles = (found * rows[:, None, None]).sum((1, 2)) / 255
    deviations = np.sqrt((found * rows[:, None, None] ** 2).sum((1, 2)) / 255)[:, 0]
    np.testing.assert_allclose(middles, 0, atol=1e-5)
    assert deviations.max() < 1.5 and 16 < (deviations < 1e-3).sum() < 48


def test_noise_has_the_deviation_that_was_drawn() -> None:
    images = jnp.full((64, 32, 32, 3), 128.0)
    found = np.asarray(augmentation.add_noise(images, KEY, largest=8.0))
    deviations = found.std((1, 2, 3))
    assert 6 < deviations.max() < 8.5 and 16 < (deviations == 0).sum() < 48
    np.testing.assert_allclose(found.mean((1, 2, 3)), 128, atol=0.7)
    assert np.asarray(augmentation.add_noise(jnp.full((8, 9, 9, 3), 254.0), KEY, largest=50.0)).max() == 255.0


def test_gamma_multiplies_the_densities_of_each_image_by_one_factor() -> None:
    grey = np.random.default_rng(0).integers(1, 255, (64, 9, 9, 3)).astype(np.float32)
    found = np.asarray(augmentation.change_gamma(jnp.asarray(grey), KEY, largest=2.0))
    factors = np.log(found / 255.0) / np.log(grey / 255.0)
    each = factors[:, 4, 4, 1]
    np.testing.assert_allclose(factors, np.broadcast_to(each[:, None, None, None], factors.shape), rtol=2e-3)
    assert 0.5 <= each.min() < 0.6 and 1.7 < each.max() <= 2.0
    assert abs(np.log(each).mean()) < 0.15  # as often paler as darker
    ends = jnp.broadcast_to(jnp.asarray([0.0, 255.0]).reshape(1, 1, 2, 1), (4, 1, 2, 3))
    np.testing.assert_allclose(augmentation.change_gamma(ends, KEY, largest=3.0), ends)


def test_changes_follow_one_another_each_with_its_own_draws() -> None:
    config = get_config()
    assert augmentation.image_changes(config, None) is None
    config.augment.noise = 8.0
    images = jnp.full((4, 8, 8, 3), 128.0)
    alone = augmentation.image_changes(config, None)
    assert alone is not None
    np.testing.assert_array_equal(alone(images, KEY), augmentation.add_noise(images, KEY, largest=8.0))
    both = augmentation.image_changes(config, lambda x, key: x / 2)
    assert both is not None
    expected = augmentation.add_noise(images / 2, jax.random.fold_in(KEY, 1), largest=8.0)
    np.testing.assert_array_equal(both(images, KEY), expected)
