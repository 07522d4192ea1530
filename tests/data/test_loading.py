"""tf.data cuts what the plan says; loading; messages."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from nucseg_jax import data
from nucseg_jax.data import feed_host, metadata
from nucseg_jax.data.dataset import Dataset
from nucseg_jax.data.patches import FLIP, IMAGE, LEFT, TOP, TURNS
from nucseg_jax.data.rasters import rasters
from nucseg_jax.errors import DataError
from tests.data.drawn_examples import EXAMPLES, PLAN, example


def cut(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The patch of a row of the plan, in NumPy."""
    source = EXAMPLES[row[IMAGE]]
    window = (slice(row[TOP], row[TOP] + 16), slice(row[LEFT], row[LEFT] + 16))
    patches = [np.rot90(a[window], row[TURNS]) for a in (source.image, source.label_map)]
    return tuple(p[:, ::-1] if row[FLIP] else p for p in patches)  # type: ignore[return-value]


def test_batches_are_what_the_plan_says_from_any_step_on() -> None:
    batches = list(
        feed_host.batches(rasters(EXAMPLES), PLAN, batch_size=4, rows=slice(0, 4), first=7, last=40)
    )
    assert len(batches) == 33
    for step, batch in enumerate(batches, start=7):
        assert batch["image"].dtype == np.uint8 and batch["label_map"].dtype == np.int32
        for i, row in enumerate(PLAN.batch(step, 4)):
            image, label_map = cut(row)
            np.testing.assert_array_equal(batch["image"][i], image)
            np.testing.assert_array_equal(batch["label_map"][i], label_map)


def test_two_processes_read_the_two_halves() -> None:
    whole = next(feed_host.batches(rasters(EXAMPLES), PLAN, batch_size=4, rows=slice(0, 4), first=5, last=6))
    shares = [
        next(feed_host.batches(rasters(EXAMPLES), PLAN, batch_size=4, rows=rows, first=5, last=6))
        for rows in (slice(0, 2), slice(2, 4))
    ]
    for key in whole:
        np.testing.assert_array_equal(np.concatenate([s[key] for s in shares]), whole[key])


def test_a_prepared_dataset_is_read_whole(tiny_config: ConfigDict) -> None:
    dataset = data.load(tiny_config.data)
    assert dataset.name == "folder/synthetic_none"
    assert {split: len(examples) for split, examples in dataset.splits.items()} == {"train": 3, "test": 1}
    first = dataset.splits["train"][0]
    assert first.id == "SYN-BREAST-000" and first.organ == "breast"
    assert first.image.shape == (96, 96, 3) and first.original_label_map.max() > 0
    assert dataset.metadata["stain"] == "none"
    train, held_out = dataset.training(("SYN-BREAST-000",))
    assert [e.id for e in held_out] == ["SYN-BREAST-000"] and len(train) == 2


def test_a_dataset_knows_its_resolution() -> None:
    one = example("a", 50, 50)
    scaled = dataclasses.replace(one, image=np.zeros((40, 40, 3), np.uint8))
    older = Dataset("x", {"train": [one]}, {})
    assert (older.mpp, older.prepared_mpp, older.mpp_assumed) == (0.25, 0.25, True)
    assert older.mpp_source.startswith("assumed: 40×")
    stated = Dataset("x", {"train": [scaled]}, {"mpp": 0.5, "mpp_source": "TIFF resolution tags"})
    assert (stated.mpp, stated.mpp_source) == (0.5, "TIFF resolution tags")
    assert stated.prepared_mpp == pytest.approx(0.625) and not stated.mpp_assumed
    assert Dataset("x", {}, {"mpp": 0.25, "mpp_source": "assumed: 40×"}).mpp_assumed


