"""The training step: eight devices equal one and equal `pmap`; accumulation; the moving average."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import devices
from nucseg_jax.models import NETWORKS, create_model
from nucseg_jax.models.batch_norm import BatchNorm
from nucseg_jax.models.network import FunctionalNetwork, InputFormat, Weights, network_input
from nucseg_jax.training import losses, optim, train
from nucseg_jax.training.start import fresh
from nucseg_jax.training.step import Given, TrainState, compile_step, move
from tests.networks import ONE_BY_ONE, QUICK, summed_over_devices

Batch = dict[str, np.ndarray]


def start(config: ConfigDict, mesh: Mesh) -> tuple[FunctionalNetwork, TrainState, Any]:
    """A state with every parameter perturbed, as in the middle of training.

    Fresh batch-norm biases are 0, so that after one step they are the update alone, and its largest
    value is the rounding error of a gradient that all but cancels.
    """
    rates = optim.table(optim.warm_restarts(config.optim.learning_rate, 10), 10)
    optimizer = optim.sgd(momentum=config.optim.momentum, weight_decay=config.optim.weight_decay)
    begun = fresh(config, mesh, optimizer, Given.of(rates, config.seed))
    network, state = begun.network, begun.state()
    generator = np.random.default_rng(1)
    noisy = jax.tree.map(
        lambda x: np.asarray(x) + 0.1 * generator.standard_normal(x.shape, np.float32), state.params
    )
    return network, state._replace(params=devices.replicate(mesh, noisy)), optimizer


def step_once(config: ConfigDict, mesh: Mesh, batch: Batch) -> tuple[TrainState, jax.Array]:
    network, state, optimizer = start(config, mesh)
    return compiled(config, mesh, network, optimizer)(state, devices.split_batch(mesh, batch))


def compiled(config: ConfigDict, mesh: Mesh, network: Any, optimizer: Any) -> Any:
    return compile_step(mesh, train.make_step(config, network, optimizer))


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
    """In float64: in float32 rounding now and then takes a ReLU over its edge, and moves its weights."""
    mesh = devices.make_mesh()
    assert mesh.devices.size == 8
    tiny_config.model.dtype = "float64"
    with jax.enable_x64(True):
        many, many_loss = step_once(tiny_config, mesh, tissue_batch)
        one, one_loss = step_once(tiny_config, one_device, tissue_batch)
    assert_close((many_loss, many.params, many.batch_stats), (one_loss, one.params, one.batch_stats))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pmap is the reference because it is the old way
def test_the_step_equals_pmap(tiny_config: ConfigDict, tissue_batch: Batch) -> None:
    """The reference is what one wrote before `jit` sharded: `pmap`, `pmean`, batch norm's axis_name."""
    c, mesh = tiny_config, devices.make_mesh()
    c.optim.loss_scale = 0.005
    c.optim.learning_rate = 10.0  # the update stays of the size of the parameters
    state, loss = step_once(c, mesh, tissue_batch)
    _, before, _ = start(c, mesh)
    model = create_model(c.model.name, width=c.model.width, rngs=nnx.Rngs(params=0, dropout=0))
    model.train()
    for _, module in nnx.iter_modules(model):
        if isinstance(module, BatchNorm):
            module.axis_name = "data"
    graph = nnx.graphdef(model)

    def local_step(params: nnx.State, batch_stats: nnx.State, batch: Batch) -> tuple:
        def loss_of(params: nnx.State) -> tuple[jax.Array, tuple[jax.Array, nnx.State]]:
            model = nnx.merge(graph, params, batch_stats, copy=True)
            logits = model(network_input(batch["image"], InputFormat()))
            loss = losses.cross_entropy(logits, (batch["label_map"] > 0).astype(jnp.int32))
            return 0.005 * loss, (loss, nnx.state(model, nnx.BatchStat))

        gradients, (loss, batch_stats) = jax.grad(loss_of, has_aux=True)(params)
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


# These parts of self_correction make the logits of parsing and edges, which this loss does not see.
OTHER_BRANCHES = ("parsing.classifier.", "edge.shared.", "edge.classifier.")
# Before a batch norm: the gradient is zero but for rounding.
CONV_BIAS = re.compile(r"conv\d?\.bias$")


