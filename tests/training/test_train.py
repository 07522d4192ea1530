"""A training as a whole: what it comes to, resuming, what is refused, and how it ends when it diverges."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from nucseg_jax import data, devices
from nucseg_jax.data.dataset import Dataset
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.runs import compatibility
from nucseg_jax.runs.loading import load_model, training_weights
from nucseg_jax.runs.restoring import CheckpointError, parameter_digest
from nucseg_jax.training import optim, train
from nucseg_jax.training.cycles import Cycles
from nucseg_jax.training.divergence import NonFiniteLossError
from tests.killed import keep_until


def test_loss_falls_on_the_synthetic_set(tiny_config: ConfigDict, tmp_path: Path) -> None:
    tiny_config.num_steps, tiny_config.log_every = 40, 5
    train.train(tiny_config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses_ = [line["loss"] for line in lines]
    assert len(losses_) == 8
    assert np.mean(losses_[-2:]) < 0.8 * losses_[0], losses_
    assert any((tmp_path / "tensorboard").iterdir())


def test_resuming_changes_nothing(
    tiny_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of 8 steps that is killed after step 3 ends with the same bits; its log has no gap.

    It draws no weights, which it would throw away.
    """
    tiny_config.optim.accumulate = 1
    tiny_config.checkpoint.every, tiny_config.checkpoint.keep, tiny_config.log_every = 3, 9, 2
    tiny_config.num_steps = 8
    whole = parameter_digest(train.train(tiny_config, tmp_path).params)
    log = (tmp_path / "metrics.jsonl").read_text().splitlines()
    keep_until(tmp_path, 3)
    monkeypatch.setattr(np.random, "PCG64", lambda *_: pytest.fail("weights are drawn"))
    assert parameter_digest(train.train(tiny_config, tmp_path).params) == whole
    before, after = (
        [(line["step"], line["loss"]) for line in map(json.loads, lines)]
        for lines in (log, (tmp_path / "metrics.jsonl").read_text().splitlines())
    )
    assert [step for step, _ in before] == [2, 3, 4, 6, 8]
    assert after == before


@pytest.mark.slow
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
            "augment.gamma": 2.0,
            "augment.noise": 8.0,
            "stain.augment_scale": 0.25,
            "stain.augment_residual": 0.25,
            "optim.method": "adamw",
            "optim.warmup_epochs": 1.0,
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


def test_another_config_in_the_same_workdir_is_refused(tiny_config: ConfigDict, tmp_path: Path) -> None:
    tiny_config.num_steps = 1
    train.train(tiny_config, tmp_path)
    for key, value, message in (
        ("optim.learning_rate", 0.5, r"optim.learning_rate: 0.05 → 0.5"),
        ("num_steps", 2, "num_steps: 1 → 2"),
        ("num_epochs", 4, "num_epochs: 2 → 4"),
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


def test_the_rate_grows_with_the_batch_where_it_is_told_to(tiny_config: ConfigDict) -> None:
    tiny_config.num_steps = 40

    def rates(**changes: Any) -> Any:
        config = tiny_config.copy_and_resolve_references()
        config.update_from_flattened_dict(changes)
        cycles = Cycles.of(config, 75.0)
        return np.asarray(train.learning_rates(config, cycles, 75.0)(np.arange(cycles.num_steps)))

    given = rates()
    np.testing.assert_allclose(rates(**{"optim.reference_batch": 2}), 4 * given, rtol=1e-6, atol=0)
    np.testing.assert_array_equal(rates(**{"optim.reference_batch": 8}), given)
    np.testing.assert_array_equal(rates(batch_size=16), given)
    cycles = {"self_correction.cycles": 2, "self_correction.cycle_epochs": 0.2, "num_epochs": 1}
    cycles["self_correction.warmup_epochs"] = 0.1
    np.testing.assert_allclose(
        rates(**cycles, **{"optim.reference_batch": 2}), 4 * rates(**cycles), rtol=1e-6, atol=0
    )


def test_what_floating_point_adds_to_a_period_makes_no_step(tiny_config: ConfigDict) -> None:
    tiny_config.optim.restart_epochs, tiny_config.num_steps, tiny_config.num_epochs = 1.1, 50, 5
    assert 1.1 * 50 / 5 > 11
    assert train.restart_period(tiny_config, steps_per_epoch=75) == 11


@pytest.mark.slow
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
    """Checkpoints with the Dice alone, as `f1`, a config without `checkpoint.best_by`, and no digests."""
    for folder in (workdir / "checkpoints").iterdir():
        metrics, info = folder / "metrics/metrics", folder / "info/metadata"
        metrics.write_text(json.dumps({"f1": json.loads(metrics.read_text())["dice"]}))
        content = json.loads(info.read_text())
        del content["config"]["checkpoint"]["best_by"], content["sha256"], content["init"]
        info.write_text(json.dumps(content))


def test_divergence_stops_and_keeps_the_sound_checkpoints(tiny_config: ConfigDict, tmp_path: Path) -> None:
    schedule = optim.warm_restarts

    def exploding(learning_rate: float, period: int, warmup: int) -> Any:
        sound = schedule(learning_rate, period, warmup)
        return lambda step: jnp.where(jnp.asarray(step) < 3, sound(step), 1e38)

    tiny_config.num_steps, tiny_config.checkpoint.every = 6, 1
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NonFiniteLossError, match="diverged") as error:
        patch.setattr(optim, "warm_restarts", exploding)
        train.train(tiny_config, tmp_path)
    assert re.search(r"patches of step \d: SYN-\w+-\d+, SYN-", str(error.value)), "the batch's images"
    model = load_model(tmp_path, devices.make_mesh())
    assert model.step >= 3, "the checkpoint being written when the run stopped is complete"
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((model.params, model.batch_stats)))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 9, "batch_size = 9 must be a multiple of .* = 1 × 8"),
        ("optim.accumulate", 2, r"batch_size = 8 must be a multiple of .* = 2 × 8"),
        ("data.pipeline", "grain", "unknown data.pipeline 'grain': known are tfdata, streamed, resident"),
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
        ("shard", "weights", "shard must be one of none, optimizer, parameters, got 'weights'"),
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


