"""The device-resident pipeline: tf.data's pixels, tf.data's parameters, several steps a call."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import devices
from nucseg_jax.data import feed_device, feed_host
from nucseg_jax.data.feed_device import Store
from nucseg_jax.data.patches import FLIP, IMAGE, TURNS, PatchPlan
from nucseg_jax.data.rasters import rasters
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training import feeds, train
from tests.data.drawn_examples import EXAMPLES, PLAN
from tests.killed import keep_until

BATCH = 8
# With the refined labels of self-correction, and pixels that nobody annotated.
PARTLY = [replace(EXAMPLES[0], unannotated=EXAMPLES[0].label_map % 3 == 0), EXAMPLES[1]]
RASTERS = {**rasters(PARTLY), "soft_classes": [np.float16(e.image / 255) for e in EXAMPLES]}


@pytest.fixture
def store() -> Store:
    return feed_device.place(devices.make_mesh(), RASTERS, PLAN.sizes)


def test_both_pipelines_cut_the_same_pixels(store: Store) -> None:
    """Images of different sizes, all turns, all flips."""
    mesh, steps = devices.make_mesh(), range(3, 11)
    rows = feed_device.rows_of(PLAN, steps, batch_size=BATCH, rows=slice(0, BATCH), steps_per_dispatch=10)
    assert not rows[:, len(steps) :].any()
    symmetries = {tuple(row) for row in rows[:, : len(steps), [TURNS, FLIP]].reshape(-1, 2).tolist()}
    assert len(symmetries) == 8
    batches = feed_host.batches(
        RASTERS, PLAN, batch_size=BATCH, rows=slice(0, BATCH), first=steps.start, last=steps.stop
    )
    cut = jax.jit(feed_device.cut, static_argnums=2)
    for i, expected in enumerate(batches):
        batch = cut(store, devices.gather_shares(mesh, rows[:, i]), PLAN.crop)
        assert batch.keys() == {"image", "label_map", "unannotated", "soft_classes"}
        images = rows[:, i, IMAGE, None, None]
        np.testing.assert_array_equal(
            batch["unannotated"], (images == 0) & (np.asarray(batch["label_map"]) % 3 == 0)
        )
        for key, array in batch.items():
            assert array.dtype == expected[key].dtype
            np.testing.assert_array_equal(array, expected[key])


def test_each_device_cuts_its_own_rows(store: Store) -> None:
    mesh = devices.make_mesh()
    rows = devices.gather_shares(mesh, PLAN.batch(0, BATCH))
    compiled = jax.jit(feed_device.cut, static_argnums=2).lower(store, rows, PLAN.crop).compile()
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in compiled.as_text()
    assert all(s.spec == devices.split(mesh).spec for s in compiled.output_shardings.values())


def test_two_processes_send_the_two_halves() -> None:
    whole, *halves = (
        feed_device.rows_of(PLAN, range(2, 5), batch_size=4, rows=rows, steps_per_dispatch=3)
        for rows in (slice(0, 4), slice(0, 2), slice(2, 4))
    )
    np.testing.assert_array_equal(np.concatenate(halves), whole)


@pytest.mark.slow  # test_train.py compares the pipelines on annotated pixels
@pytest.mark.parametrize("device_count", [1, 8])
def test_both_pipelines_train_to_the_same_bits(
    device_count: int,
    tiny_config: ConfigDict,
    one_device: Mesh,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if device_count == 1:
        monkeypatch.setattr(devices, "make_mesh", lambda: one_device)
    tiny_config.num_steps = 3
    digests = set()
    for pipeline in feeds.FEEDS:
        tiny_config.data.pipeline = pipeline
        digests.add(parameter_digest(train.train(tiny_config, tmp_path / pipeline).params))
    assert len(digests) == 1


@pytest.mark.slow
def test_calls_of_several_steps_end_where_something_is_due_and_resume_to_the_same_bits(
    tiny_config: ConfigDict, tmp_path: Path
) -> None:
    tiny_config.data.pipeline, tiny_config.steps_per_dispatch = "resident", 3
    tiny_config.checkpoint.every, tiny_config.checkpoint.keep, tiny_config.log_every = 5, 9, 4
    tiny_config.num_steps = 11
    whole = parameter_digest(train.train(tiny_config, tmp_path / "whole").params)
    lines = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 5, 8, 10, 11]
    keep_until(tmp_path / "whole", 5)
    assert parameter_digest(train.train(tiny_config, tmp_path / "whole").params) == whole
    tiny_config.steps_per_dispatch = 1
    train.train(tiny_config, tmp_path / "single")
    single = [json.loads(line) for line in (tmp_path / "single/metrics.jsonl").read_text().splitlines()]
    # Rounding grows from step to step.
    np.testing.assert_allclose([a["loss"] for a in lines], [b["loss"] for b in single], rtol=1e-2)


@pytest.mark.slow
def test_another_pipeline_goes_on_with_a_run_and_says_so(
    tiny_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_config.num_steps, tiny_config.checkpoint.every = 2, 1
    train.train(tiny_config, tmp_path)
    keep_until(tmp_path, 1)
    tiny_config.data.pipeline = "resident"
    train.train(tiny_config, tmp_path)
    assert "started with data.pipeline tfdata and goes on with resident" in capsys.readouterr().out


def test_dispatches() -> None:
    pieces = list(feeds.dispatches(range(2, 14), at_most=4, boundaries=(6, 10)))
    assert pieces == [range(2, 6), range(6, 10), range(10, 12), range(12, 14)]
    assert list(feeds.dispatches(range(3, 5), at_most=1, boundaries=(10,))) == [range(3, 4), range(4, 5)]
    assert list(feeds.dispatches(range(5, 5), at_most=4, boundaries=(10,))) == []


def test_rows_of_a_plan_are_those_of_its_batches() -> None:
    plan = PatchPlan(0, ((64, 64),), crop=32, random_crops=7, fresh=True)
    rows = feed_device.rows_of(plan, range(4, 6), batch_size=8, rows=slice(0, 8), steps_per_dispatch=2)
    np.testing.assert_array_equal(rows[:, 0], plan.batch(4, 8))
    np.testing.assert_array_equal(rows[:, 1], plan.batch(5, 8))
