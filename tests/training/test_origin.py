"""A training that starts from a trained network: what is taken, what is recorded, what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from nucseg_jax import data, devices, pretrained, runs
from nucseg_jax.data.dataset import Dataset
from nucseg_jax.errors import UserError
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.runs.loading import load_model, newest_info
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.runs.tensors import named, to_tensors
from nucseg_jax.runs.unseen import check_unseen, trained_on
from nucseg_jax.training import origin, train
from tests.killed import keep_until
from tests.networks import filled_network
from tests.untrained import write_run

WIDTH = 1 / 16


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a U-Net of four channels and two classes, at 0.25 µm a pixel."""
    return write_run(tmp_path_factory.mktemp("runs") / "source")


def drawn(name: str = "unet", num_classes: int = 2, width: float = WIDTH) -> Weights:
    """The weights of a new network, all of one value."""
    model = filled_network(
        name, lambda shape: np.full(shape, 7, np.float32), num_classes=num_classes, width=width
    )
    _, params, batch_stats = split_network(model)
    return Weights(params, batch_stats)


def test_all_tensors_of_a_like_network_are_taken(source: Path, one_device: Mesh) -> None:
    found = origin.read(str(source), one_device)
    weights, line = origin.taken(found, drawn())
    jax.tree.map(np.testing.assert_array_equal, weights, load_model(source, one_device).weights)
    assert line == f"training starts from {source}, step 1: all {len(named(weights))} tensors are taken"
    assert parameter_digest(weights.params) == found.record()["params_sha256"]


def test_a_models_file_gives_its_half_precision_and_its_digest(
    source: Path, one_device: Mesh, tmp_path: Path
) -> None:
    run = runs.open_run(source, one_device, {})
    file = tmp_path / "mine.safetensors"
    sha256 = pretrained.write(
        file, "mine", runs.portable_info(run), run.model.step, to_tensors(run.model.weights)
    )
    found = origin.read(str(file), one_device)
    weights, _ = origin.taken(found, drawn())
    for before, after in zip(jax.tree.leaves(run.model.weights), jax.tree.leaves(weights), strict=True):
        expected = np.asarray(before).astype(np.float16 if before.ndim > 1 else np.float32)
        np.testing.assert_array_equal(after, expected.astype(np.float32))
    assert found.record()["sha256"] == sha256 and found.record()["source"] == str(file)


def test_what_has_another_shape_is_listed_and_starts_at_random(source: Path, one_device: Mesh) -> None:
    new = drawn(num_classes=3)
    weights, line = origin.taken(origin.read(str(source), one_device), new)
    theirs, before, after = named(load_model(source, one_device).weights), named(new), named(weights)
    count = len(after)
    assert line.endswith(
        f": 2 of {count} tensors are not taken, and start at random: "
        "params.classifier.bias (2 → 3), params.classifier.kernel (1×1×4×2 → 1×1×4×3)"
    )
    for name, value in after.items():
        expected = before[name] if name.startswith("params.classifier") else theirs[name]
        np.testing.assert_array_equal(value[...], expected[...], err_msg=name)


@pytest.mark.parametrize(
    ("name", "width", "message"),
    [
        (
            "unet",
            1 / 8,
            r"its network is another \(unet, model.width 0.0625, 2 classes\): ",
        ),
        ("efficient_unet", WIDTH, "295 of 296 tensors cannot be taken, such as params.classifier.kernel"),
    ],
)
def test_a_network_that_does_not_fit_is_one_error(
    name: str, width: float, message: str, source: Path, one_device: Mesh
) -> None:
    with pytest.raises(UserError, match=message):
        origin.taken(origin.read(str(source), one_device), drawn(name, width=width))


def test_an_unknown_name_suggests_the_nearest(tmp_path: Path, one_device: Mesh) -> None:
    with pytest.raises(UserError, match=r"--init he-fats: there is no such .* did you mean he-fast\? "):
        origin.read("he-fats", one_device)
    with pytest.raises(UserError, match="no checkpoint in .*: train first"):
        origin.read(str(tmp_path), one_device)


def test_another_resolution_is_refused_with_the_remedy(
    source: Path, one_device: Mesh, tiny_config: ConfigDict, tmp_path: Path
) -> None:
    """Images of 96 pixels at 0.5 µm: enlarged to 192 they have the source's 0.25."""
    dataset = data.load(tiny_config.data)
    coarse = replace(dataset, metadata={**dataset.metadata, "mpp": 0.5, "mpp_source": "given"})
    known = origin.read(str(source), one_device)
    line = origin.check_resolution(known, coarse)
    assert line is not None and "is taken to be trained at 0.25 µm a pixel" in line
    said = origin.read(str(write_run(tmp_path / "said", dataset=dataset)), one_device)
    with pytest.raises(UserError, match=r"have 0\.5 µm a pixel \(given\), and .* was trained at 0\.25\. "):
        origin.check_resolution(said, coarse)
    with pytest.raises(UserError, match=r"Prepare them with --size 192; "):
        origin.check_resolution(said, coarse)
    near = replace(dataset, metadata={**dataset.metadata, "mpp": 0.27})
    assert origin.check_resolution(said, near) is None


def fine_tuning(config: ConfigDict, source: Path) -> ConfigDict:
    """Four steps, a checkpoint each, from a run that has seen none of the images."""
    config.init.source = str(source)
    config.num_steps, config.log_every = 4, 1
    config.checkpoint.every, config.checkpoint.keep = 1, 9
    config.optim.freeze_statistics = True
    config.data.hold_out = True
    return config


