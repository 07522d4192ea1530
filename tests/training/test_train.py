"""The training step: eight devices equal one and equal `pmap`; accumulation; the loop's checks."""

import functools
import json
import re
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

from nucseg_jax import devices
from nucseg_jax.errors import UserError
from nucseg_jax.models import NETWORKS, create_model
from nucseg_jax.models.network import FunctionalNetwork, InputFormat, network_input
from nucseg_jax.runs import compatibility
from nucseg_jax.runs.checkpoint import CheckpointError, load_model, parameter_digest, training_weights
from nucseg_jax.training import losses, optim, train
from nucseg_jax.training.cycles import Cycles
from nucseg_jax.training.divergence import NonFiniteLossError
from nucseg_jax.training.step import TrainState, compile_step
from tests.killed import keep_until
from tests.networks import ONE_BY_ONE, QUICK, summed_over_devices

Batch = dict[str, np.ndarray]


def start(config: ConfigDict, mesh: Mesh) -> tuple[FunctionalNetwork, TrainState, Any]:
    """A state with every parameter perturbed, as in the middle of training.

    Fresh batch-norm biases are 0, so that after one step they are the update alone, and its largest
    value is the rounding error of a gradient that all but cancels.
    """
    schedule = optim.warm_restarts(config.optim.learning_rate, 10)
    optimizer = optim.sgd(schedule, momentum=config.optim.momentum, weight_decay=config.optim.weight_decay)
    network, state = train.create_state(config, mesh, optimizer)
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
        if isinstance(module, nnx.BatchNorm):
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


def test_accumulation_on_eight_devices_equals_one(
    tiny_config: ConfigDict, one_device: Mesh, tissue_batch: Batch
) -> None:
    tiny_config.optim.accumulate = 2
    batch = {key: np.concatenate([value, value[:, ::-1]]) for key, value in tissue_batch.items()}
    many, many_loss = step_once(tiny_config, devices.make_mesh(), batch)
    one, one_loss = step_once(tiny_config, one_device, batch)
    assert_close((many_loss, many.params, many.batch_stats), (one_loss, one.params, one.batch_stats))


def test_cross_entropy_by_hand() -> None:
    logits = jnp.array([[[[0.0, 0.0], [2.0, 0.0]]]])
    loss = losses.cross_entropy(logits, jnp.array([[[1, 0]]]))
    np.testing.assert_allclose(loss, (np.log(2) + np.log(1 + np.exp(-2))) / 2, rtol=1e-6, atol=0)


def test_sgd_is_pytorchs() -> None:
    """g += decay · w; v = momentum · v + g; w -= rate · v, written out."""
    optimizer = optim.sgd(lambda step: jnp.where(step < 1, 0.5, 0.25), momentum=0.9, weight_decay=0.1)
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
    """A run of 8 steps that is killed after step 3 ends with the same bits; its log has no gap."""
    tiny_config.optim.accumulate = 1
    tiny_config.checkpoint.every, tiny_config.checkpoint.keep, tiny_config.log_every = 3, 9, 2
    tiny_config.num_steps = 8
    whole = parameter_digest(train.train(tiny_config, tmp_path).params)
    log = (tmp_path / "metrics.jsonl").read_text().splitlines()
    keep_until(tmp_path, 3)
    assert parameter_digest(train.train(tiny_config, tmp_path).params) == whole
    before, after = (
        [(line["step"], line["loss"]) for line in map(json.loads, lines)]
        for lines in (log, (tmp_path / "metrics.jsonl").read_text().splitlines())
    )
    assert [step for step, _ in before] == [2, 3, 4, 6, 8]
    assert after == before


def test_every_part_of_the_recipe_resumes_to_the_bit(tiny_config: ConfigDict, tmp_path: Path) -> None:
    """AdamW, warm-up, Dice, depths, all augmentation, the average: killed, and fed in the other way."""
    c = tiny_config
    c.update_from_flattened_dict(
        {
            "num_steps": 4,
            "checkpoint.every": 2,
            "checkpoint.keep": 9,
            "model.num_classes": 3,
            "model.boundary": "distance",
            "augment.smallest_scale": 0.8,
            "augment.largest_scale": 1.25,
            "augment.blur_px": 1.0,
            "augment.noise": 8.0,
            "stain.augment_scale": 0.25,
            "stain.augment_residual": 0.25,
            "optim.method": "adamw",
            "optim.warmup_epochs": 2.0,
            "data.balance_sources": True,
            "optim.loss": "cross_entropy_dice",
            "optim.boundary_weight": 2.0,
            "optim.average_decay": 0.9,
        }
    )
    whole = train.train(c, tmp_path / "run")
    loaded = load_model(tmp_path / "run", devices.make_mesh(), 4)
    assert parameter_digest(loaded.params) == parameter_digest(whole.params)
    trained = training_weights(tmp_path / "run", loaded)
    assert parameter_digest(trained.params) != parameter_digest(whole.params)
    keep_until(tmp_path / "run", 2)
    assert parameter_digest(train.train(c, tmp_path / "run").params) == parameter_digest(whole.params)
    c.data.pipeline = "resident"
    other = train.train(c, tmp_path / "resident")
    assert parameter_digest(other.params) == parameter_digest(whole.params)


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


