"""Pictures: each nucleus in the colour of its outcome, and colours that everybody tells apart."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from nucseg_jax import drawing
from nucseg_jax.metrics.outcomes import Outcome
from nucseg_jax.report import panels
from tests.metrics.square_nuclei import FLAWED, SIZE, TRUTH, squares


def test_errors_are_drawn_in_their_colours():
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    drawn = panels.errors(grey, TRUTH, FLAWED, panels.window(TRUTH.shape))

    def colour(top, left):
        return tuple(int(v) for v in drawn[top, left])

    assert colour(16, 16) == panels.COLOURS[Outcome.RIGHT]
    assert colour(16, 48) == panels.COLOURS[Outcome.MISSED]
    assert colour(48, 12) == colour(48, 36) == panels.COLOURS[Outcome.MERGED]
    assert colour(40, 12) == (255, 255, 255)  # outline of a true nucleus that was merged
    assert colour(80, 12) == panels.COLOURS[Outcome.SPLIT]
    assert colour(76, 76) == panels.COLOURS[Outcome.FALSE]
    assert colour(90, 90) == (44, 44, 44)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) <= 23


def test_nuclei_are_judged_in_the_whole_image_and_drawn_in_a_part():
    truth, prediction = squares((0, 0, 8, 40), size=64), squares((0, 0, 8, 10), size=64)
    grey = np.full((64, 64, 3), 200, np.uint8)
    drawn = panels.errors(grey, truth, prediction, (slice(0, 8), slice(0, 10)))
    assert drawn.shape == (8, 10, 3)
    # In the part alone it would be right.
    assert (drawn[3, 3] == panels.COLOURS[Outcome.FALSE]).all()


def test_a_missed_nucleus_under_a_prediction_has_an_outline():
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    truth, prediction = squares((30, 30, 10, 10)), squares((20, 20, 30, 30))
    drawn = panels.errors(grey, truth, prediction, panels.window(truth.shape))
    assert (drawn[30, 35] == panels.COLOURS[Outcome.MISSED]).all()
    assert (drawn[35, 35] == panels.COLOURS[Outcome.FALSE]).all()


def test_ids_of_nuclei_need_no_order():
    renumbered = np.array([0, 900_000_000, 7, 3, 12, 4], np.int32)[TRUTH]
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    part = panels.window(TRUTH.shape)
    np.testing.assert_array_equal(
        panels.errors(grey, TRUTH, FLAWED, part), panels.errors(grey, renumbered, FLAWED, part)
    )


def test_a_window_is_the_middle_of_the_image():
    assert panels.window((1000, 1000), 400) == (slice(300, 700), slice(300, 700))
    assert panels.window((96, 500), 400) == (slice(0, 400), slice(50, 450))


def test_masks_part_nuclei_that_touch():
    drawn = panels.mask(TRUTH)[..., 0]
    assert drawn[48, 23] == 0 and drawn[48, 22] == drawn[48, 24] == 255
    assert panels.shrunk(np.zeros((2500, 1000, 3), np.uint8)).shape == (834, 334, 3)


def test_pictures_with_few_colours_are_embedded_exactly():
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    drawn = panels.errors(grey, TRUTH, FLAWED, panels.window(TRUTH.shape))
    kind, _, data = panels.data_uri(drawn).partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), drawn)


# Machado, Oliveira & Fernandes, IEEE TVCG 15(6), 2009: severity 1.0, of linear RGB.
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_outcomes_are_told_apart_without_all_cones(kind):
    colours = np.array([*panels.COLOURS.values(), (60, 60, 60)]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distance[np.triu_indices(len(lab), 1)].min() > 25


def test_what_nobody_annotated_is_hatched_and_judged_by_nobody():
    """Of the false nuclei one lies mostly outside; of the two that are split, one is there no longer."""
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    unannotated = np.zeros((SIZE, SIZE), bool)
    unannotated[:, 60:] = True
    prediction = FLAWED + squares((60, 56, 6, 12)) * 50
    part = panels.window(TRUTH.shape)
    drawn = panels.errors(grey, TRUTH, prediction, part, unannotated)
    outside = {tuple(c) for c in drawn[:, 60:].reshape(-1, 3).tolist()}
    assert outside == {(0, 0, 0), drawing.HATCH}
    np.testing.assert_array_equal(drawn[:, :60], panels.errors(grey, TRUTH, FLAWED, part)[:, :60])
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) <= 23
    outlined = panels.outlined(grey, TRUTH, unannotated)
    assert (outlined[:, 60:] == outlined[:, 60:, :1]).all() and (outlined[0, 70] == 100).all()
