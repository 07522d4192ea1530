"""Pixels by class, label maps that are refused, small nuclei. The scores are in test_scores.py."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nucseg_jax.metrics import PixelCounts, remove_small, score
from tests.metrics.drawn_maps import row

GOOD = np.zeros((3, 4), np.int32)


# --- pixels by class -------------------------------------------------------------------------


def test_macro_f1_over_all_pixels_pools_them_first():
    first = PixelCounts.of(row(1, 1, 1, 0), row(1, 1, 0, 0))  # tp 2, fn 1, tn 1
    second = PixelCounts.of(row(0, 0, 1, 0), row(2, 0, 0, 0))  # fp 1, fn 1, tn 2
    pooled = sum((first, second), PixelCounts())
    assert pooled == PixelCounts(tp=2, fp=1, fn=2, tn=3)
    assert pooled.f1_nucleus == pytest.approx(4 / 7)  # 2·2 / (2·2 + 1 + 2)
    assert pooled.f1_background == pytest.approx(6 / 9)  # 2·3 / (2·3 + 1 + 2)
    assert pooled.f1_macro == pytest.approx((4 / 7 + 6 / 9) / 2)
    assert pooled.f1_macro != pytest.approx((first.f1_macro + second.f1_macro) / 2)


def test_pixel_counts_take_masks_too():
    truth, prediction = row(0, 3, 3, 1), row(2, 2, 0, 1)
    assert PixelCounts.of(truth > 0, prediction > 0) == PixelCounts.of(truth, prediction)


def test_pixel_counts_reject_different_shapes():
    with pytest.raises(ValueError, match="differ in shape"):
        PixelCounts.of(GOOD, GOOD.T)


def test_pixel_counts_reject_probabilities():
    with pytest.raises(ValueError, match="prediction must be boolean or integer, got float32"):
        PixelCounts.of(GOOD, GOOD.astype(np.float32))


NUMBERED = np.array([[0, 1, 1, 0], [2, 2, 0, 0], [2, 0, 0, 3]])


def as_pillow(label_map):
    return Image.fromarray(label_map.astype(np.uint8))


@pytest.mark.parametrize("kind", [jnp.asarray, np.ndarray.tolist, as_pillow])
def test_arrays_of_other_kinds_score_as_numpys(kind):
    shifted = np.roll(NUMBERED, 1, axis=1)
    expected = score(NUMBERED, shifted)
    assert 0 < expected["aji"] < 1
    assert score(kind(NUMBERED), shifted) == score(NUMBERED, kind(shifted)) == expected
    assert PixelCounts.of(kind(NUMBERED), shifted) == PixelCounts.of(NUMBERED, shifted)
    np.testing.assert_array_equal(remove_small(kind(NUMBERED), 3), np.where(NUMBERED == 2, 2, 0))


class OnAnAccelerator:
    """As tensors of PyTorch with gradients, or on a GPU."""

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


# --- label maps ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((4, 3), np.int32), r"differ in shape.*\(3, 4\).*\(4, 3\)"),
        (np.zeros((3, 4), np.float32), "prediction must hold integer ids, got float32"),
        (np.zeros((3, 4), bool), "got bool; label its components first"),
        (np.full((3, 4), -2), "prediction must not hold negative ids, got -2"),
        (np.zeros((3, 4, 3), np.int32), r"prediction must be a label map \[H, W\].*one image at a time"),
        ("labels.png", r"prediction must be an array \[H, W\] of integers, got str: 'labels.png'"),
        (None, "prediction must be an array .*, got NoneType"),
        ([[1, 2], [3]], "this list cannot become one"),
        (OnAnAccelerator(), "this OnAnAccelerator cannot become one .*requires grad"),
        ("l" * 1000, r"got str: 'l{199} …$"),
    ],
)
def test_a_bad_map_is_named(bad, message):
    with pytest.raises(ValueError, match=message):
        score(GOOD, bad)
    with pytest.raises(ValueError):
        score(bad, GOOD)


# --- remove_small ----------------------------------------------------------------------------


def test_remove_small_keeps_ids_dtype_and_its_input():
    label_map = np.array([[9, 9, 0, 4], [9, 7, 7, 0]], np.uint16)
    before = label_map.copy()
    result = remove_small(label_map, 2)
    np.testing.assert_array_equal(result, [[9, 9, 0, 0], [9, 7, 7, 0]])
    assert result.dtype == np.uint16
    np.testing.assert_array_equal(label_map, before)


def test_remove_small_of_an_empty_map():
    np.testing.assert_array_equal(remove_small(GOOD, 70), GOOD)