def test_a_resolution_that_evaluation_refuses_is_refused_before_the_first_step(
    tiny_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of 0.7 µm a pixel that earlier releases reduced to 1.05; 1 is the coarsest."""
    dataset = data.load(tiny_config.data)
    large = [
        replace(e, original_label_map=np.kron(e.label_map, np.ones((3, 3), np.int32)))
        for e in dataset.splits["train"]
    ]
    other = replace(dataset, splits={"train": large, "test": []}, metadata={**dataset.metadata, "mpp": 0.35})
    monkeypatch.setattr(train.data, "load", lambda _: other)
    with pytest.raises(
        UserError, match=r"^folder/synthetic_none: rescaled by --size, its images have 1\.05 µm"
    ):
        train.train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_splits_that_cannot_be_scored_are_refused_before_the_first_step(
    tiny_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scoring would find it after the last one."""
    dataset = data.load(tiny_config.data)
    first, (test,) = dataset.splits["train"][0], dataset.splits["test"]
    nothing = np.zeros_like(test.original_label_map)
    sha256 = {**dataset.metadata["sha256"], test.id: dataset.metadata["sha256"][first.id]}
    seen = f"trained on 1 of these 1 images .*: {test.id}. Their pixels are in both splits"
    for changed, metadata, message in (
        (replace(test, original_label_map=nothing), {}, "none of its 1 images has a nucleus"),
        (test, {"sha256": sha256}, seen),
    ):
        other = replace(
            dataset,
            splits={**dataset.splits, "test": [changed]},
            metadata={**dataset.metadata, **metadata},
        )
        monkeypatch.setattr(train.data, "load", lambda _, other=other: other)
        with pytest.raises(UserError, match=message):
            train.train(tiny_config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def partly_annotated(dataset: Dataset, *, bare: bool) -> Dataset:
    """Of the first training image the right part is unannotated, and the border cuts nuclei.

    `bare`: nuclei that lie wholly there are not in the labels.
    """
    first, *others = dataset.splits["train"]
    mask = np.broadcast_to(np.arange(96) >= 50, (96, 96))
    at_border = np.isin(first.label_map, first.label_map[~mask])
    labels = np.where(mask & (at_border | bare), 0, first.label_map).astype(np.int32)
    partly = replace(
        first,
        label_map=labels,
        original_label_map=np.where(mask, 0, first.original_label_map).astype(np.int32),
        unannotated=mask,
        original_unannotated=mask,
    )
    return replace(dataset, splits={**dataset.splits, "train": [partly, *others]})


@pytest.mark.slow
def test_what_nobody_annotated_has_no_influence(
    tiny_config: ConfigDict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Nuclei there, and those that the border cuts, teach nothing; as deep as they may be."""
    tiny_config.update_from_flattened_dict(
        {
            "num_steps": 2,
            "model.num_classes": 3,
            "model.boundary": "distance",
            "optim.loss": "cross_entropy_dice",
            "optim.accumulate": 1,
        }
    )
    dataset = data.load(tiny_config.data)
    digests = []
    for name, bare, pipeline in (("a", True, "tfdata"), ("b", False, "tfdata"), ("c", True, "resident")):
        changed = partly_annotated(dataset, bare=bare)
        monkeypatch.setattr(train.data, "load", lambda _, changed=changed: changed)
        tiny_config.data.pipeline = pipeline
        digests.append(parameter_digest(train.train(tiny_config, tmp_path / name).params))
    assert digests[0] == digests[1] == digests[2]
    said = "note: folder/synthetic_none: 1 of 3 training images are annotated in part. Only annotated pixels"
    captured = capfd.readouterr()
    assert (captured.out + captured.err).count(f"{said} count, 84 % of all") == 3


def test_images_that_nobody_annotated_are_refused_before_the_first_step(
    tiny_config: ConfigDict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = data.load(tiny_config.data)
    first, *others = dataset.splits["train"]
    for changed in (
        replace(first, original_unannotated=np.ones(first.original_label_map.shape, bool)),
        replace(first, unannotated=np.ones(first.label_map.shape, bool)),
    ):
        other = replace(dataset, splits={**dataset.splits, "train": [changed, *others]})
        monkeypatch.setattr(train.data, "load", lambda _, other=other: other)
        message = f"^folder/synthetic_none: no pixel of {first.id} .training images. is annotated"
        with pytest.raises(DataError, match=message):
            train.train(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
