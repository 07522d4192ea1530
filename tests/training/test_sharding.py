"""`config.shard`: the same training, of which each device holds a part."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh
from ml_collections import ConfigDict

from benchmarks.collectives import messages
from nucseg_jax import config as settings
from nucseg_jax import devices
from nucseg_jax.config.names import SHARDS
from nucseg_jax.runs import checkpoint, compatibility
from nucseg_jax.runs.checkpoint import Checkpoints
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training import optim, start, train
from nucseg_jax.training.estimate import estimate, told
from nucseg_jax.training.sharding import whole_bytes
from nucseg_jax.training.step import Given, TrainState, compile_step
from tests.killed import keep_until
from tests.several_processes import outputs_of, started_together
from tests.test_main import command, digest_of

Batch = dict[str, np.ndarray]
GIVEN = Given.of(optim.table(optim.warm_restarts(0.1, 10), 10), 0)


def first_devices(count: int) -> Mesh:
    return Mesh(jax.devices()[:count], ("data",), axis_types=(AxisType.Auto,))


def begun(config: ConfigDict, mesh: Mesh) -> start.Start:
    return start.fresh(config, mesh, train.make_optimizer(config), GIVEN)


def bytes_of_each(tree: Any) -> set[int]:
    """What the devices hold of arrays."""
    found: Counter[int] = Counter()
    for array in jax.tree.leaves(tree):
        for shard in array.addressable_shards:
            found[shard.device.id] += shard.data.nbytes
    return set(found.values())


def trained(config: ConfigDict, batch: Batch) -> tuple[list[float], TrainState, set[str]]:
    """Losses and state after three steps, and which messages a step sends."""
    mesh = devices.make_mesh()
    first = begun(config, mesh)
    step = compile_step(
        mesh, train.make_step(config, first.network, train.make_optimizer(config)), first.shapes
    )
    batch = devices.split_batch(mesh, batch)
    compiled = step.lower(first.shapes, batch).compile()
    state, losses = first.state(), []
    for _ in range(3):
        state, loss = compiled(state, batch)  # which refuses another placement than it was compiled for
        losses.append(float(loss))
    return losses, state, {message.kind for message in messages(compiled.as_text())}


def test_the_result_is_that_of_devices_that_hold_all(tiny_config: ConfigDict, tissue_batch: Batch) -> None:
    tiny_config.optim.average_decay = 0.9
    expected, whole, _ = trained(tiny_config, tissue_batch)
    sizes = {part: bytes_of_each(getattr(whole, part)).pop() for part in ("params", "opt_state")}
    average_size = bytes_of_each(whole.average.params).pop()
    held = {"optimizer": ["opt_state"], "parameters": ["opt_state", "params"]}
    for shard in SHARDS[1:]:
        tiny_config.shard = shard
        losses, state, kinds = trained(tiny_config, tissue_batch)
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(np.abs(b).max()) + 1e-12)
        assert "all-gather" in kinds
        for part, size in sizes.items():
            (found,) = bytes_of_each(getattr(state, part))
            # The small ones are whole: biases, norms, the kernels at both ends.
            assert size / 8 < found < size / 6 if part in held[shard] else found == size
        (found,) = bytes_of_each(state.average.params)
        assert average_size / 8 < found < average_size / 6
        assert all(x.is_fully_replicated for x in jax.tree.leaves((state.batch_stats, state.step)))


@pytest.mark.slow
@pytest.mark.parametrize("shard", SHARDS[1:])
def test_adamw_and_a_batch_in_parts_give_the_same_result(
    shard: str, tiny_config: ConfigDict, tissue_batch: Batch
) -> None:
    """AdamW on a batch in parts. In float64: a small gradient's sign makes a large update."""
    c = tiny_config
    c.optim.method, c.optim.accumulate = "adamw", 2
    batch = {key: np.concatenate([value, value[:, ::-1]]) for key, value in tissue_batch.items()}
    c.model.dtype = "float64"
    with jax.enable_x64(True):
        expected, whole, _ = trained(c, batch)
        c.shard = shard
        losses, state, _ = trained(c, batch)
        np.testing.assert_allclose(losses, expected, rtol=1e-6)
        for a, b in zip(jax.tree.leaves(state.params), jax.tree.leaves(whole.params), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(np.abs(b).max()) + 1e-12)


@pytest.mark.parametrize("saved_on", [1, 8])
def test_a_checkpoint_is_restored_to_other_devices_and_settings_to_the_bit(
    saved_on: int, tiny_config: ConfigDict, tmp_path: Path
) -> None:
    tiny_config.shard, tiny_config.optim.average_decay = "parameters", 0.9
    generator, optimizer = np.random.default_rng(0), train.make_optimizer(tiny_config)
    shapes = begun(tiny_config, mesh := first_devices(saved_on)).shapes
    drawn = jax.tree.map(lambda x: generator.random(x.shape).astype(x.dtype), shapes)._replace(
        step=np.int32(3), given=GIVEN
    )
    state = devices.place(drawn, shapes)
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        info = checkpoint.describe(tiny_config, {}, None, None)
        checkpoints.save(3, state.average, info, optimizer=state.opt_state, training=state.weights)
        checkpoints.wait()
        for count, shard in (
            (8, "none"),
            (8, "optimizer"),
            (8, "parameters"),
            (2, "parameters"),
            (1, "none"),
        ):
            tiny_config.shard, mesh = shard, first_devices(count)
            found = start.resumed(tiny_config, mesh, optimizer, GIVEN, checkpoints, None)
            wanted = begun(tiny_config, mesh).shapes
            restored = found.state()
            for a, b, shape in zip(*map(jax.tree.leaves, (restored, drawn, wanted)), strict=True):
                np.testing.assert_array_equal(a, b)
                assert (
                    a.sharding == shape.sharding == devices.partition(mesh, a.shape) or a.is_fully_replicated
                )
            assert jax.tree.map(lambda x: x.sharding, found.shapes) == jax.tree.map(
                lambda x: x.sharding, wanted
            )
            assert found.first == 3


