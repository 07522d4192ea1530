"""The benchmark of stain normalisation, small: its tables, its JSON, what it says of missing peers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import measure, stain, stain_accuracy, stain_peers, stain_resources
from benchmarks.stain_peers import CONTESTS, Contest
from data_prep.synthetic import generate
from nucseg_jax.errors import UserError
from nucseg_jax.io.images import write_image

SMALL = ["--size", "128", "--repeats", "1"]


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of their own take longer to start than what they do here."""

    def call(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    monkeypatch.setattr(measure, "isolated", call)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of 128 pixels, a and b."""
    path = tmp_path_factory.mktemp("images")
    for index, name in enumerate("ab"):
        write_image(path / f"{name}.png", generate(0, index, "colon", 128)[0])
    return path


def table(printed: str) -> list[str]:
    """Its lines, all of as many cells."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    return lines


@pytest.mark.slow
def test_ours_alone_in_processes_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "out" / "result.json"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks.stain", *SMALL, "--no-accuracy", "--peers"]
        + ["--out", out],
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    result = json.loads(out.read_text())
    rows = result["rows"]
    assert len(table(done.stdout)) == 2 + len(rows)
    assert result["settings"]["target"] == "breast" and result["settings"]["size"] == "128×128"
    assert "staintools" in result["environment"] and "torchstain" in result["environment"]
    assert [(row["method"], row["given"]) for row in rows] == [
        ("vahadane", False),
        ("vahadane", True),
        ("macenko", False),
    ]
    for row in rows:
        assert row["seconds"]["median"] > 0 and row["ratio"] is None and row["reason"] == "none asked for"
        pixels = row["megapixels_per_second"] * 1e6 / row["images_per_second"]
        assert pixels == pytest.approx(128 * 128)
    assert rows[0]["memory_bytes"] > 0 and rows[0]["peer_memory_bytes"] is None


@pytest.mark.slow
def test_beside_staintools(
    in_this_process: None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("staintools")
    options = ["--images", str(folder), "--target", "b", "--peers", "staintools", "--converged", "100"]
    stain.main([*SMALL, *options, "--out", str(tmp_path / "result.json")])
    first, second = capsys.readouterr().out.split("\n\nstain_accuracy: ")
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert len(table(first)) == 2 + len(rows) == 6
    timed, untimed, given, macenko = rows
    assert timed["peer_seconds"]["median"] > 1 > untimed["peer_seconds"]["median"]
    assert timed["ratio"]["median"] < 1 and timed["peer_memory_bytes"] > 0 and timed["memory_ratio"] > 0
    assert given["given"] and macenko["method"] == "macenko"

    result = json.loads((tmp_path / "result_accuracy.json").read_text())
    assert result["settings"] == {"images": 2, "target": "b", "converged": 100}
    rows = result["rows"]
    assert len(table(second)) == 2 + len(rows) == 12
    assert [row["image"] for row in rows[:5]] == ["a", "b", "mean", "largest", stain_accuracy.EXCEEDING]
    for a, b, mean, largest, exceeding in (rows[:5], rows[5:]):
        assert a["found"] and b["found"] and a["extraction"] == exceeding["extraction"]
        assert mean["grey_levels"] == pytest.approx((a["grey_levels"] + b["grey_levels"]) / 2)
        assert largest["eosin_degrees"] == max(a["eosin_degrees"], b["eosin_degrees"])
        # Ours minimises it over the pixels that it takes for stained: here all that staintools does.
        assert a["objective"] < a["peer_objective"] + 1e-6
        assert largest["hematoxylin_degrees"] < 3 and exceeding["hematoxylin_degrees"] == 0


def test_the_objective_is_the_lassos() -> None:
    """Two pixels of pure stain at right angles: c = x − 0.1, so ½ · 0.1² + 0.1 · (x − 0.1)."""
    pytest.importorskip("spams")
    matrix = np.eye(2, 3)
    assert stain_accuracy.objective(np.array([[1.0, 0, 0], [0, 2, 0]]), matrix) == pytest.approx(
        0.005 + 0.1 * (0.9 + 1.9) / 2
    )


def missing(target: np.ndarray, image: np.ndarray) -> Any:
    raise ImportError


def test_a_missing_peer_is_left_out_and_says_how_to_get_it(folder: Path) -> None:
    pair = stain.load(folder, 128).values()
    contest = Contest("macenko", False, "torchstain, NumPy", "torchstain", missing)
    (row,) = stain.race([contest], *pair, 1)
    assert row["reason"] == "left out: pip install torchstain" and row["peer_seconds"] is None
    assert row["seconds"]["median"] > 0


def test_every_peer_can_be_installed() -> None:
    assert {contest.package for contest in CONTESTS} == set(stain_peers.INSTALL)


def test_peers_are_kept_however_often_the_option_is_given() -> None:
    first, second, *_ = stain_peers.INSTALL
    assert stain.parse(["--peers", first, "--peers", second]).peers == [first, second]
    assert stain.parse(["--peers", second]).peers == [second]
    assert stain.parse(["--peers"]).peers == []
    assert stain.parse([]).peers == list(stain_peers.INSTALL)


def test_images_are_cut_and_the_target_is_named(folder: Path, tmp_path: Path) -> None:
    images = stain.load(folder, 100)
    assert {name: image.shape for name, image in images.items()} == {"a": (100, 100, 3), "b": (100, 100, 3)}
    assert stain.choose(images, None) == ("a", "b") and stain.choose(images, "b") == ("b", "a")
    with pytest.raises(UserError, match="--target c: no such image. There are a, b"):
        stain.choose(images, "c")
    with pytest.raises(UserError, match="no image .*.tif"):
        stain.load(tmp_path, 100)
    np.save(tmp_path / "stack.npy", np.stack(list(images.values())))
    assert list(stain.load(tmp_path / "stack.npy", 1000)) == ["0", "1"]


def test_tiles_on_the_device(
    in_this_process: None, monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(stain, "race", lambda *_: [])
    monkeypatch.setattr(stain, "TILE", 64)
    options = ["--images", str(folder), "--peers", "torchstain", "--batch", "2", "--no-accuracy"]
    stain.main([*SMALL, *options, "--out", str(tmp_path / "result.json")])
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [row["given"] for row in rows] == [False, True]
    for row in rows:
        assert row["tiles"] == "2×64×64" and row["reason"] is None
        pixels = row["megapixels_per_second"] * 1e6
        assert pixels / row["images_per_second"] == pytest.approx(64 * 64)
        moved = row["bandwidth_share"] * row["bandwidth_bytes_per_second"]
        assert moved == pytest.approx(6 * pixels)


def test_tiles_are_of_the_image() -> None:
    image = np.arange(8 * 9 * 3, dtype=np.uint8).reshape(8, 9, 3)
    tiles = stain_resources.cut(image, 3, 8)
    assert tiles.shape == (3, 8, 8, 3)
    assert all((tile == image[:, :8]).all() or (tile == image[:, 1:]).all() for tile in tiles)
