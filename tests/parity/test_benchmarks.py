"""The benchmarks beside PyTorch: each has a ratio, and the DataLoader cuts our patches."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import input as input_benchmark
from benchmarks import shipped_train_step
from benchmarks.ours import Case, one_device
from nucseg_jax.data import feed_device
from nucseg_jax.data.rasters import rasters
from nucseg_jax.models.network import Logits
from nucseg_jax.training import train
from nucseg_jax.training.objectives import OBJECTIVES
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


def test_shipped_weights_agree_in_onnx_runtime(environment: dict[str, str], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    options = ["he-fast", "--size", "64", "--batch", "2", "--repeats", "2", "--matrix", "64", "--peers"]
    options += ["channels_last", "onnxruntime"]
    printed, result = run("shipped_inference", options, environment, tmp_path / "result.json")
    assert "× the fastest peer, " in printed.splitlines()[-1]
    for row in result["rows"]:
        assert row["reason"] is None and row["ratio"]["median"] > 0 and row["difference"] < 1e-5


def test_the_recipes_loss_is_ours() -> None:
    batch = shipped_train_step.arrays(Case("he", 1.0, 32, 2, "float32"))
    logits = np.random.default_rng(2).normal(size=(2, 32, 32, 3)).astype(np.float32)
    ours = partial(OBJECTIVES["cross_entropy_dice"].loss, batch=batch)
    loss, gradient = jax.value_and_grad(lambda x: ours(Logits(x)))(jnp.asarray(logits))
    leaf = torch.from_numpy(logits).permute(0, 3, 1, 2).requires_grad_()
    label_maps, depth = (torch.from_numpy(batch[key]) for key in ("label_map", "depth"))
    expected = shipped_train_step.cross_entropy_dice(leaf, label_maps, depth)
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(gradient, leaf.grad.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-9)


def test_the_recipes_optimizer_is_ours() -> None:
    """Three steps from the same values by the same gradients: kernels and biases, of an encoder or not."""
    config = shipped_train_step.recipe(Case("he", 1.0, 32, 2, "float32"))
    rate = 0.1
    ours = train.make_optimizer(config)
    network = torch.nn.ModuleDict({"encoder": torch.nn.Linear(3, 2), "classifier": torch.nn.Linear(2, 4)})
    theirs = shipped_train_step.adamw(network, config)
    shipped_train_step.set_rate(theirs, rate)
    tensors = {(layer, key): x for layer, m in network.items() for key, x in m.named_parameters()}
    params: Any = {layer: {} for layer in network}
    for (layer, key), tensor in tensors.items():
        params[layer][key] = jnp.asarray(tensor.detach().numpy().copy())
    state = ours.init(params)
    for _ in range(3):
        for tensor in tensors.values():
            tensor.grad = torch.randn_like(tensor)
        gradients = {
            layer: {k: jnp.asarray(tensors[layer, k].grad.numpy()) for k in params[layer]} for layer in params
        }
        updates, state = ours.update(gradients, state, params, rate=rate)
        params = optax.apply_updates(params, updates)
        theirs.step()
    for (layer, key), tensor in tensors.items():
        np.testing.assert_allclose(params[layer][key], tensor.detach(), rtol=1e-5, atol=1e-6)


def test_the_recipes_first_loss_is_ours(environment: dict[str, str], tmp_path: Path) -> None:
    options = ["he-fast", "--size", "32", "--batch", "2", "--repeats", "2", "--matrix", "64"]
    _, result = run("shipped_train_step", options, environment, tmp_path / "result.json")
    *pytorch, augmenting = result["rows"]
    assert [row["peer"] for row in result["rows"]] == ["eager", "channels_last", "augmented"]
    assert all(row["difference"] < 1e-4 and row["ratio"]["median"] > 0 for row in pytorch)
    assert augmenting["difference"] is None and augmenting["peer_seconds"]["median"] > 0


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
    ours = feed_device.cut(feed_device.place(one_device(), rasters(examples), plan.sizes), rows, 32)
    for i in range(16):
        image, label_map = patches[i]
        np.testing.assert_array_equal(image.permute(1, 2, 0), ours["image"][i])
        np.testing.assert_array_equal(label_map, ours["label_map"][i])
