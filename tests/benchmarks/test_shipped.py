"""The models that ship, beside their peers: what is run of them, and that results are compared."""

from typing import Any

import numpy as np
import pytest

from benchmarks import compare, measure, shipped_inference, shipped_train_step
from benchmarks.measure import Sampling, Side
from benchmarks.ours import Case
from nucseg_jax import pretrained


def side(*values: float) -> Side:
    return Side(lambda: None, result=lambda: np.array(values, np.float32))


def test_results_are_compared() -> None:
    expected = side(-4, 0, 1)
    assert measure.difference(expected, side(-4, 0.0002, 1), "float32") == pytest.approx(0.0002 / 4)
    assert measure.difference(expected, Side(lambda: None), "float32") is None
    with pytest.raises(AssertionError):
        measure.difference(expected, side(-4, 0.002, 1), "float32")


def test_short_steps_are_repeated_on_cpus() -> None:
    assert measure.sampling("cpu", 0.2) == Sampling(steps=3, settle=1, rest=measure.REST_SECONDS)
    assert measure.sampling("cpu", 0.6) == measure.sampling("cpu") == Sampling(steps=1, settle=0)
    assert measure.sampling("gpu", 0.2) == measure.sampling("gpu")


def test_the_fastest_peer_is_another_framework() -> None:
    def row(peer: str, seconds: float | None) -> dict[str, Any]:
        return {"peer": peer, "peer_seconds": seconds and {"median": seconds}}

    rows = [row("eager", 2.0), row("onnxruntime", 1.0), row("augmented", 0.5), row("compile", None)]
    assert compare.fastest(rows) is rows[1] and compare.fastest(rows[3:]) is None


def test_images_are_those_of_the_models() -> None:
    assert [shipped_inference.tile_shape(name) for name in ("he", "he-fast")] == [(1, 576), (1, 288)]
    assert set(shipped_train_step.RECIPES) == set(pretrained.names())
    case = Case("he", 1.0, 64, 3, "float32")
    images = shipped_inference.tissue(case)
    assert images.shape == (3, 64, 64, 3) and images.dtype == np.uint8
    np.testing.assert_array_equal(images[1, :-1, :-1], images[0, 1:, 1:])
    batch = shipped_train_step.arrays(case)
    np.testing.assert_array_equal(batch["depth"] > 0, batch["label_map"] > 0)


def test_the_recipe_from_patches_draws_nothing() -> None:
    config = shipped_train_step.recipe(Case("he-fast", 1.0, 64, 3, "float32"))
    assert (config.data.crop_size, config.batch_size) == (64, 3)
    assert shipped_train_step.augmentation.window_size(config) == 99
    plain = shipped_train_step.from_patches(config)
    assert shipped_train_step.augmentation.rescale_of(plain) is None
    assert shipped_train_step.augmentation.image_changes(plain, None) is None


def test_an_unknown_model_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        shipped_inference.main(["hee"])
    assert "unknown model 'hee'" in capsys.readouterr().err
