"""Cycles: averages by hand, statistics estimated anew, resuming to the bit, what a checkpoint holds."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh
from ml_collections import ConfigDict

from configs import self_correction as paper
from nucseg_jax import data, devices
from nucseg_jax.errors import UserError
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.models.network import Weights
from nucseg_jax.runs import compatibility
from nucseg_jax.runs.loading import load_model, training_weights
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training import optim, refined_labels, train
from nucseg_jax.training.batch_statistics import StatisticsEstimator
from nucseg_jax.training.cycles import Cycles
from nucseg_jax.training.self_correction import average
from nucseg_jax.training.start import fresh
from nucseg_jax.training.step import Given
from tests.killed import keep_until
from tests.networks import QUICK


def test_averages_of_three_cycles_by_hand() -> None:
    trees = [{"a": np.float32([0, 4]), "b": {"c": np.float32([[x]])}} for x in (1, 3, 5, 11)]
    trees[3]["a"] = np.float32([8, 0])
    result = trees[0]
    expected = ([0, 4], [[2]]), ([0, 4], [[3]]), ([2, 3], [[5]])
    for m, (a, c) in enumerate(expected, start=1):
        result = average(result, trees[m], m)
        np.testing.assert_array_equal(result["a"], np.float32(a))
        np.testing.assert_array_equal(result["b"]["c"], np.float32(c))
        assert result["a"].dtype == np.float32


@given(
    st.lists(st.floats(-60000, 60000, width=16), min_size=1, max_size=20),
    st.sampled_from([np.float16, np.float32]),
)
def test_cycles_of_equal_trees_change_nothing(values: list[float], dtype: Any) -> None:
    tree = {"x": np.array(values, dtype)}
    result = tree
    for m in range(1, 8):
        result = average(result, tree, m)
        assert result["x"].dtype == dtype
    np.testing.assert_array_equal(result["x"], tree["x"])


@given(st.lists(st.floats(0, 1, width=16), min_size=2, max_size=9))
def test_each_tree_weighs_the_same(values: list[float]) -> None:
    result = np.float32(values[:1])
    for m, value in enumerate(values[1:], start=1):
        result = average(result, np.float32([value]), m)
    np.testing.assert_allclose(result, [np.mean(values)], rtol=1e-5, atol=1e-6)


@given(st.floats(0, 1, width=16), st.floats(0, 1, width=32), st.integers(1, 9))
def test_half_precision_is_rounded_once(before: float, now: float, m: int) -> None:
    found = average(np.float16([before]), np.float32([now]), m)
    exact = before + (now - before) / (m + 1)
    assert (
        abs(float(found[0]) - exact) <= 0.5 * np.spacing(np.float16(exact)).astype(float) * (1 + 1e-3) + 1e-8
    )


def test_cycles_are_the_last_steps() -> None:
    cycles = Cycles(num_steps=100, count=3, length=20, warmup=5)
    assert list(cycles.phases()) == [range(0, 40), range(40, 60), range(60, 80), range(80, 100)]
    assert list(cycles.phases(60)) == [range(60, 80), range(80, 100)]
    assert list(cycles.phases(61)) == [range(61, 80), range(80, 100)]
    assert list(cycles.phases(100)) == []
    finished = [cycles.finished(step) for step in (0, 39, 40, 59, 60, 99, 100)]
    assert finished == [None, None, 0, 0, 1, 2, 3]
    assert list(Cycles(7).phases(2)) == [range(2, 7)] and Cycles(7).finished(7) is None


def test_the_config_trains_the_papers_100_epochs_of_which_50_are_cycles() -> None:
    assert Cycles.of(paper.get_config(), steps_per_epoch=10) == Cycles(1000, 5, 100, 100)
    assert Cycles(1000, 5, 100, 100).start == 500


def test_num_steps_squeezes_the_cycles(tiny_config: ConfigDict) -> None:
    c = tiny_config
    c.num_epochs, c.num_steps = 150, 30
    c.self_correction.cycles = 5
    assert Cycles.of(c, steps_per_epoch=10) == Cycles(30, 5, 2, 2)
    c.num_steps = None
    assert Cycles.of(c, steps_per_epoch=10) == Cycles(1500, 5, 100, 100)
    c.self_correction.cycles = 14
    with pytest.raises(UserError, match=r"14 cycles of 100 steps .* 100 of warm-up .* nothing of 1500 steps"):
        Cycles.of(c, steps_per_epoch=10)
    c.self_correction.cycles = 0
    assert Cycles.of(c, steps_per_epoch=10) == Cycles(1500)


def test_the_schedule_is_the_reference_implementations() -> None:
    """Linear from the floor, cosine to it, then a cosine from half the rate each cycle: written out."""
    phases = [range(0, 100), range(100, 110), range(110, 120)]
    schedule = optim.warm_up_and_cycles(phases, learning_rate=0.007, warmup=10, restart=0.5, floor=0.01)
    low = 0.00007

    def expected(t: int) -> float:
        if t < 10:
            return low + t * (0.007 - low) / 10
        peak, phase = (0.007, (t - 10) / 90) if t < 100 else (0.0035, (t - 100) % 10 / 10)
        return low + (peak - low) * (1 + np.cos(np.pi * phase)) / 2

    rates = [float(schedule(t)) for t in range(120)]
    np.testing.assert_allclose(rates, [expected(t) for t in range(120)], rtol=1e-5, atol=0)
    without = optim.warm_up_and_cycles(phases, learning_rate=0.1, warmup=0, restart=1.0, floor=0.0)
    np.testing.assert_allclose([float(without(t)) for t in (0, 50, 100)], [0.1, 0.05, 0.1], rtol=1e-5, atol=0)


@pytest.fixture
def cycling(tiny_config: ConfigDict) -> ConfigDict:
    """Four ordinary steps and three cycles of two."""
    c = tiny_config
    c.num_epochs, c.num_steps = 10, 10
    c.checkpoint.every, c.log_every = 100, 2
    c.self_correction.cycles = 3
    c.self_correction.cycle_epochs = 2
    c.self_correction.warmup_epochs = 1
    return c


def tree_of(config: ConfigDict, mesh: Mesh) -> tuple[Any, Weights]:
    given = Given.of(optim.table(lambda step: 0.1, 1), config.seed)
    begun = fresh(config, mesh, optim.sgd(momentum=0.9, weight_decay=0.0), given)
    network, state = begun.network, begun.state()
    return network, state.weights


def test_estimated_statistics_equal_the_direct_ones(
    tiny_config: ConfigDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a fixed set of tiles: the mean over batches of each batch's own, as training sees them."""
    mesh = devices.make_mesh()
    network, weights = tree_of(tiny_config, mesh)
    images = [e.image for e in data.load(tiny_config.data).splits["train"]]
    tiles = np.concatenate([i.reshape(3, 32, 3, 32, 3).swapaxes(1, 2).reshape(9, 32, 32, 3) for i in images])
    batches: list[np.ndarray] = []
    split = devices.split_batch

    def recorded(mesh: Mesh, arrays: Any) -> Any:
        batches.append(arrays)
        return split(mesh, arrays)

    monkeypatch.setattr(devices, "split_batch", recorded)
    found = StatisticsEstimator(network, mesh, tile=32, batch_size=8)(weights, images)
    seen = np.concatenate(batches)
    place = {tile.tobytes(): i for i, tile in enumerate(tiles)}
    order = [place[tile.tobytes()] for tile in seen]
    assert sorted(order[:27]) == list(range(27)) and order[27:] == order[:5], (
        "each once, then the first again"
    )
    assert len({i // 9 for i in order[:8]}) > 1, "a batch mixes images"
    zeros = jax.tree.map(lambda x: 0 * x, weights.batch_stats)
    training = jax.jit(lambda x: network.train(weights.params, zeros, x, jax.random.key(0))[1])
    # Training keeps a tenth of a batch's own.
    direct = [jax.tree.map(lambda x: np.float64(x) / 0.1, training(batch)) for batch in batches]
    expected = jax.tree.map(lambda a, b, c, d: (8 * a + 8 * b + 8 * c + 3 * d) / 27, *direct)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
def test_statistics_and_labels_of_eight_devices_equal_those_of_one(
    tiny_config: ConfigDict, one_device: Mesh
) -> None:
    tiny_config.model.name, tiny_config.model.width = "self_correction", 1 / 32
    tiny_config.model.dtype = "float64"
    examples = data.load(tiny_config.data).splits["train"]
    results = []
    for mesh in (devices.make_mesh(), one_device):
        with jax.enable_x64(True):
            network, weights = tree_of(tiny_config, mesh)
            images = [e.image for e in examples]
            statistics = StatisticsEstimator(network, mesh, tile=32, batch_size=8)(weights, images)
            predict = refined_labels.LabelPredictor(
                network,
                mesh,
                num_classes=2,
                names=("soft_classes", "soft_edges"),
                tilings=[Tiling(32, blend=8)],
                batch_px=8 * 32**2,
            )
            results.append((statistics, predict(Weights(weights.params, statistics), images[0])))
    for many, one in zip(*(jax.tree.leaves(r) for r in results), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_run_killed_in_a_cycle_ends_as_one_that_was_not(
    cycling: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averages, labels and what training came to, to the bit; the labels of a later cycle may be there."""
    c, mesh = cycling, devices.make_mesh()
    c.checkpoint.every, c.checkpoint.keep = 1, 9
    with monkeypatch.context() as patch:
        patch.setattr(refined_labels, "delete_others", lambda parent, kept: None)
        whole = train.train(c, tmp_path)
    model = load_model(tmp_path, mesh, 10)
    assert digest(Weights(model.params, model.batch_stats)) == digest(whole)
    trained = digest(training_weights(tmp_path, model))
    assert trained != digest(whole)
    labels = labels_of(tmp_path / "labels/cycle_3")

    keep_until(tmp_path, 9)
    assert digest(train.train(c, tmp_path)) == digest(whole)
    assert digest(training_weights(tmp_path, load_model(tmp_path, mesh, 10))) == trained
    left = {p.name for p in (tmp_path / "labels").iterdir()}
    assert left == {"cycle_2", "cycle_3"}, "older ones are deleted"
    assert labels_of(tmp_path / "labels/cycle_3") == labels
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "labels_changed" in line] == [6, 8, 10]

    assert digest(train.train(c, tmp_path)) == digest(whole), "a finished run"
    keep_until(tmp_path, 7)
    with pytest.raises(UserError, match=r"labels/cycle_1/SYN-\w+-\d+.npz: these refined labels cannot"):
        train.train(c, tmp_path)
    c.num_steps = 12
    with pytest.raises(UserError, match="num_steps: 10 → 12"):
        train.train(c, tmp_path)


@pytest.mark.slow
def test_ce2p_refines_edges_too(
    cycling: ConfigDict, tmp_path: Path, one_device: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one device, for which XLA compiles the three programs of this network in half the time."""
    monkeypatch.setattr(devices, "make_mesh", lambda: one_device)
    options = devices.compiler_options
    monkeypatch.setattr(devices, "compiler_options", lambda mesh: options(mesh) | QUICK)
    c = cycling
    c.model.name, c.model.width, c.optim.loss = "self_correction", 1 / 32, "ce2p"
    c.optim.learning_rate = 0.01
    c.num_steps = c.num_epochs = 4
    c.self_correction.cycles, c.self_correction.cycle_epochs = 2, 1
    train.train(c, tmp_path)
    for arrays in labels_of(tmp_path / "labels/cycle_2").values():
        assert arrays.keys() == {"soft_classes", "soft_edges"}
    lines = [json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 3 and np.isfinite(losses).all()


def digest(weights: Weights) -> str:
    return parameter_digest(weights._asdict())


def labels_of(folder: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for path in sorted(folder.iterdir()):
        with np.load(path) as archive:
            assert all(archive[name].dtype == np.float16 for name in archive)
            found[path.stem] = {name: archive[name].tobytes() for name in archive}
    assert len(found) == 3
    return found


@pytest.mark.slow
def test_what_is_not_averaged_trains_the_same(cycling: ConfigDict, tmp_path: Path) -> None:
    """Averages of parameters leave training as it is: the baseline of one is in the other's checkpoint."""
    cycling.self_correction.average = "nothing"
    nothing = train.train(cycling, tmp_path / "nothing")
    cycling.self_correction.average = "parameters"
    averaged = train.train(cycling, tmp_path / "parameters")
    model = load_model(tmp_path / "parameters", devices.make_mesh(), 10)
    trained = training_weights(tmp_path / "parameters", model)
    assert digest(trained) == digest(nothing) != digest(averaged)
    assert not (tmp_path / "parameters/labels").exists()


def test_a_run_of_an_earlier_release_does_not_go_on_in_cycles(cycling: ConfigDict) -> None:
    """Its config has none of these keys."""
    now = {"config": json.loads(cycling.to_json_best_effort()), "dataset": {}}
    saved = json.loads(json.dumps(now))
    del saved["config"]["self_correction"], saved["config"]["optim"]["loss"]
    with pytest.raises(UserError, match="self_correction.cycles: 0 → 3"):
        compatibility.check_same_run(saved, now, Path("run"))
    now["config"]["self_correction"]["cycles"] = 0
    compatibility.check_same_run(saved, now, Path("run"))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "optim.loss",
            "dice",
            "optim.loss must be one of cross_entropy, cross_entropy_dice, ce2p, got 'dice'",
        ),
        ("optim.loss", "ce2p", "for the three branches of model.name = 'self_correction', got 'unet'"),
        ("self_correction.average", "labels", "must be one of nothing, parameters, both, got 'labels'"),
        ("self_correction.cycles", -1, "self_correction.cycles must be from 0"),
        ("self_correction.cycle_epochs", 0.0, "self_correction.cycle_epochs must be positive, got 0.0"),
        ("self_correction.restart", 1.5, "self_correction.restart must be from 0 to 1, got 1.5"),
        ("self_correction.cycle_epochs", 4.0, "3 cycles of 4 steps"),
        ("self_correction.restart", 0.001, "must be at least self_correction.floor, got 0.001 and 0.01"),
    ],
)
def test_bad_values_are_named(
    key: str, value: object, message: str, cycling: ConfigDict, tmp_path: Path
) -> None:
    cycling.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=message):
        train.train(cycling, tmp_path)
