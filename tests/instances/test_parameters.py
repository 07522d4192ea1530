"""The settings that say how nuclei are made: their ranges, and what they are in pixels."""

import math

import numpy as np
import pytest
from ml_collections import ConfigDict

from nucseg_jax.config import get_config
from nucseg_jax.errors import UserError
from nucseg_jax.instances import METHODS, NucleusMap, check, cut, max_area_px, parameters_px, split
from tests.instances.drawn import TOUCHING, perfect


@pytest.fixture
def config() -> ConfigDict:
    return get_config().instances


def test_sizes_mean_the_same_at_every_resolution(config: ConfigDict) -> None:
    """A disc of 40 µm² and one of 90, at 20× and at 40×."""
    config.method = "watershed"
    config.watershed.min_area_um2 = 60
    for mpp in (0.5, 0.25):
        y, x = np.mgrid[: 40 / mpp, : 20 / mpp] * mpp
        mask = ((y - 10) ** 2 + (x - 10) ** 2 < 40 / np.pi) | ((y - 30) ** 2 + (x - 10) ** 2 < 90 / np.pi)
        labels = split(NucleusMap(mask.astype(np.float32)), config, mpp)
        assert labels.max() == 1 and labels[int(30 / mpp), int(10 / mpp)] == 1


def test_what_pixels_were_is_found_again(config: ConfigDict) -> None:
    config.method = "watershed"
    config.watershed.min_area_um2 = 70 * 0.244140625**2
    config.watershed.h_um = 0.5 * 0.244140625
    found = parameters_px(config, 0.244140625)
    assert (found["min_area_px"], found["h_px"], found["threshold"]) == (70, 0.5, 0.5)
    assert found.keys() == {"threshold", "h_px", "smoothing_px", "min_area_px"}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_too_large_is_left_out(method: str, config: ConfigDict) -> None:
    """Of two nuclei of 16 and 100 µm² the second; those that stay are renumbered."""
    label_map = np.zeros((60, 60), np.int32)
    label_map[2:22, 2:22], label_map[30:38, 30:38], label_map[45:53, 45:53] = 1, 2, 3
    config.method = method
    for limit, count in ((50.0, 2), (100.0, 3), (0.0, 3)):
        config[method].max_area_um2 = limit
        labels = split(perfect(label_map), config, 0.5)
        assert labels.max() == count and (labels[10, 10] > 0) == (count == 3)
        assert labels[34, 34] == count - 1 and labels[49, 49] == count
    config[method].max_area_um2 = 50.0
    assert cut(perfect(label_map), config, 0.5).max() == 3


def test_no_method_but_that_of_components_lacks_a_limit(config: ConfigDict) -> None:
    """Components run together, and are no single nuclei."""
    limits = {}
    for method in METHODS:
        config.method = method
        limits[method] = max_area_px(config, 0.25)
    others = ("watershed", "boundary", "depth", "polar")
    assert limits == {"components": math.inf, **dict.fromkeys(others, 12_800)}


def test_an_unknown_method(config: ConfigDict) -> None:
    config.method = "watersheds"
    with pytest.raises(UserError, match=r"instances\.method .*components, watershed, boundary.*'watersheds'"):
        check(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("components.threshold", 1.0),
        ("components.min_area_um2", -1),
        ("depth.max_area_um2", -1),
        ("watershed.h_um", -0.5),
        ("watershed.smoothing_um", float("inf")),
        ("boundary.inside_threshold", 0.0),
        ("boundary.threshold", float("nan")),
        ("boundary.min_marker_um2", -3),
    ],
)
def test_a_value_out_of_its_range_is_named(key: str, value: float, config: ConfigDict) -> None:
    config.method = key.partition(".")[0]
    check(config)
    config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=rf"instances\.{key} must be .*, got {value}"):
        split(perfect(TOUCHING), config, 1.0)
