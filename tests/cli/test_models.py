"""Installed models listed; a run's network saved to one file, and used from it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucseg_jax import Segmenter, devices, pretrained, runs
from nucseg_jax.cli import main as nucseg
from nucseg_jax.errors import UserError
from tests.untrained import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, with tuned settings that its config does not have."""
    workdir = write_run(tmp_path_factory.mktemp("run"), model__num_classes=3, instances__method="components")
    values = {"parameters": {"threshold": 0.45, "min_area_um2": 1.0}}
    (workdir / runs.TUNING).write_text(json.dumps({"best": {"components": values}}))
    return workdir


@pytest.fixture(scope="module")
def saved(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "mine.safetensors"
    assert nucseg(["models", "save", str(run), str(path)]) == 0
    return path


def test_the_installed_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrained.names()[0] == pretrained.DEFAULT
    assert nucseg(["models"]) == 0
    listed = capsys.readouterr().out
    for name in pretrained.names():
        assert f"\n{name}: " in f"\n{listed}" and pretrained.load(name).sha256 in listed
        card, info = pretrained.card(name), pretrained.load(name).info
        assert card.licence in listed and f"{info['resolution']['network_mpp']:g} µm a pixel" in listed
        assert f"classes      {', '.join(info['classes'])}" in listed
        assert f"trained on   {sum(card.training_images.values())} images" in listed
        assert all(f"AJI {row['aji']:.3f}" in listed for row in card.scores) and card.scores


def test_one_model_that_is_damaged_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pretrained.catalogue.FOLDER, tmp_path / "models")
    monkeypatch.setattr(pretrained.catalogue, "FOLDER", tmp_path / "models")
    for ending in ("json", "safetensors"):
        shutil.copy(tmp_path / f"models/he.{ending}", tmp_path / f"models/other.{ending}")
    (tmp_path / "models/he.json").write_text('{"title"')
    assert nucseg(["models"]) == 2
    printed = capsys.readouterr()
    assert "\nother: " in f"\n{printed.out}"
    assert f"{tmp_path}/models/he.json: cannot be read, or is damaged" in printed.err
    assert printed.err.count("\n") == 1 and "Install nucseg_jax again" in printed.err


def test_a_saved_model_finds_what_its_run_finds(run: Path, saved: Path) -> None:
    """But for half precision; with the run's tuned settings, and without the paths of the machine."""
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    with pytest.warns(UserWarning, match="taken to be trained at 0.25") as caught:
        ours, theirs = Segmenter.from_pretrained(saved), Segmenter.load(run)
    assert [str(warning.message) for warning in caught] == [*ours.notes, *theirs.notes]
    assert ours.facts["instances"] | {"from": ""} == theirs.facts["instances"] | {"from": ""}
    assert ours.facts["instances"]["threshold"] == 0.45
    masks = [one(image, mpp=0.25) > 0 for one in (ours, theirs)]
    assert masks[1].any() and (masks[0] == masks[1]).mean() > 0.99
    assert ours.facts["pretrained"] == {"name": "mine", "sha256": pretrained.load(saved).sha256}
    info = pretrained.load(saved).info
    assert info["config"]["data"]["dir"] is None


def test_paths_of_this_machine_stay_here_and_names_do_not(tmp_path: Path) -> None:
    packaged = "efficientnet-lite0"
    for given, kept in (("resnet101.pth", None), ("there/resnet101", None), (packaged, packaged)):
        name = given.replace("/", "_")
        workdir = write_run(tmp_path / name, model__encoder_weights=given, data__dir="/home/me/data")
        run = runs.open_run(workdir, devices.make_mesh(), {})
        config = runs.portable_info(run)["config"]
        assert config["model"]["encoder_weights"] == kept and config["data"]["dir"] is None


def test_a_file_is_not_replaced_unasked(run: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = saved.read_bytes()
    assert nucseg(["models", "save", str(run), str(saved)]) == 2
    assert f"{saved}: is there already. Give --overwrite" in capsys.readouterr().err
    assert nucseg(["models", "save", str(run), str(saved), "--overwrite"]) == 0
    assert saved.read_bytes() == before
    assert nucseg(["models", "save", str(run), str(saved.with_suffix(".npz"))]) == 2
    assert "ends with .safetensors" in capsys.readouterr().err


def test_predict_takes_a_saved_model_and_says_which(saved: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    out = tmp_path / "out"
    asked = ["predict", str(tmp_path / "a.png"), "--model", str(saved), "--out", str(out), "--workers", "0"]
    assert nucseg(asked) == 0
    summary = json.loads((out / "a" / "summary.json").read_text())
    assert summary["config"]["run"]["pretrained"]["name"] == "mine"
    assert summary["config"]["run"]["pretrained"]["sha256"] == pretrained.load(saved).sha256


def test_one_model_at_a_time(saved: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["predict", str(pretrained.SAMPLE), "--out", "nowhere"]
    assert nucseg([*asked, "--model", str(saved), "--workdir", str(run)]) == 2
    assert f"--model {saved} and --workdir {run}: give one of them" in capsys.readouterr().err
    assert nucseg([*asked, "--model", "hee"]) == 2
    assert "no model 'hee' is installed" in capsys.readouterr().err
    with pytest.raises(UserError, match="--set eval.step: mine has one step only, 1"):
        Segmenter.from_pretrained(saved, overrides={"eval.step": 5})
