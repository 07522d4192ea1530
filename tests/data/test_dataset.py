"""Examples that are annotated in part: what is said of them, what is refused, what training sees."""

from dataclasses import replace

import numpy as np
import pytest

from nucseg_jax.data.annotation import annotated_share, check_annotated, same_annotation, shown_share
from nucseg_jax.data.dataset import Example
from nucseg_jax.data.rasters import rasters
from nucseg_jax.errors import DataError
from tests.data.drawn_examples import EXAMPLES


def partly(example: Example, share: float) -> Example:
    """Unannotated from a row on."""
    height = example.label_map.shape[0]
    mask = np.broadcast_to(np.arange(height)[:, None] >= share * height, example.label_map.shape)
    return replace(example, unannotated=mask, original_unannotated=mask)


def test_whole_annotations_give_the_rasters_of_earlier_releases() -> None:
    nothing = partly(EXAMPLES[0], 1.0)
    for examples in (EXAMPLES, [nothing, EXAMPLES[1]]):
        assert rasters(examples).keys() == {"image", "label_map"}
        assert check_annotated("folder/x", "images", examples) is None
        assert annotated_share(examples) == 1


def test_where_one_is_annotated_in_part_all_have_a_mask() -> None:
    examples = [partly(EXAMPLES[0], 0.5), EXAMPLES[1]]
    masks = rasters(examples)["unannotated"]
    assert [m.dtype for m in masks] == [bool, bool]
    assert [m.shape for m in masks] == [(40, 50), (33, 60)]
    assert masks[0][:20].sum() == 0 and masks[0][20:].all() and not masks[1].any()
    share = 1 - 1000 / (2000 + 1980)
    assert annotated_share(examples) == pytest.approx(share)
    assert check_annotated("folder/x", "images", examples) == (
        "folder/x: 1 of 2 images are annotated in part. Only annotated pixels count, 75 % of all"
    )


def test_an_image_without_an_annotated_pixel_is_refused_in_one_line() -> None:
    with pytest.raises(DataError) as error:
        check_annotated("folder/x", "training images", [EXAMPLES[1], partly(EXAMPLES[0], 0)])
    assert str(error.value) == (
        "folder/x: no pixel of a (training images) is annotated. Annotate a part of each, or leave them out"
    )


def test_shares_are_neither_none_nor_all_where_they_are_not() -> None:
    assert [shown_share(s) for s in (0.124, 0.004, 0.9961)] == ["12 %", "0.4 %", "99.6 %"]


def test_annotations_are_the_same_where_nuclei_and_masks_are() -> None:
    a = EXAMPLES[0]
    assert same_annotation(a, replace(a)) and same_annotation(a, partly(a, 1.0))
    assert same_annotation(partly(a, 0.5), partly(a, 0.5))
    assert not same_annotation(a, partly(a, 0.5)) and not same_annotation(partly(a, 0.4), partly(a, 0.5))
    assert not same_annotation(a, replace(a, original_label_map=a.original_label_map + 1))