def test_another_config_in_the_same_workdir_is_refused(tiny_config: ConfigDict, tmp_path: Path) -> None:
    tiny_config.num_steps = 1
    train.train(tiny_config, tmp_path)
    for key, value, message in (
        ("optim.learning_rate", 0.5, r"optim.learning_rate: 0.05 → 0.5"),
        ("num_steps", 2, "num_steps: 1 → 2"),
        ("num_epochs", 4, "num_epochs: 3 → 4"),
    ):
        other = tiny_config.copy_and_resolve_references()
        other.update_from_flattened_dict({key: value})
        with pytest.raises(UserError, match=message):
            train.train(other, tmp_path)


def test_the_length_is_part_of_a_run(tiny_config: ConfigDict) -> None:
    """As what it was started with says it: all steps, or epochs, or the config of a release without it."""

    def goes_on(saved: ConfigDict, now: ConfigDict, without: tuple[str, ...] = ()) -> bool:
        infos = [{"config": json.loads(c.to_json_best_effort()), "dataset": {}} for c in (saved, now)]
        for key in without:
            del infos[0]["config"][key]
        try:
            compatibility.check_same_run(*infos, Path("run"))
        except UserError as error:
            assert "num_steps" in str(error)
            return False
        return True

    longer = tiny_config.copy_and_resolve_references()
    longer.num_steps = 9
    assert goes_on(tiny_config, tiny_config) and goes_on(longer, longer)
    assert not goes_on(tiny_config, longer) and not goes_on(longer, tiny_config)
    assert goes_on(longer, tiny_config, without=("num_steps",))


@pytest.mark.parametrize("num_steps", [None, 199, 400, 401, 750, 6000])
def test_training_ends_where_a_cosine_ends(num_steps: int | None, tiny_config: ConfigDict) -> None:
    """Three cosines, however many steps they are squeezed into; as they were where num_steps is not given."""
    c, steps_per_epoch = tiny_config, 75.0
    c.num_epochs, c.optim.restart_epochs, c.num_steps = 30, 10.0, num_steps
    cycles = Cycles.of(c, steps_per_epoch)
    rates = np.asarray(train.learning_rates(c, cycles, steps_per_epoch)(np.arange(cycles.num_steps)))
    if num_steps is None:
        np.testing.assert_array_equal(rates, optim.warm_restarts(0.05, 750)(np.arange(2250)))
    assert np.count_nonzero(np.diff(rates) > 0) == 2, "restarts"
    assert rates[-1] < 0.05 * 0.05, "the next cosine's first steps would throw the network off"


def test_what_floating_point_adds_to_a_period_makes_no_step(tiny_config: ConfigDict) -> None:
    tiny_config.optim.restart_epochs, tiny_config.num_steps, tiny_config.num_epochs = 1.1, 50, 5
    assert 1.1 * 50 / 5 > 11
    assert train.restart_period(tiny_config, steps_per_epoch=75) == 11


