"""The benchmarks beside PyTorch: each has a ratio, and the DataLoader cuts our patches."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import input as input_benchmark
from benchmarks.ours import one_device
from nucseg_jax.data import feed_device
from nucseg_jax.data.dataset import rasters
from tests.benchmarks.tiny_runs import CASES, run

torch = pytest.importorskip("torch")


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """One core for the benchmarks' processes: PyTorch's threads wait for each other where cores are busy."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    yield os.environ | {"XLA_FLAGS": ""}
    os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("name", ["train_step", "inference"])
def test_races_have_ratios(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    printed, result = run(name, CASES[name], environment, tmp_path / "result.json")
    assert "1 CPU cores" in printed
    for row in result["rows"]:
        assert row["reason"] is None and row["peer_seconds"]["median"] > 0
        assert 0 < row["ratio"]["q1"] <= row["ratio"]["q3"]


def test_the_input_has_a_share_a_pipeline(environment: dict[str, str], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = run("input", CASES["input"], environment, tmp_path / "result.json")[1][
        "rows"
    ]
    assert [row["pipeline"] for row in rows] == ["resident", "tf.data", "PyTorch DataLoader"]
    assert all(row["share"]["median"] < 1 for row in rows) and rows[-1]["ratio"]["median"] == 1


def test_pytorch_starts_too(environment: dict[str, str], tmp_path: Path) -> None:
    rows = run("startup", CASES["startup"], environment, tmp_path / "result.json")[1]["rows"]
    assert all(row["torch"] > 0 for row in rows)


def test_the_loader_cuts_what_the_resident_pipeline_does() -> None:
    examples = input_benchmark.draw(2, 64)
    plan = input_benchmark.make_plan(examples, 32)
    rows = plan.batch(0, 16)
    stacks = (torch.from_numpy(np.stack([getattr(e, k) for e in examples])) for k in ("image", "label_map"))
    patches = input_benchmark.Patches(*stacks, rows, 32)
    ours = feed_device.cut(feed_device.place(one_device(), rasters(examples)), rows, 32)
    for i in range(16):
        image, label_map = patches[i]
        np.testing.assert_array_equal(image.permute(1, 2, 0), ours["image"][i])
        np.testing.assert_array_equal(label_map, ours["label_map"][i])
