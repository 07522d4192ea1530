"""The parameters of splitting are chosen on held-out images, and the command says so."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from nucseg_jax.data import load
from nucseg_jax.errors import UserError
from nucseg_jax.evaluation.search import GRIDS, Scene, Setting, best_of_methods, ceiling, search
from nucseg_jax.evaluation.tuning import tune
from nucseg_jax.instances import METHODS, NucleusMap
from nucseg_jax.nuclei import Frame
from nucseg_jax.training import train
from tests.instances.drawn import TOUCHING, perfect

SPECKLED = TOUCHING.copy()
SPECKLED[2:5, 2:5] = SPECKLED[2:5, 40:44] = 9
"""With two nuclei of 9 and 12 px that the truth does not have."""


def speckled(strength: float) -> NucleusMap:
    """The true nuclei at probability 0.55, the false ones at another, boundaries at 0.4 of it."""
    nucleus = np.where(SPECKLED == 9, strength, np.where(SPECKLED > 0, 0.55, 0.0)).astype(np.float32)
    boundary = perfect(TOUCHING).boundary
    return NucleusMap(nucleus, nucleus * np.float32(0.9) * boundary)


def scene(nucleus_map: NucleusMap) -> Scene:
    """Of an image with the nuclei of TOUCHING, a micrometre a pixel: sizes are those in pixels."""
    return Scene(nucleus_map, Frame(TOUCHING.shape, 1.0, 1.0), TOUCHING)


def only(settings: list[Setting], **parameters: float) -> Setting:
    (found,) = [s for s in settings if parameters.items() <= s.parameters.items()]
    return found


def test_every_combination_is_tried_in_order() -> None:
    grid = {"threshold": (0.4, 0.5), "min_area_um2": (0, 10, 30)}
    settings = search([scene(speckled(0.9))], {"components": grid})
    assert [tuple(s.parameters.values()) for s in settings] == [
        (t, a) for t in grid["threshold"] for a in grid["min_area_um2"]
    ]
    by_area = [only(settings, threshold=0.5, min_area_um2=a) for a in (0, 10, 30)]
    assert by_area[0].aji < by_area[1].aji < by_area[2].aji, "first one, then both false nuclei go"
    assert all(s.seconds > 0 and 0 < s.pq < 1 for s in settings)


def test_scores_are_means_over_images() -> None:
    scenes = [scene(perfect(TOUCHING)), scene(speckled(0.9))]
    grid = {"components": {"threshold": (0.5,), "min_area_um2": (0,)}}
    (both,) = search(scenes, grid)
    alone = [search([one], grid)[0] for one in scenes]
    assert both.aji == pytest.approx(np.mean([s.aji for s in alone]))
    assert both.pq == pytest.approx(np.mean([s.pq for s in alone]))


def test_the_right_threshold_is_found() -> None:
    grid = {"threshold": (0.3, 0.5, 0.6), "min_area_um2": (0,)}
    settings = search([scene(speckled(0.4))], {"components": grid})
    assert best_of_methods(settings)["components"].parameters["threshold"] == 0.5
    assert only(settings, threshold=0.6).aji == 0


def test_methods_are_ranked_and_the_first_of_equals_is_taken() -> None:
    settings = [
        Setting("components", {"threshold": 0.4}, aji=0.5, pq=0.1, seconds=1),
        Setting("components", {"threshold": 0.5}, aji=0.5, pq=0.2, seconds=1),
        Setting("watershed", {"threshold": 0.6}, aji=0.6, pq=0.0, seconds=1),
    ]
    assert list(best_of_methods(settings).values()) == [settings[2], settings[0]]


def test_the_default_grid_serves_networks_with_and_without_boundaries() -> None:
    nucleus_map = perfect(TOUCHING)
    assert {s.method for s in search([scene(nucleus_map)])} == set(METHODS) == set(GRIDS)
    assert {s.method for s in search([scene(NucleusMap(nucleus_map.nucleus))])} == {
        "components",
        "watershed",
    }


def test_the_ceiling_is_what_perfect_pixels_give() -> None:
    def setting(method: str, **parameters: float) -> Setting:
        return Setting(method, parameters | {"threshold": 0.5, "min_area_um2": 0}, 0, 0, 0)

    one = scene(perfect(TOUCHING))
    joined = ceiling([one], setting("components"))
    waist = ceiling([one], setting("watershed", h_um=0.5, smoothing_um=1.0))
    parted = ceiling([one], setting("boundary", inside_threshold=0.5, min_marker_um2=5))
    assert joined < 0.75 < 0.95 < waist < 1 and parted > 0.95
    alone = np.where(TOUCHING == 2, 0, TOUCHING)
    apart = one._replace(truth=alone)
    assert ceiling([apart, apart], setting("components")) == 1


def test_a_run_is_tuned_on_what_it_held_out(
    tiny_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = load(tiny_config.data).splits
    (test,), (held, trained_on, _) = (sorted(e.id for e in splits[name]) for name in ("test", "train"))
    tiny_config.data.validation = (held,)
    tiny_config.num_steps = 1
    train.train(tiny_config, tmp_path)
    capsys.readouterr()
    result = tune(tiny_config, tmp_path)
    assert result == json.loads((tmp_path / "tuning.json").read_text())
    assert result["validation"] == [held] and result["model"] == "unet, step 1"
    assert set(result["best"]) == {"components", "watershed"}

    method, best = max(result["best"].items(), key=lambda item: item[1]["aji"])
    assert best["aji"] == max(s["aji"] for s in result["tried"])
    tiny_config.instances.method = method
    tiny_config.instances[method].update(best["parameters"])
    values = [f"instances.{method}.{key}={v}" for key, v in best["parameters"].items()]
    *lines, overrides = capsys.readouterr().out.splitlines()
    assert result["overrides"] == [f"instances.method={method}", *values]
    assert overrides.split() == ["--set", *result["overrides"]]
    for method in result["best"]:
        assert any(re.match(rf"{method} +0\.\d+ +0\.\d+ +[01]\.\d+ +\d\.\d+  threshold", x) for x in lines)

    for not_held_out, message in (
        (trained_on, f"was trained on 1 of these 2 images.*: {trained_on}.*{held}"),
        (test, f"names {test}"),
    ):
        tiny_config.data.validation = (held, not_held_out)
        with pytest.raises(UserError, match=message):
            tune(tiny_config, tmp_path)


def test_the_command_refuses_a_run_without_validation_images() -> None:
    command = [sys.executable, "-m", "nucseg_jax.tune", "--config", "configs/demo.py", "--workdir", "none"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert re.search(r"^error: tuning needs validation images.*held out", result.stderr, re.M), result.stderr
    assert "Traceback" not in result.stderr


def test_settings_are_chosen_by_what_is_annotated() -> None:
    """The two false nuclei lie where nobody looked: no minimum area is better than another."""
    unannotated = SPECKLED == 9
    grid = {"components": {"threshold": (0.5,), "min_area_um2": (0, 30)}}
    partly = scene(speckled(0.9))._replace(unannotated=unannotated)
    first, second = search([partly], grid)
    assert first.aji == second.aji == only(search([scene(speckled(0.9))], grid), min_area_um2=30).aji
    assert ceiling([partly], first) == ceiling([scene(speckled(0.9))], first)
