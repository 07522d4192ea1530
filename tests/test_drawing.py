import numpy as np
import pytest

from nucseg_jax import drawing
from nucseg_jax.drawing import overlay, panel

IMAGE = np.full((60, 80, 3), (200, 120, 190), dtype=np.uint8)


def square(top, left, side=20, nucleus=1):
    label_map = np.zeros(IMAGE.shape[:2], np.int32)
    label_map[top : top + side, left : left + side] = nucleus
    return label_map


EMPTY = np.zeros(IMAGE.shape[:2], np.int32)


def is_colour(picture, colour):
    return (picture == colour).all(axis=-1)


def test_overlay_draws_the_truth_outside_and_the_prediction_inside():
    nucleus = square(10, 10)
    drawn = overlay(IMAGE, nucleus, nucleus)
    inside = nucleus > 0
    true_line = is_colour(drawn, drawing.TRUTH)
    predicted_line = is_colour(drawn, drawing.PREDICTION)
    assert true_line.sum() == 4 * 20
    assert not (true_line & inside).any()
    assert predicted_line.sum() == 4 * 19
    assert (predicted_line <= inside).all()
    untouched = ~true_line & ~predicted_line
    np.testing.assert_array_equal(drawn[untouched], IMAGE[untouched])


def test_overlay_draws_the_line_between_touching_nuclei():
    touching = square(10, 10) + square(10, 30, nucleus=2)
    drawn = overlay(IMAGE, EMPTY, touching)
    assert is_colour(drawn[15:25, 29:31], drawing.PREDICTION).all()


def test_overlay_of_nothing_is_the_image():
    drawn = overlay(IMAGE, EMPTY, EMPTY)
    np.testing.assert_array_equal(drawn, IMAGE)
    drawn[:] = 0
    assert IMAGE.any()  # a copy, not the image itself


def test_panel_shows_image_truth_and_errors():
    truth = square(10, 10) + square(35, 50, nucleus=2)
    prediction = square(10, 10) + square(35, 10, nucleus=900)
    picture = panel(IMAGE, truth, prediction, caption="AJI 0.333")
    height, width = IMAGE.shape[:2]
    assert picture.shape == (height + 36, 3 * width + 16, 3)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[:height, :width], IMAGE)
    outlined = picture[:height, width + 8 : 2 * width + 8]
    assert is_colour(outlined, drawing.TRUTH).sum() == 2 * 4 * 20
    errors = picture[:height, -width:]
    assert is_colour(errors[15:25, 15:25], drawing.RIGHT).all()
    assert is_colour(errors[35:55, 50:70], drawing.MISSED).all()
    assert is_colour(errors[40:50, 15:25], drawing.FALSE).all()


def test_panel_has_a_legend_and_a_caption():
    wide = np.full((20, 300, 3), 255, dtype=np.uint8)
    nothing = np.zeros((20, 300), np.int32)
    plain = panel(wide, nothing, nothing)[20:]
    for colour in (drawing.MISSED, drawing.FALSE, drawing.RIGHT):
        assert is_colour(plain, colour).sum() >= 100
    captioned = panel(wide, nothing, nothing, caption="AJI 0.700")[20:]
    changed = (plain != captioned).any(axis=(0, 2))
    assert changed.any()
    assert changed.argmax() > 300  # the caption is right of the legend


def test_colours_differ_to_the_colour_blind():
    """Distance of the error colours after Viénot's 1999 simulation of red and green blindness."""
    simulations = {
        "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }
    colours = np.array([drawing.TRUTH, drawing.PREDICTION, drawing.RIGHT]) / 255
    for matrix in simulations.values():
        seen = (colours**2.2) @ np.array(matrix).T
        distances = np.linalg.norm(seen[:, None] - seen, axis=-1)[np.triu_indices(3, 1)]
        assert distances.min() > 0.4


@pytest.mark.parametrize("draw", [overlay, panel])
@pytest.mark.parametrize(
    ("image", "truth", "prediction", "message"),
    [
        (IMAGE / 255, EMPTY, EMPTY, "image must be uint8"),
        (IMAGE[..., 0], EMPTY, EMPTY, "image must be uint8"),
        (IMAGE, EMPTY.T, EMPTY, r"truth is \(80, 60\), the image \(60, 80\)"),
        (IMAGE, EMPTY, EMPTY > 0, "prediction must hold integer ids"),
    ],
)
def test_bad_input_is_named(draw, image, truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        draw(image, truth, prediction)


def test_what_nobody_annotated_is_dimmed_and_hatched_and_neither_right_nor_false():
    truth, prediction = square(10, 10), square(10, 10) + square(35, 50, nucleus=2)
    unannotated = np.zeros(IMAGE.shape[:2], bool)
    unannotated[:, 40:] = True
    height, width = unannotated.shape
    drawn = overlay(IMAGE, truth, prediction, unannotated=unannotated)
    np.testing.assert_array_equal(drawn[:, :40], overlay(IMAGE, truth, prediction)[:, :40])
    assert (drawn[:, 40:].max(axis=-1) == drawn[:, 40:].min(axis=-1)).all(), "grey"
    assert is_colour(drawn[:9, 40:], (85, 85, 85)).all(), "half of (200 + 120 + 190) / 3"
    picture = panel(IMAGE, truth, prediction, unannotated=unannotated)[:height]
    np.testing.assert_array_equal(picture[:, :width], IMAGE)
    assert is_colour(picture[:9, width + 8 + 40 : 2 * width + 8], (85, 85, 85)).all()
    errors = picture[:, -width:]
    assert is_colour(errors[15:25, 15:25], drawing.RIGHT).all()
    stripes = is_colour(errors[:, 40:], drawing.HATCH)
    assert (stripes | is_colour(errors[:, 40:], (0, 0, 0))).all() and stripes.mean() == pytest.approx(0.25)
    plain = panel(IMAGE, truth, prediction)[:height, -width:]
    np.testing.assert_array_equal(errors[:, :40], plain[:, :40])
    assert is_colour(plain[40:50, 55:65], drawing.FALSE).all()


def test_a_mask_of_another_image_is_refused():
    with pytest.raises(ValueError, match=r"unannotated is bool \(60, 79\), not bool \(60, 80\)"):
        overlay(IMAGE, EMPTY, EMPTY, unannotated=np.zeros((60, 79), bool))
