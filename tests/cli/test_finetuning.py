"""`--init` at both doors: what an experiment takes from what it starts from, and from its run."""

from pathlib import Path

import pytest
from ml_collections import ConfigDict

from nucseg_jax import main as module
from nucseg_jax import pretrained
from nucseg_jax.cli import actions
from nucseg_jax.cli import main as nucseg
from nucseg_jax.errors import UserError
from tests.untrained import write_run


class Caught(Exception):
    """What a stand-in raises instead of working."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[ConfigDict]:
    """The configs that training is begun with."""
    found: list[ConfigDict] = []

    def train(config: ConfigDict, *_: object, **__: object) -> None:
        found.append(config)
        raise Caught

    monkeypatch.setattr("nucseg_jax.training.train.train", train)
    return found


def test_both_doors_take_the_network_of_a_model_but_for_what_is_given(
    trained: list[ConfigDict], tmp_path: Path
) -> None:
    name = pretrained.DEFAULT
    theirs = pretrained.load(name).info["config"]
    workdir = ["--workdir", str(tmp_path)]
    with pytest.raises(Caught):
        nucseg(["train", "finetune", "--init", name, *workdir, "--set", "instances.depth.h=0.3"])
    with pytest.raises(Caught):
        module.main(
            ["--config", "configs/finetune.py", "--init", name, *workdir, "--config.instances.depth.h=0.3"]
        )
    verb, door = trained
    assert verb == door
    assert verb.init.source == name and verb.model.name == theirs["model"]["name"]
    assert verb.instances.method == "depth" and verb.instances.depth.h == 0.3
    assert verb.instances.depth.min_area_um2 == theirs["instances"]["depth"]["min_area_um2"]
    assert verb.model.encoder_weights is None and verb.data.crop_size == 192


def test_a_run_is_resumed_and_scored_with_what_it_took(
    trained: list[ConfigDict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no --init any more."""
    run = write_run(tmp_path / "run", data__validation=("held",), init__source="gone")
    scored: list[ConfigDict] = []
    monkeypatch.setattr(actions, "_score", lambda experiment: scored.append(experiment.config))
    with pytest.raises(Caught):
        nucseg(["train", "finetune", "--workdir", str(run)])
    assert nucseg(["evaluate", "finetune", "--workdir", str(run)]) == 0
    for config in (*trained, *scored):
        assert config.model.name == "unet" and config.model.width == 1 / 16
        assert config.data.crop_size == 32 and config.data.validation == ("held",)
    assert len(trained) == len(scored) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune"], "finetune takes model, instances, "),
        (
            ["finetune", "--init", "hee"],
            "--init hee: there is no such run's folder or model: did you mean he",
        ),
        (["demo", "--init", "he", "--set", "init.source=he-fast"], "give one of them"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert nucseg(["train", arguments[0], "--workdir", str(tmp_path / "run"), *arguments[1:]]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_scoring_takes_no_init(capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(["--config", "configs/demo.py", "--mode", "eval", "--init", "he"]) == 2
    assert "--init he is for training: leave it out" in capsys.readouterr().err


def test_two_encoders_are_one_too_many(tiny_config: ConfigDict, tmp_path: Path) -> None:
    from nucseg_jax.training import train

    tiny_config.init.source = str(write_run(tmp_path / "source"))
    tiny_config.model.encoder_weights = "resnet101.pth"
    with pytest.raises(UserError, match=r"model.encoder_weights = 'resnet101.pth' and --init .* both have"):
        train.train(tiny_config, tmp_path / "run")
