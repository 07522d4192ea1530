import csv
from dataclasses import replace

import numpy as np
import pytest

from nucseg_jax import instances
from nucseg_jax.data.dataset import Example
from nucseg_jax.evaluation import scoring


@pytest.fixture
def example() -> Example:
    truth = np.zeros((40, 40), np.int32)
    truth[0:10, 0:10], truth[20:30, 20:30] = 7, 3
    image = np.zeros((40, 40, 3), np.uint8)
    return Example("x", "liver", image, truth, image, truth)


def nuclei_of(example: Example) -> np.ndarray:
    """The truth and a speck of 9 px too many, below the minimum area of 70."""
    mask = example.original_label_map > 0
    mask[35:38, 35:38] = True
    return instances.components(mask)


def test_scores_by_hand(example: Example) -> None:
    found = scoring.score_image(example, nuclei_of(example), 70 * 0.25**2, 0.25)
    v = found.scores
    assert (v["count_true"], v["count_pred"], v["count_min_area"]) == (2, 3, 2)
    assert v["dice"] == pytest.approx(2 * 200 / (2 * 200 + 9))
    assert v["aji"] == pytest.approx(200 / 209) and v["aji_min_area"] == 1.0
    assert found.label_map.max() == 3


def test_summaries(example: Example) -> None:
    good = scoring.score_image(example, example.original_label_map, 4.375, 0.25)
    bad = scoring.score_image(example, np.zeros((40, 40), np.int32), 4.375, 0.25)
    found = scoring.summary([example, example], [good, bad])
    assert found["aji"] == found["dice"] == 0.5
    # Of 400 true pixels 200 are found.
    assert found["dice_pooled"] == pytest.approx(2 * 200 / (2 * 200 + 200))
    rows = list(csv.DictReader(scoring.to_csv({"a, b": [good], "c": [bad]}).splitlines()))
    assert [(r["entry"], r["id"], r["organ"], float(r["aji"])) for r in rows] == [
        ("a, b", "x", "liver", 1.0),
        ("c", "x", "liver", 0.0),
    ]
    assert scoring.by_organ([good, bad]) == {"liver": [good, bad]}
    lines = scoring.table("title", {"good": [good], "bad": [bad]}, 4.375).splitlines()
    assert lines[0] == "title" and lines[2].split()[:4] == ["good", "1", "1.000", "1.000"]


def test_scores_are_of_what_is_annotated(example: Example) -> None:
    """Of the two nuclei the second one's image half was not looked at; a speck there is none too many."""
    unannotated = np.zeros((40, 40), bool)
    unannotated[20:] = True
    truth = np.where(unannotated, 0, example.original_label_map)
    partly = replace(example, original_label_map=truth, original_unannotated=unannotated)
    found = scoring.score_image(partly, nuclei_of(example), 70 * 0.25**2, 0.25)
    v = found.scores
    assert (v["count_true"], v["count_pred"], v["count_min_area"]) == (1, 1, 1)
    assert v["dice"] == v["aji"] == v["aji_min_area"] == v["f1_macro"] == 1
    assert found.label_map.max() == 3, "what is written is all that was found"
    nothing = scoring.score_image(example, np.zeros((40, 40), np.int32), 4.375, 0.25)
    summed = scoring.summary([partly, example], [found, nothing])
    # Of 100 and 200 true pixels 100 are found.
    assert summed["dice_pooled"] == pytest.approx(2 * 100 / (2 * 100 + 200))
