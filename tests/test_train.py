"""The training step: eight devices equal one and equal `pmap`; accumulation; the loop's checks."""

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import losses, optim, sharding, train
from nucseg_jax.checkpoint import CheckpointError, parameter_digest
from nucseg_jax.errors import UserError
from nucseg_jax.models import create_model
from nucseg_jax.models.functional import network_input

Batch = dict[str, np.ndarray]


def start(config: ConfigDict, mesh: Mesh) -> tuple[train.FunctionalNetwork, train.TrainState, Any]:
    """A state with every parameter perturbed, as in the middle of training.

    Fresh batch-norm biases are 0, so that after one step they are the update alone, and its largest
    value is the rounding error of a gradient that all but cancels.
    """
    optimizer = optim.sgd(config.optim, optim.warm_restarts(config.optim.learning_rate, 10))
    network, state = train.create_state(config, mesh, optimizer)
    generator = np.random.default_rng(1)
    noisy = jax.tree.map(
        lambda x: np.asarray(x) + 0.1 * generator.standard_normal(x.shape, np.float32), state.params
    )
    return network, state._replace(params=sharding.replicate(mesh, noisy)), optimizer


def step_once(config: ConfigDict, mesh: Mesh, batch: Batch) -> tuple[train.TrainState, jax.Array]:
    network, state, optimizer = start(config, mesh)
    return train.compile_step(config, network, optimizer)(state, sharding.split_batch(mesh, batch))


def assert_close(actual: object, expected: object) -> None:
    """Within 1e-5 of each tensor's largest value."""
    pairs = zip(jax.tree_util.tree_leaves_with_path(actual), jax.tree_util.tree_leaves(expected), strict=True)
    for (path, a), b in pairs:
        a, b = np.asarray(a), np.asarray(b)
        largest = np.abs(b).max()
        np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-5 * largest + 1e-12, err_msg=jax.tree_util.keystr(path)
        )


def test_eight_devices_equal_one(tiny_config: ConfigDict, one_device: Mesh, tissue_batch: Batch) -> None:
    mesh = sharding.make_mesh()
    assert mesh.devices.size == 8
    many, many_loss = step_once(tiny_config, mesh, tissue_batch)
    one, one_loss = step_once(tiny_config, one_device, tissue_batch)
    assert_close((many_loss, many.params, many.batch_stats), (one_loss, one.params, one.batch_stats))


def test_the_step_equals_pmap(tiny_config: ConfigDict, tissue_batch: Batch) -> None:
    """The reference is what one wrote before `jit` sharded: `pmap`, `pmean`, batch norm's axis_name."""
    c, mesh = tiny_config, sharding.make_mesh()
    state, loss = step_once(c, mesh, tissue_batch)
    _, before, _ = start(c, mesh)
    model = create_model(c.model.name, width=c.model.width, rngs=nnx.Rngs(c.seed))
    model.train()
    for _, module in nnx.iter_modules(model):
        if isinstance(module, nnx.BatchNorm):
            module.axis_name = "data"
    graph = nnx.graphdef(model)

    def local_step(params: nnx.State, batch_stats: nnx.State, batch: Batch) -> tuple:
        def loss_of(params: nnx.State) -> tuple[jax.Array, nnx.State]:
            model = nnx.merge(graph, params, batch_stats, copy=True)
            logits = model(network_input(batch["image"]))
            loss = losses.cross_entropy(logits, (batch["label_map"] > 0).astype(jnp.int32))
            return loss, nnx.state(model, nnx.BatchStat)

        (loss, batch_stats), gradients = jax.value_and_grad(loss_of, has_aux=True)(params)
        gradients, loss = jax.lax.pmean((gradients, loss), "data")
        rate, decay = c.optim.learning_rate, c.optim.weight_decay
        params = jax.tree.map(lambda p, g: p - rate * (g + decay * p), params, gradients)
        return params, batch_stats, loss

    split = jax.tree.map(lambda x: x.reshape(8, 1, *x.shape[1:]), tissue_batch)
    replicated = functools.partial(jax.tree.map, lambda x: np.broadcast_to(np.asarray(x), (8, *x.shape)))
    results = jax.pmap(local_step, axis_name="data")(
        replicated(before.params), replicated(before.batch_stats), split
    )
    first = jax.tree.map(lambda x: x[0], results)
    assert_close((state.params, state.batch_stats, loss), first)


def test_accumulation_gives_the_mean_gradient(
    tiny_config: ConfigDict, one_device: Mesh, tissue_batch: Batch
) -> None:
    """Without batch norm's coupling (equal parts), accumulating must change nothing."""
    half = {key: value[:4] for key, value in tissue_batch.items()}
    twice = {key: np.repeat(value, 2, axis=0) for key, value in half.items()}
    tiny_config.optim.accumulate = 2
    accumulated, loss = step_once(tiny_config, one_device, twice)
    tiny_config.optim.accumulate = 1
    whole, whole_loss = step_once(tiny_config, one_device, half)
    assert_close((accumulated.params, loss), (whole.params, whole_loss))


def test_cross_entropy_by_hand() -> None:
    logits = jnp.array([[[[0.0, 0.0], [2.0, 0.0]]]])
    loss = losses.cross_entropy(logits, jnp.array([[[1, 0]]]))
    np.testing.assert_allclose(loss, (np.log(2) + np.log(1 + np.exp(-2))) / 2, rtol=1e-6, atol=0)


