import csv

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
