"""The tiles that a run's network looks at images in."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from nucseg_jax.config import get_config
from nucseg_jax.errors import UserError
from nucseg_jax.inference.layout import tilings_of
from nucseg_jax.models import STRIDE_PX


@given(
    st.sampled_from(["fcn8", "fc_densenet", "efficient_unet_half"]),
    st.integers(1, 20),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_two_patches_lie_between_tiles_that_share_a_quarter_of_one(
    name: str, strides: int, scale: float
) -> None:
    config = get_config()
    config.model.name, config.model.input_scale = name, scale
    config.data.crop_size = round(strides * STRIDE_PX / scale)
    (tiling,) = tilings_of(config)
    assert tiling.stride == 2 * config.data.crop_size and tiling.tile * scale % STRIDE_PX == 0
    assert config.data.crop_size // 4 <= tiling.blend < config.data.crop_size // 4 + STRIDE_PX / scale


def test_an_image_of_four_patches_a_side_takes_four_tiles() -> None:
    config = get_config()
    config.model.name, config.data.crop_size = "efficient_unet_half", 256
    (tiling,) = tilings_of(config)
    assert (tiling.tile, tiling.blend, tiling.count(1000), tiling.count(1024)) == (576, 64, 2, 2)


def test_a_network_that_pools_over_all_sees_what_it_was_trained_on() -> None:
    config = get_config()
    config.model.name, config.data.crop_size = "psp_segnet", 256
    (tiling,) = tilings_of(config)
    assert (tiling.tile, tiling.blend) == (256, 64)


def test_tiles_that_are_asked_for() -> None:
    config = get_config()
    config.model.name, config.data.crop_size = "efficient_unet_half", 256
    config.eval.tile_px = 320
    assert [(t.tile, t.blend) for t in tilings_of(config)] == [(320, 64)]
    config.eval.overlap_px = 0
    assert [(t.tile, t.blend) for t in tilings_of(config)] == [(320, 0)]
    config.eval.tile_px = 300
    with pytest.raises(
        UserError, match=r"eval.tile_px × model.input_scale = 300 × 1 must be a multiple of 32"
    ):
        tilings_of(config)


def test_a_scale_that_no_tile_suits() -> None:
    config = get_config()
    config.model.name, config.model.input_scale, config.data.crop_size = "fcn8", 0.001, 512
    with pytest.raises(
        UserError, match=r"model.input_scale = 0.001: no tile of up to 2,175 px has a multiple of 32"
    ):
        tilings_of(config)
