"""Stains in an experiment: normalised when prepared or in the network, augmented, kept in the checkpoint."""

import json
import shutil

import imagecodecs
import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from ml_collections import ConfigDict

from configs import demo
from data_prep import folder, synthetic
from nucseg_jax import data
from nucseg_jax.config import check_values
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.errors import DataError, UserError
from nucseg_jax.evaluation import evaluate
from nucseg_jax.io.images import write_image
from nucseg_jax.models.network import InputFormat, network_input
from nucseg_jax.runs import loading, stain_target
from nucseg_jax.runs.restoring import parameter_digest
from nucseg_jax.stain import NORMALIZERS, VahadaneNormalizer
from nucseg_jax.training import train
from tests.killed import keep_until


@pytest.fixture
def config(tiny_config: ConfigDict) -> ConfigDict:
    """The tiny experiment, normalised in the network, its patches augmented."""
    tiny_config.num_steps = 2
    tiny_config.checkpoint.every = 1
    tiny_config.data.validation = ()
    tiny_config.stain.where = "model"
    tiny_config.stain.augment_scale = 0.2
    tiny_config.stain.augment_shift = 0.05
    return tiny_config


def target_of(config: ConfigDict) -> Example:
    return data.load(config.data).splits["train"][0]


@pytest.mark.slow
def test_normalised_in_the_network(config, tmp_path, capsys, monkeypatch):
    target = target_of(config)
    config.stain.target = str(tmp_path / "target.png")
    write_image(tmp_path / "target.png", target.image)
    straight = train.train(config, tmp_path / "straight")

    shutil.copytree(tmp_path / "straight", tmp_path / "halted")
    keep_until(tmp_path / "halted", 1)
    (tmp_path / "target.png").unlink()  # a run that goes on, and evaluation, need it no more
    resumed = train.train(config, tmp_path / "halted")
    assert parameter_digest(resumed.params) == parameter_digest(straight.params)
    evaluate.evaluate(config, tmp_path / "halted")

    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    model = loading.load_model(tmp_path / "halted", mesh)
    assert model.stain is None
    kept = model.info["stain"]
    assert kept["where"] == "model" and kept["target"].endswith("target.png")
    normalizer = VahadaneNormalizer().fit(target.image)
    np.testing.assert_allclose(kept["matrix"], normalizer.stain_matrix, rtol=1e-6)
    # The network sees what the normaliser makes of each patch.
    patches = np.stack([target.image[:64, :64], target.image[-64:, -64:]])
    plain, params, statistics = checkpoint_without_stain(model)
    np.testing.assert_allclose(
        model.network.predict(model.params, model.batch_stats, patches),
        plain.predict(params, statistics, normalizer.normalize(patches).images),
        rtol=1e-4,
        atol=1e-4,
    )
    config.stain.where = "prepare"
    with pytest.raises(UserError, match="stain.where: 'model' → 'prepare'"):
        evaluate.evaluate(config, tmp_path / "halted")


def checkpoint_without_stain(model):
    from flax import nnx

    from nucseg_jax.models import create_model
    from nucseg_jax.models.network import split_network

    settings = model.info["config"]["model"]
    built = create_model(settings["name"], width=settings["width"], rngs=nnx.Rngs(params=0, dropout=0))
    network, _, _ = split_network(built)
    return network, model.params, model.batch_stats


@pytest.mark.slow
def test_prepared_images_are_what_the_checkpoint_makes_of_originals(tmp_path):
    synthetic.write_dataset(tmp_path / "source", images=4, test=1, size=96, seed=0)
    prepare = ["--source", str(tmp_path / "source"), "--out", str(tmp_path / "data"), "--name", "synthetic"]
    folder.main([*prepare, "--stain", "vahadane"])
    config = demo.get_config()
    config.data.dir = str(tmp_path / "data")
    config.data.stain = "vahadane"
    config.data.crop_size = 32
    config.data.validation = ()
    config.model.width = 1 / 16
    config.batch_size = 8
    config.num_steps = 1
    train.train(config, tmp_path / "run")
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    model = loading.load_model(tmp_path / "run", mesh)
    assert model.stain is not None and model.info["stain"]["where"] == "prepare"
    (example,) = data.load(config.data).splits["test"]
    np.testing.assert_array_equal(model.stain.transform(example.original_image), example.image)

    config.stain.target = "another"
    with pytest.raises(DataError, match="stain.target = 'another', but .* was normalised to"):
        train.train(config, tmp_path / "other")


