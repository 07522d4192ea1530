"""What the model card says: rows by organ, intervals, the worst crops."""

import dataclasses

import numpy as np

from benchmarks import model_card
from nucseg_jax.data.dataset import Example


def example(organ: str, seed: int) -> Example:
    """500×500 pixels with 8×8 nuclei on a grid: 16 in each crop of 250."""
    label_map = np.zeros((500, 500), np.int32)
    numbers = iter(range(1, 65))
    for top in range(20, 500, 63):
        for left in range(20, 500, 63):
            label_map[top : top + 8, left : left + 8] = next(numbers)
    image = np.random.default_rng(seed).integers(0, 256, (500, 500, 3)).astype(np.uint8)
    return Example(f"TCGA-{organ}", organ, image, label_map, image, label_map)


def test_a_row_an_organ_and_one_for_all() -> None:
    liver, colon = example("liver", 0), example("colon", 1)
    nothing = np.zeros((500, 500), np.int32)
    half = np.where(np.arange(500)[:, None] < 250, colon.label_map, 0).astype(np.int32)
    everywhere = (slice(None), slice(None))
    images = [
        model_card.scored("test", liver, liver.label_map, everywhere),
        model_card.scored("test", colon, half, everywhere),
    ]
    parts = [crop for image in images for crop in model_card.crops(image)]
    assert len(parts) == 8 and sorted(p.scores["aji"] for p in parts) == [0, 0, 1, 1, 1, 1, 1, 1]
    text = model_card.tables(images, parts)
    assert "| liver | 1 | 64 | 1.000 (1.000 to 1.000) |" in text
    assert "| colon | 1 | 64 | 0.500 (0.000 to 1.000) |" in text
    assert "| **all** | 2 | 128 | 0.750 (0.500 to 1.000) |" in text
    assert "which" not in text
    text = model_card.tables(images, parts, apart={"TCGA-colon"})
    assert "| apart | 1 | 64 | 0.500 (0.500 to 0.500) |" in text
    assert "| the others | 1 | 64 | 1.000 (1.000 to 1.000) |" in text
    picture = model_card.worst(parts)
    assert picture.shape[0] == 2 * (model_card.CROP_PX + 36)  # one an image
    empty = dataclasses.replace(liver, original_label_map=nothing)
    assert list(model_card.crops(model_card.scored("test", empty, nothing, everywhere))) == []


def test_crops_that_nobody_annotated_are_left_out() -> None:
    liver = example("liver", 0)
    unannotated = np.broadcast_to(np.arange(500)[:, None] >= 250, (500, 500))
    truth = np.where(unannotated, 0, liver.label_map).astype(np.int32)
    partly = dataclasses.replace(liver, original_label_map=truth, original_unannotated=unannotated)
    whole = model_card.scored("test", partly, liver.label_map, (slice(None), slice(None)))
    crops = list(model_card.crops(whole))
    assert [crop.scores["aji"] for crop in [whole, *crops]] == [1, 1, 1]
    assert model_card.worst(crops).shape[0] == model_card.CROP_PX + 36
