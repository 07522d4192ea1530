"""The sample image."""

import numpy as np
import pytest

import nucseg_jax
from nucseg_jax import UserError, open_slide
from nucseg_jax.pretrained import SAMPLE


def test_the_file_says_its_resolution() -> None:
    with open_slide(SAMPLE) as slide:
        assert slide.size == (512, 512) and slide.mpp == pytest.approx(0.499, abs=1e-4)
    assert SAMPLE.stat().st_size < 600_000


def test_the_same_field_at_any_resolution() -> None:
    at_40x, at_20x = nucseg_jax.sample(), nucseg_jax.sample(0.5)
    assert at_40x.shape == (1022, 1022, 3) and at_20x.shape == (511, 511, 3) and at_40x.dtype == np.uint8
    means = at_40x.reshape(511, 2, 511, 2, 3).mean((1, 3))
    assert np.abs(means - at_20x).mean() < 6
    with pytest.raises(UserError, match="--mpp 5"):
        nucseg_jax.sample(5.0)