@pytest.mark.slow
def test_a_run_does_not_go_on_with_images_of_another_normalisation(config, tmp_path, monkeypatch):
    config.num_steps = 1
    config.stain.target = target_of(config).id
    train.train(config, tmp_path)
    dataset = data.load(config.data)
    other = Dataset(dataset.name, dataset.splits, dataset.metadata | {"stain_backend": "staintools"})
    monkeypatch.setattr(data, "load", lambda _: other)
    with pytest.raises(UserError, match="prepared dataset itself .what normalised their stains"):
        train.train(config, tmp_path)


@pytest.mark.parametrize("method", [pytest.param("macenko", marks=pytest.mark.slow), "reinhard", "identity"])
def test_every_method_in_the_network(config, method):
    dataset = data.load(config.data)
    config.stain.method = method
    config.stain.target = dataset.splits["train"][0].id
    description = stain_target.describe(config.stain, dataset)
    assert json.loads(json.dumps(description)) == description
    normalizer = stain_target.in_network(description)
    assert isinstance(normalizer, NORMALIZERS[method]) and stain_target.before_network(description) is None
    image = dataset.splits["test"][0].image[None]
    found = network_input(image, InputFormat(stain=normalizer))
    np.testing.assert_allclose(found, normalizer.transform(image) / np.float32(255), atol=0.6 / 255)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("where", "network", "stain.where must be one of prepare, model, got 'network'"),
        ("method", "none", "stain.method must be one of vahadane, .*, got 'none'"),
        ("augment_scale", 1.5, "stain.augment_scale must be in 0 … 1, got 1.5"),
        ("augment_shift", -0.1, "stain.augment_shift must be in 0 … inf, got -0.1"),
    ],
)
def test_bad_values_are_named(config, key, value, message):
    config.stain[key] = value
    with pytest.raises(UserError, match=message):
        check_values(config, devices=1)


def test_twice_normalised_is_refused(config):
    config.data.stain = "vahadane"
    with pytest.raises(UserError, match="data.stain = 'vahadane' names a dataset that is normalised already"):
        check_values(config, devices=1)


@pytest.mark.parametrize(
    ("target", "message"), [("nowhere", "'nowhere' is neither a file nor"), ("", "names no")]
)
def test_a_target_that_is_not_there(config, target, message):
    dataset = data.load(config.data)
    manifest = dataset.metadata["manifest"] | {"stain_target": ""}
    dataset = Dataset(dataset.name, dataset.splits, dataset.metadata | {"manifest": manifest})
    config.stain.target = target
    with pytest.raises(DataError, match=message):
        stain_target.describe(config.stain, dataset)


def test_a_target_without_stains_is_named(config, tmp_path):
    write_image(tmp_path / "white.png", np.full((64, 64, 3), 255, np.uint8))
    config.stain.target = str(tmp_path / "white.png")
    with pytest.raises(DataError, match=r"white\.png: the target of vahadane"):
        stain_target.describe(config.stain, data.load(config.data))


def test_augmentation_takes_the_targets_stains(config):
    config.stain.target = target_of(config).id
    description = stain_target.describe(config.stain, data.load(config.data))
    augment = stain_target.augmentation(config.stain, description)
    np.testing.assert_allclose(augment.keywords["matrix"], description["matrix"], rtol=1e-6)
    config.stain.augment_scale = config.stain.augment_shift = 0.0
    assert stain_target.augmentation(config.stain, description) is None


def test_a_target_of_16_bits_without_glass(config, tmp_path):
    """Training has no --white, so the message names what there is."""
    path = tmp_path / "target.png"
    pink = np.minimum(target_of(config).image, np.array((230, 180, 205), np.uint8))
    path.write_bytes(imagecodecs.png_encode(np.round(pink / 255 * 4095).astype(np.uint16)))
    config.stain.target = str(path)
    with pytest.raises(
        DataError, match=r"stain\.target .*target\.png: 16 bits .*8-bit RGB, or name a"
    ) as caught:
        stain_target.describe(config.stain, data.load(config.data))
    assert "--white" not in str(caught.value)