# FCN-16 and -32 differ from FCN-8 in which features they add, EfficientUNetHalf in where it ends: one of each
# is enough here.
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"fcn16", "fcn32", "efficient_unet"}))
def test_every_network_takes_a_bfloat16_step_on_eight_devices(
    name: str, tiny_config: ConfigDict, tissue_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step moves every parameter by its gradient (weight decay is off) and every batch statistic.

    The devices add up nothing but float32.
    """
    options = devices.compiler_options(devices.make_mesh()) | QUICK
    options["xla_disable_hlo_passes"] += f",{ONE_BY_ONE}"
    monkeypatch.setattr(devices, "compiler_options", lambda mesh: options)
    c, mesh = tiny_config, devices.make_mesh()
    c.model.name, c.model.width, c.model.dtype = name, 1 / 32, "bfloat16"
    c.optim.weight_decay, c.optim.learning_rate = 0.0, 1.0
    network, state, optimizer = start(c, mesh)
    before = by_path(state)
    batch = devices.split_batch(mesh, tissue_batch)
    step = compiled(c, mesh, network, optimizer).lower(state, batch).compile()
    assert summed_over_devices(step) == {"f32"}
    state, loss = step(state, batch)
    assert np.isfinite(loss) and state.step == 1
    for array in jax.tree.leaves((state.params, state.batch_stats)):
        assert len(array.sharding.device_set) == 8 and array.is_fully_replicated
    after = by_path(state)
    assert all(array.dtype == np.float32 and np.isfinite(array).all() for array in after.values())
    stayed = {path for path, array in after.items() if np.array_equal(array, before[path])}
    unseen = {path for path in after if path.startswith(OTHER_BRANCHES)}
    assert {path for path in stayed - unseen if not CONV_BIAS.search(path)} == set()
    assert unseen <= stayed and (len(unseen) > 0) == (name == "self_correction")


def by_path(state: TrainState) -> dict[str, np.ndarray]:
    """Parameters and batch statistics by their dotted paths."""
    flat = nnx.to_flat_state(nnx.merge_state(state.params, state.batch_stats))
    return {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in flat}


@pytest.mark.slow
def test_accumulation_gives_the_mean_gradient_of_the_parts(
    tiny_config: ConfigDict, one_device: Mesh, tissue_batch: Batch
) -> None:
    """The first update is linear in the gradient: the mean of the parts' updates."""
    parts = [{key: value[i::2] for key, value in tissue_batch.items()} for i in range(2)]
    (first, first_loss), (second, second_loss) = (step_once(tiny_config, one_device, p) for p in parts)
    tiny_config.optim.accumulate = 2
    accumulated, loss = step_once(tiny_config, one_device, tissue_batch)
    mean = jax.tree.map(lambda a, b: (a + b) / 2, first.params, second.params)
    assert_close((accumulated.params, loss), (mean, (first_loss + second_loss) / 2))


@pytest.mark.slow
def test_accumulation_on_eight_devices_equals_one(
    tiny_config: ConfigDict, one_device: Mesh, tissue_batch: Batch
) -> None:
    """In float64, for the reason in `test_eight_devices_equal_one`."""
    tiny_config.optim.accumulate = 2
    tiny_config.model.dtype = "float64"
    batch = {key: np.concatenate([value, value[:, ::-1]]) for key, value in tissue_batch.items()}
    with jax.enable_x64(True):
        many, many_loss = step_once(tiny_config, devices.make_mesh(), batch)
        one, one_loss = step_once(tiny_config, one_device, batch)
    assert_close((many_loss, many.params, many.batch_stats), (one_loss, one.params, one.batch_stats))


@pytest.mark.slow
def test_the_average_is_of_the_weights_after_each_step(tiny_config: ConfigDict, one_device: Mesh) -> None:
    """Of one step: a tenth of the start, nine tenths of what the step comes to."""
    tiny_config.optim.average_decay = 0.9
    network, state, optimizer = start(tiny_config, one_device)
    assert state.average is not None
    before = jax.tree.map(np.asarray, state.average)
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8),
        "label_map": np.eye(32, dtype=np.int32)[None].repeat(8, 0),
    }
    after, _ = compiled(tiny_config, one_device, network, optimizer)(
        state, devices.split_batch(one_device, batch)
    )
    expected = jax.tree.map(lambda a, w: 0.1 * a + 0.9 * np.asarray(w), before, after.weights)
    assert_close(after.average, expected)


def test_another_seed_or_schedule_is_the_same_program(tiny_config: ConfigDict, one_device: Mesh) -> None:
    """So that nothing is compiled again; what it computes differs."""
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8),
        "label_map": np.eye(32, dtype=np.int32)[None].repeat(8, 0),
    }
    texts = set()
    for seed, rate in ((0, 0.1), (5, 0.01)):
        tiny_config.seed, tiny_config.optim.learning_rate = seed, rate
        network, state, optimizer = start(tiny_config, one_device)
        step = compiled(tiny_config, one_device, network, optimizer)
        texts.add(step.lower(state, devices.split_batch(one_device, batch)).as_text())
        assert state.given.rates[0] == np.float32(rate)
    assert len(texts) == 1


def test_an_average_without_warmup_keeps_its_share_of_the_start() -> None:
    """0.9 ** 3 of it after three steps; with warm-up 1/10 · 2/11 · 3/12."""
    zeros = Weights({"w": jnp.zeros(2)}, {"w": jnp.zeros(2)})
    start = jax.tree.map(jnp.ones_like, zeros)
    for warmup, share in ((False, 0.9**3), (True, 6 / 1320)):
        average = start
        for step in range(3):
            average = move(average, zeros, jnp.asarray(step), 0.9, warmup=warmup)
        assert_close(average, jax.tree.map(lambda x, share=share: share * x, start))
