import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucseg_jax.data.patches import (
    FLIP,
    IMAGE,
    LEFT,
    TOP,
    TURNS,
    PatchPlan,
    balanced_crops,
    packed_annotation,
)
from nucseg_jax.errors import UserError

PAPER = PatchPlan(seed=0, sizes=((1024, 1024),) * 23, crop=512, random_crops=200)


def rows_of(plan: PatchPlan, first: int, last: int, batch_size: int) -> np.ndarray:
    return np.concatenate([plan.batch(step, batch_size) for step in range(first, last)])


def test_the_papers_count_of_patches() -> None:
    assert len(PAPER) == 4692
    held_out = PatchPlan(seed=0, sizes=((1024, 1024),) * 20, crop=512, random_crops=200)
    assert len(held_out) == 4080


def test_an_epoch_has_each_patch_once_and_the_four_tiles_of_each_image() -> None:
    rows = rows_of(PAPER, 0, 4692 // 2, 2)
    assert np.bincount(rows[:, IMAGE]).tolist() == [204] * 23
    tiles = {(0, 0), (0, 512), (512, 0), (512, 512)}
    for image in range(23):
        corners = {tuple(c) for c in rows[rows[:, IMAGE] == image][:, [TOP, LEFT]].tolist()}
        assert tiles <= corners
    again = rows_of(PAPER, 4692 // 2, 4692, 2)
    assert not np.array_equal(rows, again), "a new order each epoch"
    assert np.array_equal(np.sort(rows.view("i4,i4,i4,i4,i4"), 0), np.sort(again.view("i4,i4,i4,i4,i4"), 0))


def test_fresh_crops_differ_between_epochs() -> None:
    plan = PatchPlan(seed=0, sizes=((64, 64),), crop=32, random_crops=4, fresh=True)
    first, second = rows_of(plan, 0, 1, 8), rows_of(plan, 1, 2, 8)
    assert {tuple(r) for r in first[:, :3].tolist()} != {tuple(r) for r in second[:, :3].tolist()}


def test_no_symmetry_unless_asked() -> None:
    assert not rows_of(PAPER, 0, 100, 4)[:, [TURNS, FLIP]].any()
    both = PatchPlan(seed=0, sizes=((64, 64),), crop=32, random_crops=96, turns=True, flips=True)
    rows = rows_of(both, 0, 1, 100)
    assert set(rows[:, TURNS]) == {0, 1, 2, 3} and set(rows[:, FLIP]) == {0, 1}


def test_the_seed_decides() -> None:
    other = PatchPlan(seed=1, sizes=PAPER.sizes, crop=512, random_crops=200)
    assert np.array_equal(PAPER.batch(7, 2), PatchPlan(0, PAPER.sizes, 512, 200).batch(7, 2))
    assert not np.array_equal(rows_of(PAPER, 0, 9, 2), rows_of(other, 0, 9, 2))


@given(
    seed=st.integers(0, 2**63),
    sizes=st.lists(st.tuples(st.integers(16, 50), st.integers(16, 50)), min_size=1, max_size=4),
    batch_size=st.integers(1, 9),
    step=st.integers(0, 200),
    fresh=st.booleans(),
)
def test_batches_are_slices_of_one_stream_inside_the_images(
    seed: int, sizes: list[tuple[int, int]], batch_size: int, step: int, fresh: bool
) -> None:
    plan = PatchPlan(seed, tuple(sizes), 16, 3, fresh=fresh, turns=True, flips=True)
    rows = plan.batch(step, batch_size)
    assert rows.shape == (batch_size, 5) and rows.dtype == np.int32
    for i, row in enumerate(rows):
        assert np.array_equal(plan.batch(step * batch_size + i, 1)[0], row)
        height, width = sizes[row[IMAGE]]
        assert 0 <= row[TOP] <= height - 16 and 0 <= row[LEFT] <= width - 16


def test_no_image_is_an_error() -> None:
    with pytest.raises(UserError, match="no training image"):
        PatchPlan(seed=0, sizes=(), crop=512, random_crops=1)


def patches_by_source(plan: PatchPlan, sources: list[str]) -> Counter[str]:
    """How many patches of each source an epoch has."""
    rows = plan.batch(0, len(plan))
    return Counter(sources[image] for image in rows[:, IMAGE])


def test_balance_gives_the_smaller_source_more_crops() -> None:
    """30 images of four tiles and 200 crops; 27 others, whose 6120 patches are 226 or 227 each."""
    sources, sizes = ["a"] * 30 + ["b"] * 27, ((1000, 1000),) * 57
    crops = balanced_crops(sources, sizes, 512, 200)
    assert crops[:30] == (200,) * 30 and set(crops[30:]) == {222, 223}
    plan = PatchPlan(seed=0, sizes=sizes, crop=512, random_crops=crops)
    assert len(plan) == 2 * 30 * 204
    assert patches_by_source(plan, sources) == {"a": 30 * 204, "b": 30 * 204}


@given(
    images=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(16, 70), st.integers(16, 70)), min_size=1, max_size=9
    ),
    random_crops=st.integers(0, 20),
)
def test_balanced_sources_have_as_many_patches(images: list[tuple[str, int, int]], random_crops: int) -> None:
    sources = [source for source, _, _ in images]
    sizes = tuple((height, width) for _, height, width in images)
    crops = balanced_crops(sources, sizes, 16, random_crops)
    plan = PatchPlan(0, sizes, 16, crops)
    counts = patches_by_source(plan, sources)
    assert len(set(counts.values())) == 1 and set(counts) == set(sources)
    assert min(crops) >= random_crops
    for source in counts:
        of_source = [count for count, s in zip(crops, sources, strict=True) if s == source]
        assert max(of_source) - min(of_source) <= 1, "shared out evenly"
    alike = patches_by_source(PatchPlan(0, sizes, 16, random_crops), sources)
    assert max(alike.values()) == max(counts.values()), "the largest source stays as it is"