def test_the_best_checkpoint_is_chosen_by_the_configs_score_or_the_runs(
    tiny_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """AJI in a new run of a method that cuts nuclei; the Dice where an earlier release's run goes on."""
    c, mesh = tiny_config, devices.make_mesh()
    c.data.validation, c.instances.method = ("SYN-BREAST-000",), "watershed"
    c.num_steps, c.checkpoint.every, c.checkpoint.keep = 4, 1, 9
    drawn = {1: (0.2, 0.8), 2: (0.4, 0.7), 3: (0.3, 0.6), 4: (0.1, 0.5)}

    def validator(*_: object) -> Any:
        """The scores of each step, whatever the network has learnt: real ones may agree."""
        left = iter([drawn[step] for step in sorted(drawn) if not saved_step(step)])
        return lambda _: dict(zip(("aji", "dice"), next(left), strict=True))

    def saved_step(step: int) -> bool:
        return (tmp_path / f"checkpoints/{step}").exists()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.validation, "validator", validator)
        train.train(c, tmp_path)
        model = load_model(tmp_path, mesh)
        assert model.step == 2 and model.info["config"]["checkpoint"]["best_by"] == "aji"
        assert model.info["config"]["data"]["validation"] == ["SYN-BREAST-000"]
        assert model.info["classes"] == ["background", "nucleus"]
        with pytest.raises(CheckpointError, match="no checkpoint of step 99"):
            load_model(tmp_path, mesh, 99)
        assert "goes on" not in capsys.readouterr().out

        keep_until(tmp_path, 2)
        as_an_earlier_release_wrote(tmp_path)
        c.checkpoint.keep = 1
        train.train(c, tmp_path)
    assert "goes on choosing its best checkpoint by dice, as it was started" in capsys.readouterr().out
    assert load_model(tmp_path, mesh).step == 1
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"1", "4"}, "best and last"
    c.checkpoint.best_by = "aji"
    with pytest.raises(UserError, match="checkpoint.best_by: 'dice' → 'aji'"):
        train.train(c, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = {line["step"]: (line["validation_aji"], line["validation_dice"]) for line in lines[1::2]}
    assert found == drawn


def as_an_earlier_release_wrote(workdir: Path) -> None:
    """Checkpoints with the Dice alone, as `f1`, and a config without `checkpoint.best_by`."""
    for folder in (workdir / "checkpoints").iterdir():
        metrics, info = folder / "metrics/metrics", folder / "info/metadata"
        metrics.write_text(json.dumps({"f1": json.loads(metrics.read_text())["dice"]}))
        content = json.loads(info.read_text())
        del content["config"]["checkpoint"]["best_by"]
        info.write_text(json.dumps(content))


def test_divergence_stops_and_keeps_the_sound_checkpoints(tiny_config: ConfigDict, tmp_path: Path) -> None:
    schedule = optim.warm_restarts

    def exploding(learning_rate: float, period: int, warmup: int) -> Any:
        sound = schedule(learning_rate, period, warmup)
        return lambda step: jnp.where(jnp.asarray(step) < 3, sound(step), 1e38)

    tiny_config.num_steps, tiny_config.checkpoint.every = 6, 1
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NonFiniteLossError, match="diverged"):
        patch.setattr(optim, "warm_restarts", exploding)
        train.train(tiny_config, tmp_path)
    model = load_model(tmp_path, devices.make_mesh())
    assert model.step >= 3, "the checkpoint being written when the run stopped is complete"
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((model.params, model.batch_stats)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 9, "batch_size = 9 must be a multiple of .* = 1 × 8"),
        ("optim.accumulate", 2, r"batch_size = 8 must be a multiple of .* = 2 × 8"),
        ("data.pipeline", "grain", "unknown data.pipeline 'grain': known are tfdata, resident"),
        ("data.pipeline", "residnet", "did you mean 'resident'"),
        ("steps_per_dispatch", 0, "steps_per_dispatch must be at least 1, got 0"),
        ("steps_per_dispatch", 4, "steps_per_dispatch = 4 needs data.pipeline = 'resident', got 'tfdata'"),
        ("checkpoint.every", 0, "checkpoint.every must be at least 1, got 0"),
        ("data.validation", ("SYN-LUNG-000",), "data.validation names SYN-LUNG-000"),
        ("data.crop_size", 512, r"smaller than data.crop_size = 512 pixels: SYN-\w+-\d+ \(96×96\)"),
        ("data.crop_size", 40, "is 40 pixels for the network, which needs a multiple"),
        ("data.size", 64, "--size 64"),
        ("model.name", "unett", "did you mean 'unet'"),
        ("model.dtype", "float23", "got 'float23'"),
        ("model.channel_order", "BRG", "got 'BRG'"),
        ("optim.restart_epochs", 0.0, "optim.restart_epochs must be positive, got 0.0"),
        ("num_steps", 0, "num_steps must be at least 1, got 0"),
        ("eval.batch_size", 0, "eval.batch_size must be at least 1"),
        ("checkpoint.best_by", "f1", "checkpoint.best_by must be one of aji, dice, got 'f1'"),
        ("instances.method", "boundary", "needs a network with a class for boundaries"),
        ("instances.components.threshold", 1.5, "instances.components.threshold must be between 0 and 1"),
        ("data.dataset", "foldr", "data.dataset must be one of monuseg, folder"),
        ("data.split", "mine", "--name mine"),
        ("data.dataset", "monuseg", "nucseg prepare monuseg"),
    ],
)
def test_bad_values_are_named(
    key: str, value: object, message: str, tiny_config: ConfigDict, tmp_path: Path
) -> None:
    tiny_config.num_steps = 1
    tiny_config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        train.train(tiny_config, tmp_path)