@pytest.mark.slow
def test_a_run_records_what_it_started_from_and_resumes_without_it(
    source: Path, tiny_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, mesh, workdir = tiny_config, devices.make_mesh(), tmp_path / "run"
    mine = Path(shutil.copytree(source, tmp_path / "mine"))
    fine_tuning(config, mine)
    whole = parameter_digest(train.train(config, workdir).params)
    said = capsys.readouterr().out
    theirs, first = load_model(mine, mesh), load_model(workdir, mesh, 0)
    jax.tree.map(np.testing.assert_array_equal, first.weights, theirs.weights)
    last = load_model(workdir, mesh, 4)
    jax.tree.map(np.testing.assert_array_equal, last.batch_stats, theirs.batch_stats)
    assert parameter_digest(last.params) == whole != parameter_digest(theirs.params)

    record = last.info["init"]
    assert (record["source"], record["model"], record["step"]) == (str(mine), "unet", 1)
    assert record["params_sha256"] == parameter_digest(theirs.params)
    assert record["images"] == [] and not record["images_complete"]
    assert last.info["config"]["init"]["source"] == str(mine)
    (held,) = last.info["config"]["data"]["validation"]
    assert f"note: {held} is held out: of 3 training images it has the median number of nuclei" in said
    assert "2 training images, 1 held out" in said
    assert runs.open_run(workdir, mesh, {}).facts()["init"]["source"] == str(mine)

    shutil.rmtree(mine)
    keep_until(workdir, 2)
    config.init.source = None
    assert parameter_digest(train.train(config, workdir).params) == whole
    assert newest_info(workdir)["init"] == record
    config.init.source = "he"
    with pytest.raises(UserError, match=f"run that started from {mine}, not from he: use another --workdir"):
        train.train(config, workdir)


@pytest.mark.slow
def test_the_best_step_may_be_the_source_itself_and_training_ends_early(
    source: Path,
    tiny_config: ConfigDict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By scores that are given: of step 0, 1, … in turn."""
    config, mesh = fine_tuning(tiny_config, source), devices.make_mesh()
    config.num_steps, config.checkpoint.keep, config.checkpoint.patience = 9, 1, 2
    for name, scores, best, last in (
        ("worse", [0.5, 0.4, 0.3], 0, 2),
        ("better", [0.5, 0.6, 0.55, 0.7, 0.4, 0.65], 3, 5),
    ):
        left = iter(scores)
        monkeypatch.setattr(
            train.validation,
            "validator",
            lambda *_, left=left: lambda _: {"aji": next(left), "dice": 0.0},
        )
        config.checkpoint.best_by = "aji"
        workdir = tmp_path / name
        for again in (False, True):
            train.train(config, workdir)
            said = capsys.readouterr().out
            when = "is finished: it ended at" if again else "ends early, at"
            assert f"{workdir} {when} step {last} of 9, since the best checkpoint is of step {best}" in said
            assert (f"no checkpoint is better on the held-out images than {source}" in said) == (best == 0)
        assert next(left, None) is None, "no step more"
        assert load_model(workdir, mesh).step == best
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        found = {line["step"]: line["validation_aji"] for line in lines if "validation_aji" in line}
        assert found == dict(enumerate(scores))


@pytest.mark.slow
def test_two_images_train_to_the_end_and_the_last_step_counts(
    source: Path,
    tiny_config: ConfigDict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset = data.load(tiny_config.data)
    few = replace(dataset, splits={**dataset.splits, "train": dataset.splits["train"][:2]})
    monkeypatch.setattr(train.data, "load", lambda _: few)
    config = fine_tuning(tiny_config, source)
    config.num_steps, config.checkpoint.patience = 2, 1
    train.train(config, tmp_path)
    assert (
        "note: no image is held out, since there are fewer than 3 training images" in capsys.readouterr().out
    )
    assert load_model(tmp_path, devices.make_mesh()).step == 2


def test_images_of_the_source_are_neither_scored_nor_held_out(
    tiny_config: ConfigDict, tmp_path: Path, one_device: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are recorded, over two generations."""
    dataset = data.load(tiny_config.data)
    sha256 = dataset.metadata["sha256"]
    (test,), (one, *_) = dataset.splits["test"], dataset.splits["train"]
    images = [{"id": f"other {x.id}", "split": "train", "sha256": sha256[x.id]} for x in (test, one)]

    def seen(*entries: dict[str, str]) -> Dataset:
        return replace(dataset, metadata={"manifest": {"images": list(entries)}, "mpp": 0.25})

    first = write_run(tmp_path / "first", dataset=seen(images[0]))
    record = origin.read(str(first), one_device).record()
    assert record["images"] == [["other " + test.id, sha256[test.id]]] and record["images_complete"]
    info = newest_info(first)
    assert info is not None
    second = {**info, "init": record, "dataset": {"manifest": {"images": [images[1]]}}}
    assert {image.sha256 for image in trained_on(second).images} == {sha256[test.id], sha256[one.id]}
    with pytest.raises(UserError, match=f"second started from {first}, which was trained on 1 of these 1"):
        check_unseen(Path("second"), second, dataset, [test])
    with pytest.raises(UserError, match="second was trained on 1 of these 1 images"):
        check_unseen(Path("second"), second, dataset, [one])

    config = fine_tuning(tiny_config, first)
    with pytest.raises(UserError, match=f"started from {first}, which was trained on .*: {test.id}"):
        train.train(config, tmp_path / "run")
    third = write_run(tmp_path / "third", dataset=seen(images[1]))
    config.init.source, config.data.validation = str(third), (one.id,)
    with pytest.raises(UserError, match=f"data.validation names {one.id}, and {third} was trained on"):
        train.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
