"""Scores of held-out images: nuclei as the config makes them, pixels as earlier releases scored them."""

from dataclasses import replace

import numpy as np
import pytest

from nucseg_jax import devices
from nucseg_jax.config import get_config
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.models.network import Weights, split_network
from nucseg_jax.training import validation
from nucseg_jax.training.logs import RunLog
from tests.networks import filled_network


def dataset_of(*truths: np.ndarray) -> Dataset:
    images = [np.full((*truth.shape, 3), (190, 120, 170), np.uint8) for truth in truths]  # as tissue is
    examples = [
        Example(str(i), "breast", image, t, image, t)
        for i, (image, t) in enumerate(zip(images, truths, strict=True))
    ]
    return Dataset("folder/test_none", {"train": examples}, {"mpp": 0.25, "mpp_source": "test"})


def test_scores_are_means_over_the_images() -> None:
    """Of a network that finds nucleus everywhere: the truth's share of the pixels is known."""
    config = get_config()
    config.data.crop_size, config.data.stain = 32, "none"
    network, params, batch_stats = split_network(
        filled_network("unet", lambda shape: np.zeros(shape, np.float32), width=1 / 16)
    )
    full, half = np.ones((32, 32), np.int32), np.ones((32, 32), np.int32)
    half[16:] = 0
    config.instances.components.threshold = 0.4  # all probabilities are 0.5, which 8 bits round up
    dataset = dataset_of(full, half)
    mesh = devices.make_mesh()
    validate = validation.validator(config, network, mesh, dataset, dataset.splits["train"], None)
    found = validate(Weights(params, batch_stats))
    assert found == {"aji": pytest.approx(0.75), "dice": pytest.approx((1 + 2 / 3) / 2)}
    config.instances.components.threshold = 0.6
    validate = validation.validator(config, network, mesh, dataset, dataset.splits["train"], None)
    assert validate(Weights(params, batch_stats)) == {"aji": 0.0, "dice": found["dice"]}


def test_the_log_says_both_scores(tmp_path, capsys) -> None:
    with RunLog(tmp_path, 0, 10, 1) as log:
        log.validation(3, {"aji": 0.5, "dice": 0.75, "pq": 0.25})
    captured = capsys.readouterr()
    assert "step 3: validation AJI 0.5000, Dice 0.7500" in captured.out + captured.err
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"step": 3, "validation_aji": 0.5, "validation_dice": 0.75, "validation_pq": 0.25}\n'
    )


def test_only_annotated_pixels_count() -> None:
    """As above, of an image of which the lower half is not annotated: what is found there is not false."""
    config = get_config()
    config.data.crop_size, config.data.stain = 32, "none"
    config.instances.components.threshold = 0.4
    network, params, batch_stats = split_network(
        filled_network("unet", lambda shape: np.zeros(shape, np.float32), width=1 / 16)
    )
    upper = np.ones((32, 32), np.int32)
    upper[16:] = 0
    dataset = dataset_of(upper)
    (example,) = dataset.splits["train"]
    partly = [replace(example, unannotated=upper == 0, original_unannotated=upper == 0)]
    validate = validation.validator(config, network, devices.make_mesh(), dataset, partly, None)
    assert validate(Weights(params, batch_stats)) == {"aji": 1.0, "dice": 1.0}


def test_a_process_reads_its_share_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the second of two: `tests/devices/test_processes` has real ones."""
    read = []

    class Counted(Example):
        def scored_image(self) -> np.ndarray:
            read.append(self.id)
            return super().scored_image()

    config = get_config()
    config.data.crop_size, config.data.stain = 32, "none"
    network, params, batch_stats = split_network(
        filled_network("unet", lambda shape: np.zeros(shape, np.float32), width=1 / 16)
    )
    dataset = dataset_of(*[np.ones((32, 32), np.int32)] * 5)
    examples = [Counted(**vars(example)) for example in dataset.splits["train"]]
    monkeypatch.setattr(devices, "share", lambda items: items[1::2])
    monkeypatch.setattr(devices, "of_all_processes", list)
    mesh = devices.own_mesh()
    validate = validation.validator(config, network, mesh, dataset, examples, None)
    assert validate(Weights(params, batch_stats))["dice"] == 1.0
    assert read == ["1", "3"]