def test_the_data_folder_comes_from_the_environment(
    tiny_config: ConfigDict, tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_config.data.dir = None
    monkeypatch.setenv("TFDS_DATA_DIR", str(tiny_dataset))
    assert data.load(tiny_config.data).splits["test"]
    monkeypatch.setenv("TFDS_DATA_DIR", "/nowhere")
    with pytest.raises(DataError, match="nucseg prepare folder .*--out /nowhere"):
        data.load(tiny_config.data)


def test_a_missing_extra_is_named(tiny_config: ConfigDict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[data\]" -c constraints.txt'):
        data.load(tiny_config.data)


def test_only_reading_data_imports_tensorflow(tmp_path: Path) -> None:
    """Every network, and predicting with what a checkpoint holds, do without TensorFlow and PyTorch."""
    code = """
import sys
from pathlib import Path
import nucseg_jax.data, nucseg_jax.main, nucseg_jax.models
import numpy as np
from flax import nnx
from nucseg_jax import devices
from nucseg_jax.devices import compilation_cache
from nucseg_jax.runs import checkpoint, loading
from nucseg_jax.inference.class_probabilities import ClassProbabilities
from nucseg_jax.inference.tiles import Tiling
from nucseg_jax.models import create_model
from nucseg_jax.models.network import Weights, split_network

compilation_cache.enable()
workdir, mesh = Path(sys.argv[1]), devices.make_mesh()
config = {"model": {"name": "unet", "num_classes": 2, "width": 1 / 32, "dtype": "float32",
    "channel_order": "RGB", "input_scale": 1.0}}
network, params, batch_stats = split_network(create_model(**{k: config["model"][k]
    for k in ("name", "num_classes", "width", "dtype")}, rngs=nnx.Rngs(params=0, dropout=0)))
with checkpoint.Checkpoints(workdir, keep=1) as checkpoints:
    checkpoints.save(1, devices.replicate(mesh, Weights(params, batch_stats)), {"config": config})
model = loading.load_model(workdir, mesh)
said = ClassProbabilities(lambda weights, tiles: model.network.probabilities(*weights, tiles), mesh,
    tilings=[Tiling(32)], batch_px=1)
assert said(model.weights, np.zeros((32, 48, 3), np.uint8)).shape == (32, 48, 2)
found = {"tensorflow", "tensorflow_datasets", "torch"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "record"])
def test_a_damaged_prepared_dataset_is_one_line(name: str, tiny_config: ConfigDict, tmp_path: Path) -> None:
    shutil.copytree(tiny_config.data.dir, tmp_path / "data")
    tiny_config.data.dir = str(tmp_path / "data")
    folder = tmp_path / "data" / "folder" / "synthetic_none" / "1.0.0"
    file = next(f for f in folder.iterdir() if name in f.name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load(tiny_config.data)
    message = str(error.value)
    assert message.startswith(f"{folder}: cannot be read as a prepared dataset (") and "\n" not in message
    assert message.endswith("Prepare it again with --overwrite, or copy the folder again")


def changed(config: ConfigDict, tmp_path: Path, **values: object) -> Path:
    """A copy of the prepared dataset whose metadata have other values, and no digest, as early releases'."""
    shutil.copytree(config.data.dir, tmp_path / "data")
    config.data.dir = str(tmp_path / "data")
    folder = tmp_path / "data" / "folder" / "synthetic_none" / "1.0.0"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert len(metadata.pop("metadata_sha256")) == 64
    assert metadata.pop("region_classes") == []
    (folder / "metadata.json").write_text(json.dumps({**metadata, **values}))
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mpp", None),
        ("mpp", "abc"),
        ("mpp", 10**400),
        ("mpp", -1),
        ("mpp", 25.0),
        ("mpp", True),
        ("mpp", float("nan")),
        ("mpp_source", 5),
        ("stain_target", 5),
        ("stain_style", [1]),
        ("sha256", {"a": 1}),
        ("manifest", []),
        ("manifest", {"name": "x", "stain_target": "", "images": [{"id": "a"}]}),
        ("manifest", {"name": "x", "stain_target": "", "images": []}),
    ],
)
def test_metadata_of_another_kind_are_one_line(
    key: str, value: object, tiny_config: ConfigDict, tmp_path: Path
) -> None:
    folder = changed(tiny_config, tmp_path, **{key: value})
    with pytest.raises(DataError) as error:
        data.load(tiny_config.data)
    message = str(error.value)
    assert message.startswith(f"{folder}: cannot be read as a prepared dataset (") and key in message
    assert "\n" not in message and len(message) < 400


def test_metadata_without_a_digest_are_taken_and_with_one_held_against_it(
    tiny_config: ConfigDict, tmp_path: Path
) -> None:
    whole = data.load(tiny_config.data)
    assert "metadata_sha256" not in whole.metadata
    folder = changed(tiny_config, tmp_path, mpp=0.4)
    assert data.load(tiny_config.data).mpp == 0.4
    source = json.loads((folder / "metadata.json").read_text())
    for mpp in (0.4, 0.5):
        (folder / "metadata.json").write_text(json.dumps({**metadata.sealed(source), "mpp": mpp}))
        if mpp == 0.4:
            found = {**data.load(tiny_config.data).metadata, "region_classes": []}
            assert found == {**whole.metadata, "mpp": 0.4}
    lost = {**source, "region_classes": []}  # which no release without digests wrote
    (folder / "metadata.json").write_text(json.dumps(lost))
    with pytest.raises(DataError, match="the SHA-256 of the metadata is not the one that was written"):
        data.load(tiny_config.data)
    (folder / "metadata.json").write_text(json.dumps({**metadata.sealed(lost), "mpp": 0.5}))
    with pytest.raises(DataError, match="the SHA-256 of the metadata is not the one that was written"):
        data.load(tiny_config.data)
