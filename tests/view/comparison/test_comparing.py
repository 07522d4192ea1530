"""Comparisons against the library's scores of the same nuclei's label maps."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nucseg_jax import metrics
from nucseg_jax.metrics.outcomes import Outcome
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.view.comparison import comparing as comparison
from nucseg_jax.view.comparison.comparing import Side, compare
from nucseg_jax.view.nuclei.index import NucleiIndex
from nucseg_jax.view.nuclei.index_building import build
from nucseg_jax.view.nuclei.sources import read_parts
from tests.export.drawn_nuclei import SHAPES, label_map_of, many, mask_of, nuclei_of, sampled
from tests.view.drawn_results import FRAME, write_result

SCORES = ("aji", "aji_plus", "pq", "dq", "sq", "dice")


def side_of(folder: Path, nuclei: list[Nucleus], frame: Frame = FRAME, **options: object) -> Side:
    """An index of drawn nuclei, through the files of a result."""
    folder.mkdir(exist_ok=True)
    (folder / "any.svs").touch()
    write_result(folder / "out", folder / "any.svs", nuclei, frame=frame, formats=["parquet"], **options)
    build(folder / "index", read_parts(folder / "out/nuclei.parquet", None), frame.size, lambda count: None)
    return Side(folder.name, NucleiIndex(folder / "index"), frame)


def moved(nuclei: list[Nucleus], seed: int, frame: Frame = FRAME) -> list[Nucleus]:
    """Some of the same nuclei, a few pixels away, in an order of their own; none over another."""
    generator = np.random.default_rng(seed)
    free = np.ones(frame.network_size, bool)
    kept: list[Nucleus] = []
    for place in generator.permutation(len(nuclei)).tolist():
        nucleus = nuclei[place]
        height, width = nucleus.mask.shape
        top = int(np.clip(nucleus.top + generator.integers(-4, 5), 0, frame.network_size[0] - height))
        left = int(np.clip(nucleus.left + generator.integers(-4, 5), 0, frame.network_size[1] - width))
        window = free[top : top + height, left : left + width]
        if generator.random() < 0.8 and window[nucleus.mask].all():
            window[nucleus.mask] = False
            kept.append(Nucleus(len(kept) + 1, top, left, nucleus.mask, 0.5))
    return kept


def check_as_scored(found: comparison.Comparison, truth: NDArray, prediction: NDArray) -> None:
    wanted = metrics.score(truth, prediction)
    assert found.scores == pytest.approx({name: wanted[name] for name in SCORES}, abs=1e-12)
    assert found.counts["reference"] == wanted["count_true"]
    assert found.counts["other"] == wanted["count_pred"]


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.sampled_from([300, 64]))
def test_scores_are_those_of_the_label_maps(tmp_path_factory, seed, strip_rows):
    folder = tmp_path_factory.mktemp("compared")
    truth = many(120, FRAME, seed=seed)
    prediction = moved(truth, seed)
    sides = side_of(folder / "truth", truth), side_of(folder / "prediction", prediction)
    counts: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "MOST_PX", strip_rows * FRAME.size[1])
        found = compare(*sides, counts.append)
    check_as_scored(found, label_map_of(truth, FRAME), label_map_of(prediction, FRAME))
    assert 0 < found.scores["aji"] < 1 and not found.notes
    assert counts[-1] == 120 and counts == sorted(counts)


@pytest.mark.parametrize("mpps", [(0.25, 0.5), (0.37, 0.25), (0.1, 0.4), (0.2500001, 0.499)])
def test_networks_of_other_resolutions_are_compared_on_the_slide(tmp_path, mpps):
    frames = [Frame(size=(301, 399), mpp=0.25, network_mpp=mpp) for mpp in mpps]
    nuclei = [many(40, frame, seed=seed) for seed, frame in enumerate(frames)]
    sides = [side_of(tmp_path / str(i), nuclei[i], frames[i]) for i in range(2)]
    maps = [sampled(frame, label_map_of(drawn, frame)) for frame, drawn in zip(frames, nuclei, strict=True)]
    found = compare(*sides, lambda count: None)
    check_as_scored(found, *maps)
    left = [40 - len(np.unique(labels[labels > 0])) for labels in maps]
    for lost, outcome in zip(left, (found.reference, found.other), strict=True):
        assert np.isnan(outcome).sum() == lost


def test_nuclei_of_every_shape_are_themselves(tmp_path):
    side = side_of(tmp_path / "shapes", nuclei_of([mask_of(name) for name in SHAPES]))
    found = compare(side, side, lambda count: None)
    assert set(found.scores.values()) == {1.0}
    assert (found.reference == Outcome.RIGHT).all() and (found.other == Outcome.RIGHT).all()


def drawn(*boxes: tuple[int, int, int, int]) -> list[Nucleus]:
    """Rectangles of (top, left, height, width)."""
    return [
        Nucleus(number, top, left, np.ones((height, width), bool), 0.5)
        for number, (top, left, height, width) in enumerate(boxes, 1)
    ]


TRUTH = drawn((10, 10, 10, 10), (10, 50, 10, 10), (50, 10, 10, 10), (50, 20, 10, 10), (50, 60, 10, 20))
PREDICTION = drawn((10, 11, 10, 10), (50, 10, 10, 20), (50, 60, 10, 10), (50, 70, 10, 10), (90, 90, 9, 9))
"""One right, one missed, two merged, one split in two, one false."""


def test_outcomes_of_drawn_nuclei(tmp_path):
    found = compare(
        side_of(tmp_path / "truth", TRUTH), side_of(tmp_path / "other", PREDICTION), lambda count: None
    )
    right, merged, split, missed, false = Outcome
    assert found.reference.tolist() == [right, missed, merged, merged, split]
    assert found.other.tolist() == [right, merged, split, split, false]
    assert found.counts == {
        "reference": 5,
        "other": 5,
        "right": 1,
        "missed": 1,
        "false": 1,
        "merged": 2,
        "split": 1,
    }
    check_as_scored(found, label_map_of(TRUTH, FRAME), label_map_of(PREDICTION, FRAME))


@pytest.mark.parametrize("empty", ["reference", "other", "both"])
def test_no_nuclei(tmp_path, empty):
    truth = [] if empty in ("reference", "both") else TRUTH
    prediction = [] if empty in ("other", "both") else PREDICTION
    found = compare(
        side_of(tmp_path / "truth", truth), side_of(tmp_path / "other", prediction), lambda count: None
    )
    check_as_scored(found, label_map_of(truth, FRAME), label_map_of(prediction, FRAME))


def test_simplified_outlines_are_told(tmp_path):
    exact = side_of(tmp_path / "exact", many(60, FRAME))
    simple = side_of(tmp_path / "simple", many(60, FRAME), simplify_um=0.5)
    found = compare(exact, simple, lambda count: None)
    (note,) = found.notes
    assert note.startswith("simple: its outlines are simplified")
    assert (found.reference == Outcome.RIGHT).all() and 0.7 < found.scores["aji"] < 1
