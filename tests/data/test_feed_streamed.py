"""Streaming: the other feeds' patches, of images that are read when they are due, and of no others."""

import itertools
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from nucseg_jax import data, devices
from nucseg_jax.config import check_values
from nucseg_jax.data import feed_device, feed_host, feed_streamed, packed
from nucseg_jax.data.dataset import Dataset
from nucseg_jax.data.patches import IMAGE, PatchPlan
from nucseg_jax.data.rasters import Rasters, rasters_with_depth
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training import train
from tests.data.drawn_examples import EXAMPLES, PLAN
from tests.data.test_sharded import drawn, written
from tests.killed import keep_until


class Counted(Sequence[np.ndarray]):
    """Arrays that note which of them were taken."""

    def __init__(self, arrays: Sequence[np.ndarray], taken: list[int]):
        self._arrays, self._taken = arrays, taken

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        self._taken.append(index)
        return self._arrays[index]


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Rasters:
    """Rasters of nine images in four shards, some annotated in part, with depths."""
    examples = [drawn(i, 20 + i, 30 - i, masked=i % 3 == 0) for i in range(9)]
    folder = written(tmp_path_factory.mktemp("streamed"), examples, shards=4)
    return rasters_with_depth(packed.read(folder).splits["train"])


@pytest.fixture(scope="module")
def plan() -> PatchPlan:
    sizes = tuple((20 + i, 30 - i) for i in range(9))
    return PatchPlan(5, sizes, crop=16, random_crops=3, fresh=True, turns=True, flips=True)


@pytest.mark.parametrize("first", [0, 7])  # from the start, and where a run goes on
def test_all_feeds_cut_the_same_pixels(first: int, sharded: Rasters, plan: PatchPlan) -> None:
    """From shards, all kinds of rasters; over the end of an epoch, which has 69 patches or so."""
    steps = range(first, first + 12)
    given = {"batch_size": 8, "rows": slice(0, 8), "first": first, "last": steps.stop}
    store = feed_device.place(devices.make_mesh(), sharded, plan.sizes)
    cut = jax.jit(feed_device.cut, static_argnums=2)
    streamed = list(feed_streamed.batches(sharded, plan, **given))
    assert len(streamed) == 12 and streamed[0].keys() == {"image", "label_map", "unannotated", "depth"}
    of_tf_data = feed_host.batches(sharded, plan, **given)
    for step, batch, other in zip(steps, streamed, of_tf_data, strict=True):
        resident = cut(store, plan.batch(step, 8), plan.crop)
        for name, pixels in batch.items():
            assert pixels.dtype == other[name].dtype == resident[name].dtype
            np.testing.assert_array_equal(pixels, other[name])
            np.testing.assert_array_equal(pixels, resident[name])


def test_images_in_memory_are_streamed_too() -> None:
    """Of a dataset without shards, and with refined labels beside its annotation."""
    found = {"image": [e.image for e in EXAMPLES], "soft": [np.float16(e.image / 255) for e in EXAMPLES]}
    given = {"batch_size": 4, "rows": slice(0, 4), "first": 3, "last": 6}
    for a, b in zip(
        feed_streamed.batches(found, PLAN, **given), feed_host.batches(found, PLAN, **given), strict=True
    ):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])


def test_two_processes_read_the_images_of_their_own_rows_only(sharded: Rasters, plan: PatchPlan) -> None:
    """Each patch's image once, and all of it for one patch of it."""
    shares = []
    for rows in (slice(0, 2), slice(2, 4)):
        taken: dict[str, list[int]] = {name: [] for name in sharded}
        counted = {name: Counted(arrays, taken[name]) for name, arrays in sharded.items()}
        shares.append(list(feed_streamed.batches(counted, plan, batch_size=4, rows=rows, first=5, last=8)))
        due = sorted(i for step in range(5, 8) for i in plan.batch(step, 4)[rows, IMAGE])
        assert {name: sorted(numbers) for name, numbers in taken.items()} == dict.fromkeys(sharded, due)
    whole = feed_streamed.batches(sharded, plan, batch_size=4, rows=slice(0, 4), first=5, last=8)
    for batch, *halves in zip(whole, *shares, strict=True):
        for name, pixels in batch.items():
            np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), pixels)


def test_little_is_read_ahead_and_threads_end(sharded: Rasters, plan: PatchPlan) -> None:
    """Of endless steps, a few batches; the threads end with whoever stops asking."""
    taken: list[int] = []
    counted = {"image": Counted(sharded["image"], taken)}
    batches = feed_streamed.batches(counted, plan, batch_size=2, rows=slice(0, 2), first=0, last=1 << 30)
    for _ in itertools.islice(batches, 3):
        pass
    batches.close()  # type: ignore[attr-defined]
    assert len(taken) <= 2 * (3 + feed_streamed.AHEAD)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("patches")]


def test_a_damaged_image_is_named_when_it_is_due(tmp_path: Path, plan: PatchPlan) -> None:
    folder = written(tmp_path, [drawn(i, 20 + i, 30 - i) for i in range(9)], shards=9)
    (folder / "label_map/00003.array_record").write_bytes(bytes(70000))
    found = rasters_with_depth(packed.read(folder).splits["train"])
    batches = feed_streamed.batches(found, plan, batch_size=4, rows=slice(0, 4), first=0, last=99)
    with pytest.raises(DataError, match=r"label_map/00003\.array_record: .*nucseg prepare pack --overwrite"):
        list(batches)


def sharded_copy(dataset: Dataset, root: Path) -> Path:
    packed.write(dataset, root / dataset.name, overwrite=False, shards=2)
    return root


@pytest.mark.slow
def test_training_from_shards_has_the_losses_of_training_from_memory(
    tiny_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit, with a held-out image; and a streamed run that was killed goes on with tf.data."""
    tiny_config.num_steps, tiny_config.log_every, tiny_config.checkpoint.every = 3, 1, 1
    tiny_config.data.validation = ("SYN-BREAST-000",)
    root = sharded_copy(data.load(tiny_config.data), tmp_path / "data")
    digests, losses = {}, {}
    for name, pipeline, folder in (
        ("memory", "tfdata", tiny_config.data.dir),
        ("streamed", "streamed", str(root)),
        ("loaded", "tfdata", str(root)),
    ):
        tiny_config.data.pipeline, tiny_config.data.dir = pipeline, folder
        if name == "loaded":  # goes on with what was streamed
            (tmp_path / "streamed").rename(tmp_path / "loaded")
            keep_until(tmp_path / "loaded", 2)
        digests[name] = parameter_digest(train.train(tiny_config, tmp_path / name).params)
        lines = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses[name] = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        said = capsys.readouterr().out
        assert ("data.pipeline=tfdata holds all 2 training images in memory, 0.0 GB" in said) == (
            name == "loaded"
        )
    assert len(set(digests.values())) == 1
    assert losses["memory"] == losses["streamed"] == losses["loaded"] and len(losses["memory"]) >= 3


@pytest.mark.parametrize("average", ["parameters", "both"])
def test_what_needs_all_images_in_memory_is_refused(average: str, tiny_config: ConfigDict) -> None:
    tiny_config.data.pipeline = "streamed"
    tiny_config.self_correction.cycles, tiny_config.self_correction.average = 1, average
    with pytest.raises(UserError, match=rf"average = '{average}' needs .*pipeline to 'tfdata' or 'resident'"):
        check_values(tiny_config, 1)
    tiny_config.self_correction.average = "nothing"
    check_values(tiny_config, 1)
