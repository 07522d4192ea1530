"""Each benchmark, tiny: its table, its JSON, and that few packages are needed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare, measure
from benchmarks.measure import Sampling, Side
from benchmarks.ours import Case, forward_flops
from nucseg_jax.cores import usable_cores
from tests.benchmarks.tiny_runs import CASES, run

# PyTorch is too slow for a test (tests/parity has it).
SLOW = ["torch"]
# Nor are these on the machine that a GPU is lent on.
NOT_WITH_GPU = (
    "configs ml_collections orbax PIL scipy skimage tensorboardX tensorflow tensorflow_datasets tqdm".split()
)
BLOCKER = """
import sys

class Blind:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in BLOCKED:
            return self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], dict[str, str]]:
    """The environment of a Python without some packages, in all its processes."""

    def without(packages: list[str]) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("site")
        (folder / "sitecustomize.py").write_text(f"BLOCKED = {packages}\n{BLOCKER}")
        return os.environ | {"PYTHONPATH": str(folder), "XLA_FLAGS": ""}

    return without


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_benchmark_prints_one_table_and_needs_little(
    name: str, bare: Callable[[list[str]], dict[str, str]], tmp_path: Path
) -> None:
    environment = bare(SLOW if name == "startup" else SLOW + NOT_WITH_GPU)
    printed, result = run(name, CASES[name], environment, tmp_path / "out" / "result.json")
    title, versions, *_ = printed.splitlines()
    assert title.startswith(f"{name}: ") and f"{usable_cores()} CPU cores" in title
    assert "torch –" in versions or result["environment"]["torch"] in versions
    table = [line for line in printed.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(result["rows"]) and len({line.count("|") for line in table}) == 1
    assert result["benchmark"] == name and result["environment"]["platform"] == "cpu"
    checks = {
        "train_step": check_race,
        "inference": check_race,
        "input": check_input,
        "startup": check_startup,
        "networks": check_networks,
        "recompute": check_recompute,
    }
    checks[name](result["rows"])


def check_race(rows: list[dict[str, Any]]) -> None:
    assert [row["peer"] for row in rows] == ["eager", "channels_last"]
    for row in rows:
        assert row["reason"] == "ModuleNotFoundError: No module named 'torch'" and row["ratio"] is None
        assert 0 < row["seconds"]["q1"] <= row["seconds"]["median"] <= row["seconds"]["q3"]
        assert row["utilisation"] > 0 and row["memory_bytes"] == row["plan_bytes"] > 0


def check_input(rows: list[dict[str, Any]]) -> None:
    resident, *others = rows
    assert resident["pipeline"] == "resident" and resident["share"]["median"] < 1
    assert resident["batch_seconds"]["median"] > 0
    assert {row["pipeline"] for row in others if row["reason"]} == {"tf.data", "PyTorch DataLoader"}


def check_startup(rows: list[dict[str, Any]]) -> None:
    network, *imports = rows
    assert network["cold"] > 0 and network["warm"] > 0 and network["torch"] is None
    cold, warm = network["stages"]["cold"][0], network["stages"]["warm"][0]
    assert cold["compile"] > warm["compile"]
    assert [row["start"] for row in imports] == [
        "import nucseg_jax",
        "import nucseg_jax.models",
        "import nucseg_jax.training.train",
    ]
    assert [row["warm"] is None for row in imports] == [False, False, False]


def check_networks(rows: list[dict[str, Any]]) -> None:
    (row,) = rows
    assert row["parameters"] > 0 and row["step_memory_bytes"] > 0 and row["parity"] is None


def check_recompute(rows: list[dict[str, Any]]) -> None:
    (row,) = rows
    assert row["none"] == row["auto"], "a U-Net keeps all of its own accord"
    assert 0 < row["blocks"]["bytes"] < row["none"]["bytes"]
    assert row["blocks"]["flops"] > 1.2 * row["none"]["flops"] > 0
    assert row["ratio"]["median"] > 0 and row["seconds"].keys() == {"none", "blocks"}


def test_flops_are_the_convolutions() -> None:
    """FCN-32 of VGG-16: 2 · 9 · in · out a pixel, by hand; what is not a convolution is a few percent."""
    channels = [3, *[c for c, n in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)) for _ in range(n)]]
    sides = [64, 64, 32, 32, 16, 16, 16, 8, 8, 8, 4, 4, 4]
    encoder = sum(18 * a * b * s * s for a, b, s in zip(channels, channels[1:], sides, strict=False))
    flops = forward_flops(Case("fcn32", 1.0, 64, 2, "float32")) / 2
    assert encoder * 0.9 < flops < encoder * 1.3


def test_samples_alternate_and_ratios_are_of_pairs() -> None:
    calls: list[str] = []

    def side(name: str) -> Side:
        return Side(lambda: calls.append(name), release=lambda: calls.append(f"{name} released"))

    times = measure.paired({"a": side("a"), "b": side("b")}, Sampling(steps=2, settle=1), repeats=2)
    a, b = ["a", "a", "a", "a released"], ["b", "b", "b", "b released"]
    assert calls == [*a, *b, *b, *a]
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 2, "b": 2}
    assert measure.ratios([1, 4, 9], [2, 2, 3]) == {"median": 2.0, "q1": 1.25, "q3": 2.5}


def test_a_cpu_has_no_tensor_float(tmp_path: Path) -> None:
    args = compare.parse("train_step", None, ["--dtype", "tf32"])
    with pytest.raises(SystemExit, match="is for GPUs"):
        compare.use_defaults(args, on_gpu=False)


def test_options_keep_all_their_values() -> None:
    args = compare.parse("train_step", None, ["--dtype", "bfloat16", "--dtype", "tf32", "--peers", "eager"])
    assert args.dtype == ["bfloat16", "tf32"] and args.peers == ["eager"]
    assert compare.parse("train_step", None, ["--peers"]).peers == []
    assert compare.parse("train_step", None, []).peers is None


def test_an_unknown_network_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.parse("train_step", None, ["unett"])
    assert "unknown network 'unett'" in capsys.readouterr().err
