"""Images without nuclei, images that are one nucleus, networks that find none: through every command."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nucseg_jax.cli import main as nucseg

SIDE = 96
NOTHING = "instances.components.min_area_um2=1e6"
"""No nucleus is as large: none is found."""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, each all background, all one nucleus, or both; two are for testing, of which one is bare."""
    folder = tmp_path_factory.mktemp("bare")
    middle = np.zeros((SIDE, SIDE), np.uint8)
    middle[20:40, 20:40], middle[60:75, 50:80] = 1, 2
    maps = {
        "mixed": middle,
        "bare": np.zeros_like(middle),
        "full": np.ones_like(middle),
        "held": middle.T.copy(),
        "held_bare": np.zeros_like(middle),
        "test": middle[::-1].copy(),
        "test_bare": np.zeros_like(middle),
    }
    for number, (name, labels) in enumerate(maps.items()):
        noise = np.random.default_rng(number).integers(-20, 20, (SIDE, SIDE, 3))
        colour = np.where(labels[..., None] > 0, (100, 60, 140), (230, 170, 200))
        Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(labels).save(folder / f"{name}_label.png")
    return folder


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps on them, with every part of the shipped model's recipe that sees labels."""
    data, workdir = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs") / "tiny"
    arguments = ["--source", str(source), "--out", str(data), "--name", "bare", "--stain", "none"]
    assert nucseg(["prepare", "folder", *arguments, "--mpp", "0.25", "--test", "test", "test_bare"]) == 0
    changes = {
        "data.dir": data,
        "data.split": "bare",
        "data.validation": "held,held_bare",
        "data.crop_size": 32,
        "batch_size": 8,
        "num_steps": 4,
        "checkpoint.every": 2,
        "model.width": 1 / 16,
        "model.num_classes": 3,
        "model.boundary": "distance",
        "optim.loss": "cross_entropy_dice",
    }
    given = [f"{key}={value}" for key, value in changes.items()]
    assert nucseg(["train", "demo", "--workdir", str(workdir), "--set", *given]) == 0
    return workdir


def test_losses_of_such_patches_are_finite(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [2, 4]
    assert all(math.isfinite(value) for line in lines for value in line.values())


def test_tuning(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        config = ["demo", "--workdir", str(run), "--set", *_as_trained(run)]
        assert nucseg(["tune", *config]) == 0, capsys.readouterr().err
        found = json.loads((run / "tuning.json").read_text())
        assert found["validation"] == ["held", "held_bare"]
        assert all(0 <= setting["aji"] <= 1 for setting in found["tried"])
    finally:
        (run / "tuning.json").unlink(missing_ok=True)


def test_scores_where_the_network_finds_nothing(run: Path, tmp_path: Path) -> None:
    """A bare image without any nucleus is right; one with nuclei is wholly wrong."""
    arguments = [
        "--workdirs",
        str(run),
        "--out",
        str(tmp_path),
        "--set",
        "instances.method=components",
        NOTHING,
    ]
    assert nucseg(["report", *arguments]) == 0
    table = csv.DictReader((tmp_path / "scores.csv").read_text().splitlines())
    rows = [row for row in table if row["entry"] == run.name]
    scores = {row["id"]: (float(row["aji"]), float(row["pq"]), float(row["dice"])) for row in rows}
    assert scores == {"test": (0.0, 0.0, 0.0), "test_bare": (1.0, 1.0, 1.0)}
    assert not re.search(r"\b(nan|inf)\b", (tmp_path / "report.html").read_text(), re.IGNORECASE)


def test_prediction_where_the_network_finds_nothing(run: Path, source: Path, tmp_path: Path) -> None:
    settings = ["--workdir", str(run), "--set", "instances.method=components", NOTHING]
    out = ["--out", str(tmp_path), "--workers", "0", "--mpp", "0.25"]
    assert nucseg(["predict", str(source / "test.png"), *out, *settings]) == 0
    folder = tmp_path / "test"
    assert json.loads((folder / "summary.json").read_text())["nuclei"]["count"] == 0
    assert len((folder / "nuclei.csv").read_text().splitlines()) == 1, "the names of the columns"
    assert json.loads((folder / "nuclei.geojson").read_text())["features"] == []
    with Image.open(folder / "labels.tif") as labels:
        assert labels.size == (SIDE, SIDE) and not np.any(labels)


def _as_trained(run: Path) -> list[str]:
    """What `tune` must be told again of a run's config."""
    (info,) = list((run / "checkpoints").glob("4/info/metadata"))
    config = json.loads(info.read_text())["config"]
    changes = {
        "data.dir": config["data"]["dir"],
        "data.split": config["data"]["split"],
        "data.validation": ",".join(config["data"]["validation"]),
        "model.num_classes": 3,
        "model.boundary": "distance",
        "model.width": config["model"]["width"],
        "data.crop_size": 32,
    }
    return [f"{key}={value}" for key, value in changes.items()]