@pytest.mark.slow
def test_a_run_goes_on_with_another_setting(
    tiny_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With images held out, and a moving average: scored and saved as of devices that hold all."""
    c = tiny_config
    c.num_steps, c.checkpoint.every, c.checkpoint.keep, c.log_every = 4, 2, 9, 1
    c.optim.average_decay, c.data.hold_out, c.instances.method = 0.9, True, "watershed"
    c.shard = "optimizer"
    whole = train.train(c, tmp_path)
    printed = capsys.readouterr().out
    held, size = map(
        float,
        re.search(r"shard = optimizer: each device holds (\S+) of the state's (\S+) MB", printed).groups(),
    )
    assert 0.4 * size < held < 0.6 * size  # the parameters, and rates by step, are whole
    expected = scores(tmp_path)
    assert [step for step, _ in expected] == [2, 4]
    keep_until(tmp_path, 2)
    c.shard = "parameters"
    again = train.train(c, tmp_path)
    assert "was started with shard optimizer and goes on with parameters" in capsys.readouterr().out
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(np.abs(b).max()) + 1e-12)
    assert scores(tmp_path)[-1] == pytest.approx(expected[-1], abs=0.02)


def scores(workdir: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["validation_dice"]) for line in lines if "validation_dice" in line]


@pytest.mark.slow
def test_cycles_of_self_correction_average_parts(tiny_config: ConfigDict, tmp_path: Path) -> None:
    """Averages, batch statistics and refined labels, also where the run goes on in the last cycle."""
    c = tiny_config
    c.num_epochs, c.num_steps, c.checkpoint.every, c.checkpoint.keep = 6, 6, 5, 9
    c.self_correction.cycles, c.self_correction.cycle_epochs, c.self_correction.warmup_epochs = 2, 2, 1
    whole = train.train(c, tmp_path / "whole")
    c.shard = "parameters"
    parts = train.train(c, tmp_path / "parts")
    assert any(not x.is_fully_replicated for x in jax.tree.leaves(parts.params))
    keep_until(tmp_path / "parts", 5)
    again = train.train(c, tmp_path / "parts")
    assert parameter_digest(again._asdict()) == parameter_digest(parts._asdict())
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(np.abs(b).max()) + 1e-12)


@pytest.mark.slow
def test_the_estimate_says_what_a_device_holds(tiny_config: ConfigDict) -> None:
    tiny_config.num_steps = 1  # none is timed
    tiny_config.shard = "parameters"
    found, shapes = estimate(tiny_config), begun(tiny_config, devices.make_mesh()).shapes
    assert found.state_bytes == devices.bytes_on_device(shapes) < found.whole_bytes == whole_bytes(shapes)
    line = told(
        found._replace(state_bytes=90 * 10**6, whole_bytes=540 * 10**6, step_bytes=10**9), tiny_config
    )[1]
    assert line == (
        "memory a device: 1.00 GB (weights and the optimizer's state 90 MB, of 540 MB that the devices share)"
    )


def test_another_setting_is_no_other_run() -> None:
    config = settings.get_config()
    saved, now = (checkpoint.describe(config, {}, None, None) for _ in range(2))
    now["config"]["shard"] = "parameters"
    compatibility.check_same_run(saved, now, Path("run"))
    assert (
        "was started with shard none and goes on with parameters"
        in compatibility.notes_on_changes(saved, now)[0]
    )
    del saved["config"]["shard"]  # of an earlier release
    compatibility.check_same_run(saved, now, Path("run"))
    assert (
        "was started with shard none and goes on with parameters"
        in compatibility.notes_on_changes(saved, now)[0]
    )
    now["config"]["shard"] = "none"
    assert compatibility.notes_on_changes(saved, now) == []


@pytest.mark.slow
def test_two_processes_hold_parts_of_one_training(tiny_dataset: Path, tmp_path: Path) -> None:
    """Each of four devices; they save, go on, average, score, and agree on the digest."""
    options = [
        "--distributed",
        "--config.shard=parameters",
        "--config.num_steps=4",
        "--config.checkpoint.every=2",
        "--config.checkpoint.keep=9",
        "--config.optim.average_decay=0.9",
        "--config.data.hold_out=True",
    ]
    run = tmp_path / "run"
    digests = []
    for _ in range(2):
        processes = started_together(command(run, tiny_dataset, *options), devices=4)
        outputs = outputs_of(processes, timeout_s=400)
        assert [p.returncode for p in processes] == [0, 0], outputs
        assert "shard = parameters: each device holds" in outputs[0]
        digests.append(digest_of(outputs[0]))
        keep_until(run, 2)
    assert digests[0] == digests[1]
