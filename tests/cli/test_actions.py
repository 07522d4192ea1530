"""Both doors to an experiment: the user's command, and the verbs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from data_prep import folder
from nucseg_jax import runs
from nucseg_jax.cli import actions
from nucseg_jax.cli.config_flags import changes_in
from nucseg_jax.errors import UserError
from nucseg_jax.models.network import Weights
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.training.train import train
from tests.cli.commands import run, run_module, the_error
from tests.data_prep.small_folders import write_folder

MAIN = ("nucseg_jax.main", "--config", "configs/demo.py")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch_sise=2", "batch_sise: there is no such setting. Did you mean batch_size?"),
        (
            "optim.learning_rat=1",
            "optim.learning_rat: there is no such setting. Did you mean optim.learning_rate?",
        ),
        ("learning_rate=1", "learning_rate: there is no such setting. Did you mean optim.learning_rate?"),
        ("num_steps=many", "num_steps=many: takes a whole number, or None"),
        ("optim=1", "optim: there is no such setting. It is a group: optim."),
    ],
)
def test_a_wrong_change_is_one_line_at_both_doors(change: str, message: str) -> None:
    assert the_error(run_module(*MAIN, f"--config.{change}")).startswith(f"--config.{message}")
    assert the_error(run("train", "demo", "--set", change)).startswith(f"--set {message}")


@pytest.mark.slow
def test_both_doors_score_alike(tiny_config: object, tiny_dataset: Path, tmp_path: Path) -> None:
    """Of a run whose tuning.json has another method than its config: the command line may change it."""
    changes = {"num_steps": 1, "model.width": 1 / 16, "data.crop_size": 32, "batch_size": 8}
    config = tiny_config
    config.update_from_flattened_dict(changes)  # type: ignore[attr-defined]
    train(config, tmp_path)  # type: ignore[arg-type]
    parameters = {"threshold": 0.4, "h_um": 0.25, "smoothing_um": 0.5, "min_area_um2": 2.0}
    (tmp_path / runs.TUNING).write_text(json.dumps({"best": {"watershed": {"parameters": parameters}}}))
    given = {**changes, "data.dir": tiny_dataset, "instances.watershed.h_um": 0.3}
    flags = [f"--config.{key}={value}" for key, value in given.items()]
    pairs = [f"{key}={value}" for key, value in given.items()]
    ours = run_module(*MAIN, "--mode", "eval", f"--workdir={tmp_path}", *flags)
    assert ours.returncode == 0, ours.stderr
    assert re.search(r"by watershed \(.*h_um 0\.3, .*threshold 0\.4", ours.stdout)
    assert re.search(r"^demo: nucleus F1 0\.\d{3}$", ours.stdout, re.M)
    verb = run("evaluate", "demo", "--workdir", tmp_path, "--set", *pairs)
    assert verb.stdout == ours.stdout


@pytest.mark.slow
def test_a_dataset_without_test_images_trains_and_is_not_scored(tmp_path: Path) -> None:
    """Of two folders, of which the smaller one gets as many patches as the larger one."""
    folders = [write_folder(tmp_path / "lab", ["a", "b", "c"]), write_folder(tmp_path / "clinic", ["d"])]
    prepared = ["--name", "all", "--no-test", "--out", str(tmp_path / "data")]
    folder.main(["--source", *map(str, folders), *prepared])
    given = {
        "num_steps": 1,
        "batch_size": 8,
        "model.width": 1 / 16,
        "data.dir": tmp_path / "data",
        "data.split": "all",
        "data.crop_size": 32,
        "data.random_crops": 6,
        "data.balance_sources": True,
        "data.validation": (),
    }
    flags = [f"--config.{key}={value}" for key, value in given.items()]
    trained = run_module(*MAIN, f"--workdir={tmp_path / 'run'}", *flags)
    assert trained.returncode == 0, trained.stderr
    grown, first, *_, note, digest = trained.stdout.splitlines()
    assert grown.startswith("note: batch_size = 8 is 2 times that of demo (4)")
    counts = "4 training images (3 of lab, 1 of clinic), 0 held out, 60 patches an epoch"
    assert first.startswith(f"folder/all_none: {counts}; unet, ")
    assert note.startswith("note: folder/all_none has no images to score: all are for training. ")
    assert re.fullmatch("params sha256 [0-9a-f]{64}", digest)
    message = the_error(run_module(*MAIN, "--mode", "eval", f"--workdir={tmp_path / 'run'}", *flags))
    assert message == note.removeprefix("note: ")


def test_the_digest_is_printed_whatever_becomes_of_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The training is done."""
    weights = Weights({"a": np.ones(3, np.float32)}, {})

    def fail(_: object) -> None:
        raise UserError("tuning.json: cannot be read. Delete it")

    monkeypatch.setattr("nucseg_jax.training.train.train", lambda *_, **__: weights)
    monkeypatch.setattr(actions, "_score", fail)
    with pytest.raises(UserError, match="Delete it"):
        actions.train(actions.read("demo", [], tmp_path))
    digest = parameter_digest(weights.params)
    assert capsys.readouterr().out.splitlines()[-1] == f"params sha256 {digest}"