def test_one_source_is_as_without_balance() -> None:
    sizes = ((64, 64), (70, 90), (64, 64))
    crops = balanced_crops(["a"] * 3, sizes, 32, 7)
    assert crops == (7, 7, 7)
    options = {"crop": 32, "fresh": True, "turns": True, "flips": True}
    balanced = PatchPlan(5, sizes, random_crops=crops, **options)
    plain = PatchPlan(5, sizes, random_crops=7, **options)
    assert len(balanced) == len(plain)
    assert np.array_equal(rows_of(balanced, 0, 20, 8), rows_of(plain, 0, 20, 8))


def test_each_image_has_its_number_of_crops() -> None:
    plan = PatchPlan(0, ((64, 64), (64, 64)), 32, (1, 5))
    assert np.bincount(plan.batch(0, len(plan))[:, IMAGE]).tolist() == [5, 9]
    with pytest.raises(ValueError, match="1 numbers of crops for 2 images"):
        PatchPlan(0, ((64, 64), (64, 64)), 32, (1,))


# --- images that are annotated in part ---

SIZES = ((64, 70), (90, 64), (40, 41))


def test_plans_of_whole_annotations_are_those_of_earlier_releases() -> None:
    plan = PatchPlan(5, SIZES, 32, (1, 5, 2), fresh=True, turns=True, flips=True)
    digest = hashlib.sha256(rows_of(plan, 0, 40, 16).tobytes()).hexdigest()
    assert digest.startswith("d3590ebfb1568e76")
    whole = tuple(packed_annotation(mask) for mask in (None, np.zeros((90, 64), bool), None))
    assert whole == (None, None, None)
    same = PatchPlan(5, SIZES, 32, (1, 5, 2), fresh=True, turns=True, flips=True, annotated=whole)
    np.testing.assert_array_equal(rows_of(same, 0, 40, 16), rows_of(plan, 0, 40, 16))


def rectangle(size: tuple[int, int], top: int, left: int, height: int, width: int) -> np.ndarray:
    """Unannotated but for a rectangle."""
    mask = np.ones(size, bool)
    mask[top : top + height, left : left + width] = False
    return mask


@given(
    seed=st.integers(0, 2**63),
    size=st.tuples(st.integers(16, 50), st.integers(16, 50)),
    place=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 20), st.integers(1, 20)),
)
def test_every_patch_has_an_annotated_pixel(
    seed: int, size: tuple[int, int], place: tuple[int, int, int, int]
) -> None:
    top, left = min(place[0], size[0] - 1), min(place[1], size[1] - 1)
    mask = rectangle(size, top, left, *place[2:])
    annotated = (None, packed_annotation(mask))
    plan = PatchPlan(seed, ((16, 20), size), 16, 7, fresh=True, annotated=annotated)
    rows = plan.batch(0, 2 * len(plan))
    for row in rows[rows[:, IMAGE] == 1]:
        assert 0 <= row[TOP] <= size[0] - 16 and 0 <= row[LEFT] <= size[1] - 16
        assert not mask[row[TOP] : row[TOP] + 16, row[LEFT] : row[LEFT] + 16].all()
    assert (rows[:, IMAGE] == 0).sum() == 2 * (2 + 7), "two tiles and seven crops"


def test_tiles_without_an_annotated_pixel_are_left_out_and_crops_reach_every_part() -> None:
    mask = rectangle((64, 64), 20, 40, 9, 24)  # rows 20 to 28, columns 40 to 63
    plan = PatchPlan(0, ((64, 64),), 32, 4000, annotated=(packed_annotation(mask),))
    assert len(plan) == 4001, "one tile of four"
    rows = plan.batch(0, len(plan))
    tops, lefts = set(rows[:, TOP]), set(rows[:, LEFT])
    assert tops == set(range(29)) and lefts == set(range(9, 33))
    whole = (rows[:, TOP] <= 20) & (rows[:, LEFT] >= 16)
    assert 0.5 < whole.mean(), "crops with much of it are the more frequent ones"
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan and hash(again) == hash(plan)
    assert len(packed_annotation(rectangle((1000, 1000), 200, 300, 500, 400)) or b"") < 2000, "few bytes"


def test_the_annotated_pixel_is_one_that_training_shows() -> None:
    """Not in the margin, but where it lies nearer to the image's side than that."""
    for pixel, tops in (((30, 30), range(14, 25)), ((3, 60), range(0, 1)), ((63, 0), range(41, 42))):
        mask = packed_annotation(rectangle((64, 64), *pixel, 1, 1))
        plan = PatchPlan(0, ((64, 64),), 23, 500, annotated=(mask,), margin=6)
        rows = plan.batch(0, len(plan))
        assert set(rows[:, TOP]) == set(tops)


def test_balance_counts_the_tiles_that_are_left() -> None:
    mask = packed_annotation(rectangle((64, 64), 0, 0, 9, 9))
    annotated = (None, mask)
    crops = balanced_crops(["a", "b"], ((64, 64), (64, 64)), 32, 3, annotated)
    assert crops == (3, 6)
    plan = PatchPlan(0, ((64, 64), (64, 64)), 32, crops, annotated=annotated)
    assert np.bincount(plan.batch(0, len(plan))[:, IMAGE]).tolist() == [7, 7]
    with pytest.raises(ValueError, match="1 annotations for 2 images"):
        PatchPlan(0, ((64, 64), (64, 64)), 32, 1, annotated=(mask,))