def test_sgd_is_pytorchs() -> None:
    """g += decay · w; v = momentum · v + g; w -= rate · v, written out."""
    config = ConfigDict({"momentum": 0.9, "weight_decay": 0.1})
    optimizer = optim.sgd(config, lambda step: jnp.where(step < 1, 0.5, 0.25))
    w = jnp.array([1.0])
    state = optimizer.init(w)
    expected_w, v = 1.0, 0.0
    for step, gradient in enumerate([1.0, -2.0, 0.5]):
        updates, state = optimizer.update(jnp.array([gradient]), state, w)
        w = optax.apply_updates(w, updates)
        v = 0.9 * v + gradient + 0.1 * expected_w
        expected_w -= (0.5 if step < 1 else 0.25) * v
        np.testing.assert_allclose(w, [expected_w], rtol=1e-6, atol=0)


def test_warm_restarts() -> None:
    schedule = optim.warm_restarts(0.1, 10)
    rates = [float(schedule(step)) for step in (0, 5, 9, 10, 15)]
    np.testing.assert_allclose(rates, [0.1, 0.05, 0.1 * (1 + np.cos(0.9 * np.pi)) / 2, 0.1, 0.05], rtol=1e-5)


def test_loss_falls_on_the_synthetic_set(tiny_config: ConfigDict, tmp_path: Path) -> None:
    tiny_config.num_steps, tiny_config.log_every = 40, 5
    train.train(tiny_config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses_ = [line["loss"] for line in lines]
    assert len(losses_) == 8
    assert np.mean(losses_[-2:]) < 0.8 * losses_[0], losses_
    assert any((tmp_path / "tensorboard").iterdir())


def test_resuming_changes_nothing(tiny_config: ConfigDict, tmp_path: Path) -> None:
    """Two runs of 4 steps, the second resumed, end bit-identical to one of 8; the log has no gap."""
    tiny_config.optim.accumulate = 1
    tiny_config.checkpoint.every, tiny_config.log_every = 3, 2
    tiny_config.num_steps = 8
    whole = parameter_digest(train.train(tiny_config, tmp_path / "whole").params)
    tiny_config.num_steps = 4
    train.train(tiny_config, tmp_path / "parts")
    tiny_config.num_steps = 8
    parts = parameter_digest(train.train(tiny_config, tmp_path / "parts").params)
    assert parts == whole
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts/metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 8


def test_another_config_in_the_same_workdir_is_refused(tiny_config: ConfigDict, tmp_path: Path) -> None:
    tiny_config.num_steps = 1
    train.train(tiny_config, tmp_path)
    tiny_config.optim.learning_rate = 0.5
    with pytest.raises(CheckpointError, match=r"optim.learning_rate: 0.05 → 0.5"):
        train.train(tiny_config, tmp_path)


def test_the_best_checkpoint_is_kept_and_loaded(tiny_config: ConfigDict, tmp_path: Path) -> None:
    from nucseg_jax.checkpoint import load_model

    tiny_config.data.validation = ("SYN-BREAST-000",)
    tiny_config.num_steps, tiny_config.checkpoint.every, tiny_config.checkpoint.keep = 6, 1, 1
    train.train(tiny_config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["validation_f1"] for line in lines if "validation_f1" in line}
    assert sorted(scores) == [1, 2, 3, 4, 5, 6]
    model = load_model(tmp_path, sharding.make_mesh())
    assert scores[model.step] == max(scores.values())
    assert model.info["config"]["data"]["validation"] == ["SYN-BREAST-000"]
    assert model.info["classes"] == ["background", "nucleus"]
    with pytest.raises(CheckpointError, match="no checkpoint of step 99"):
        load_model(tmp_path, sharding.make_mesh(), 99)


def test_a_non_finite_loss_stops_and_saves_nothing(tiny_config: ConfigDict, tmp_path: Path) -> None:
    tiny_config.optim.learning_rate, tiny_config.optim.weight_decay = 1e30, 1.0
    tiny_config.num_steps, tiny_config.checkpoint.every = 6, 6
    with pytest.raises(train.NonFiniteLossError, match="lower optim.learning_rate"):
        train.train(tiny_config, tmp_path)
    assert not list((tmp_path / "checkpoints").glob("[0-9]*"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 9, "batch_size = 9 is not a multiple of the 8 devices"),
        ("optim.accumulate", 2, r"batch_size = 8 must be a multiple of .* = 2 × 8"),
        ("data.pipeline", "grain", "must be 'tfdata', got 'grain'"),
        ("checkpoint.every", 0, "checkpoint.every must be at least 1, got 0"),
        ("data.validation", ("SYN-LUNG-000",), "data.validation names SYN-LUNG-000"),
        ("data.crop_size", 512, "smaller than data.crop_size = 512"),
        ("data.split", "mine", "--name mine"),
        ("data.dataset", "monuseg", "python -m data_prep.monuseg"),
    ],
)
def test_bad_values_are_named(
    key: str, value: object, message: str, tiny_config: ConfigDict, tmp_path: Path
) -> None:
    tiny_config.num_steps = 1
    tiny_config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        train.train(tiny_config, tmp_path)