@pytest.mark.parametrize(
    ("option", "changes", "told"),
    [
        (
            "--config.",
            ["batch_size=8"],
            "note: batch_size = 8 is 2 times that of demo (4), and optim.learning_rate is the same. For a "
            "rate that grows with the batch, after a warm-up: --config.optim.reference_batch=4 "
            "--config.optim.warmup_epochs=5",
        ),
        ("--set ", ["batch_size=8", "optim.warmup_epochs=1.0"], "--set optim.reference_batch=4"),
        ("--set ", ["batch_size=4"], None),
        ("--set ", ["batch_size=8", "optim.learning_rate=0.1"], None),
        ("--set ", ["batch_size=8", "optim.reference_batch=4"], None),
    ],
)
def test_a_batch_that_grows_without_the_rate_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    changes: list[str],
    told: str | None,
) -> None:
    weights = Weights({"a": np.ones(3, np.float32)}, {})
    monkeypatch.setattr("nucseg_jax.training.train.train", lambda *_, **__: weights)
    monkeypatch.setattr(actions, "_score", lambda _: None)
    actions.train(actions.read("demo", changes, tmp_path, option))
    note, *others = capsys.readouterr().out.splitlines()
    if told is None:
        assert note.startswith("params sha256") and not others
    else:
        assert note.startswith("note: batch_size = 8") and note.endswith(told)


def test_an_unknown_experiment(tmp_path: Path) -> None:
    assert "demmo: no such config. Did you mean demo? There are demo, " in the_error(run("train", "demmo"))
    wrong = tmp_path / "mine.py"
    wrong.write_text(
        "from nucseg_jax.config import get_config as base\n\ndef get_config():\n    return base().sed\n"
    )
    message = the_error(run("train", wrong))
    assert message.startswith(f"{wrong}, line 4: cannot be read: ") and "Did you mean" in message
    assert "no such file" in the_error(run_module("nucseg_jax.main", "--config", "configs/nothing.py"))


def test_a_run_without_a_checkpoint(tmp_path: Path) -> None:
    """`evaluate` does not train."""
    assert "no checkpoint" in the_error(run("evaluate", "demo", "--workdir", tmp_path))


def test_changes_of_the_users_command() -> None:
    assert changes_in(["--config.a.b=1", "--config.c", "2", "--config.d=x=y"]) == ["a.b=1", "c=2", "d=x=y"]
    assert changes_in(["--config.a=1", "--config.b=2", "--config.a=3"]) == ["a=3", "b=2"]
    with pytest.raises(UserError, match="unknown argument 'more'"):
        changes_in(["--config.a=1", "more"])
    with pytest.raises(UserError, match="--config.a has no value"):
        changes_in(["--config.a", "--config.b=1"])
