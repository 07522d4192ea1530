"""Inference puts tiles together; evaluation writes what it says."""

import csv
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

from nucseg_jax import evaluate, sharding, train
from nucseg_jax.checkpoint import load_model
from nucseg_jax.errors import UserError
from nucseg_jax.inference import TiledInference
from nucseg_jax.models.functional import split_network


class Brightness(nnx.Module):
    """A network whose class-1 logit is the red channel, so that the result is known."""

    def __init__(self) -> None:
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, images: jax.Array) -> jax.Array:
        return jnp.stack([jnp.zeros(images.shape[:-1]), self.scale[...] * images[..., 0]], axis=-1)


@pytest.mark.parametrize("size", [(64, 64), (70, 45)])
def test_tiles_are_assembled_whatever_their_number(size: tuple[int, int]) -> None:
    """Nine tiles in batches of eight devices: the last batch is padded and its padding dropped."""
    network, params, statistics = split_network(Brightness())
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    inference = TiledInference(network.probabilities, sharding.make_mesh(), tile=24, batch_size=3)
    result = inference.probabilities(params, statistics, image)
    expected = jax.nn.sigmoid(image[..., 0] / 255.0)
    np.testing.assert_allclose(result[..., 1], expected, rtol=1e-5, atol=1e-6)


class Downwards(nnx.Module):
    """Logits that look at the pixel above, as no symmetric network does."""

    def __init__(self) -> None:
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, images: jax.Array) -> jax.Array:
        above = jnp.roll(images[..., 0], 1, axis=1)
        return jnp.stack([jnp.zeros_like(above), self.scale[...] * above], axis=-1)


@pytest.mark.parametrize("overlap", [0, 12])
def test_augmented_inference_turns_with_the_image(overlap: int) -> None:
    network, params, statistics = split_network(Downwards())
    image = np.random.default_rng(0).integers(0, 256, (72, 72, 3)).astype(np.uint8)

    def run(augment: bool, image: np.ndarray) -> np.ndarray:
        inference = TiledInference(
            network.probabilities,
            sharding.make_mesh(),
            tile=24,
            batch_size=8,
            overlap_px=overlap,
            augment=augment,
        )
        return np.asarray(inference.probabilities(params, statistics, image))

    for turned in (np.rot90, np.fliplr):
        np.testing.assert_allclose(run(True, turned(image)), turned(run(True, image)), rtol=1e-5, atol=1e-6)
    assert np.abs(run(False, np.rot90(image)) - np.rot90(run(False, image))).max() > 0.1


def test_probabilities_are_resized_not_classes() -> None:
    network, params, statistics = split_network(Brightness())
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 255
    inference = TiledInference(network.probabilities, sharding.make_mesh(), tile=32, batch_size=8)
    result = inference.probabilities(params, statistics, image, (31, 31))
    assert result.shape == (31, 31, 2)
    middle = float(result[15, 15, 1])
    assert 0.5 < middle < float(jax.nn.sigmoid(1.0)), "between the two sides' probabilities"


def test_evaluation_writes_scores_and_pictures(
    tiny_config: ConfigDict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_config.num_steps = 1
    train.train(tiny_config, tmp_path)
    results = evaluate.evaluate(tiny_config, tmp_path)
    folder = tmp_path / "eval" / "synthetic_none_test" / "step_1"
    saved = json.loads((folder / "scores.json").read_text())
    assert saved == json.loads(json.dumps(results["test"]))
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    assert [row["entry"] for row in rows] == ["network", "baseline"] and float(
        rows[0]["dice"]
    ) == pytest.approx(saved["network"]["f1"], abs=1e-5)
    with Image.open(folder / "overlays" / f"{rows[0]['id']}.png") as picture:
        assert picture.size == (96, 96)
    assert (folder / "panels" / f"{rows[0]['id']}.png").exists()
    printed = capsys.readouterr().out
    assert "all (mean)" in printed and "colour deconvolution + Otsu" in printed and str(folder) in printed


def test_a_network_keeps_its_weights_through_a_checkpoint(tiny_config: ConfigDict, tmp_path: Path) -> None:
    tiny_config.num_steps = 1
    state = train.train(tiny_config, tmp_path)
    loaded = load_model(tmp_path, sharding.make_mesh())
    for a, b in zip(
        jax.tree.leaves((state.params, state.batch_stats)),
        jax.tree.leaves((loaded.params, loaded.batch_stats)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("key", "value"), [("model.width", 0.5), ("data.crop_size", 96)])
def test_a_network_is_only_scored_on_the_input_it_was_trained_with(
    key: str, value: float, tiny_config: ConfigDict, tmp_path: Path
) -> None:
    tiny_config.num_steps = 1
    train.train(tiny_config, tmp_path)
    tiny_config.update_from_flattened_dict({key: value})
    with pytest.raises(UserError, match=rf"{key}: .* → {value}"):
        evaluate.evaluate(tiny_config, tmp_path)
