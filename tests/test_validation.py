"""Scores of held-out images: nuclei as the config makes them, pixels as earlier releases scored them."""

import numpy as np
import pytest

from configs import default
from nucseg_jax import instances, metrics, sharding, validation
from nucseg_jax.dataset import Example
from nucseg_jax.logs import RunLog
from nucseg_jax.maps import NucleusMap
from nucseg_jax.models.functional import Weights, split_network
from tests.networks import filled_network
from tests.test_instances import TOUCHING


def example(truth: np.ndarray) -> Example:
    image = np.zeros((*truth.shape, 3), np.uint8)
    return Example("a", "breast", image, truth, image, truth)


def test_aji_is_of_the_configs_nuclei_and_dice_of_the_pixels_above_a_half() -> None:
    chosen = default.get_config().instances
    found = NucleusMap((TOUCHING > 0).astype(np.float32) * np.float32(0.6))
    by_method = {}
    for chosen.method in ("components", "watershed"):
        by_method[chosen.method] = validation.score(example(TOUCHING), found, chosen)
        nuclei = instances.split(found, chosen)
        assert by_method[chosen.method]["aji"] == metrics.score(TOUCHING, nuclei)["aji"]
    assert by_method["watershed"]["aji"] > by_method["components"]["aji"]
    chosen.watershed.threshold = 0.7
    none = validation.score(example(TOUCHING), found, chosen)
    assert none == {"aji": 0.0, "dice": 1.0}


def test_scores_are_means_over_the_images() -> None:
    """Of a network that finds nucleus everywhere: the truth's share of the pixels is known."""
    config = default.get_config()
    config.data.crop_size = 32
    network, params, batch_stats = split_network(
        filled_network("unet", lambda shape: np.zeros(shape, np.float32), width=1 / 16)
    )
    full, half = np.ones((32, 32), np.int32), np.ones((32, 32), np.int32)
    half[16:] = 0
    config.instances.components.threshold = 0.4  # all probabilities are 0.5
    validate = validation.validator(config, network, sharding.make_mesh(), [example(full), example(half)])
    assert validate(Weights(params, batch_stats)) == {"aji": pytest.approx(0.75), "dice": 0.0}


def test_the_log_says_both_scores(tmp_path, capsys) -> None:
    with RunLog(tmp_path, 0, 10, 1) as log:
        log.validation(3, {"aji": 0.5, "dice": 0.75, "pq": 0.25})
    captured = capsys.readouterr()
    assert "step 3: validation AJI 0.5000, Dice 0.7500" in captured.out + captured.err
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"step": 3, "validation_aji": 0.5, "validation_dice": 0.75, "validation_pq": 0.25}\n'
    )
