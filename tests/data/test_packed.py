"""Packed folders: what TFDS holds comes back; damage is named; training and scoring without TensorFlow."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from data_prep import pack
from nucseg_jax import data
from nucseg_jax.data import encoded, packed, packed_index
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.data.json_values import sha256_of
from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.io.names import beside
from nucseg_jax.training import train
from tests.killed import keep_until

NAME = "folder/synthetic_none"
OPTIONS = ["--dataset", "folder", "--split", "synthetic"]


@pytest.fixture(scope="module")
def root(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset, packed."""
    out = tmp_path_factory.mktemp("packed")
    pack.main(["--data-dir", str(tiny_dataset), *OPTIONS, "--out", str(out)])
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A packed dataset of one training and one test image, to damage."""
    labels = np.zeros((40, 50), np.int32)
    labels[3:9, 4:8] = encoded.LARGEST_ID
    image = np.arange(40 * 50 * 3).reshape(40, 50, 3).astype(np.uint8)
    examples = [Example(name, "breast", image, labels, image, labels) for name in ("a", "b.c d")]
    dataset = Dataset("folder/x_none", {"train": examples[:1], "test": examples[1:]}, {"stain": "none"})
    packed.write(dataset, tmp_path / "folder/x_none", overwrite=False)
    return tmp_path / "folder/x_none"


def test_a_packed_dataset_is_the_prepared_one(tiny_config: ConfigDict, root: Path) -> None:
    prepared = data.load(tiny_config.data)
    tiny_config.data.dir = str(root)
    copy = data.load(tiny_config.data)
    assert copy.name == prepared.name == NAME
    assert copy.metadata == prepared.metadata and copy.metadata["sha256"]
    assert list(copy.splits) == list(prepared.splits)
    for split, examples in prepared.splits.items():
        for a, b in zip(copy.splits[split], examples, strict=True):
            assert (a.id, a.organ, a.source) == (b.id, b.organ, b.source) and a.source == "synthetic"
            for key in ("image", "label_map", "original_label_map", "original_image"):
                x, y = getattr(a, key), getattr(b, key)
                if split == "train" and key == "original_image":
                    assert x is None
                else:
                    assert x.dtype == y.dtype
                    np.testing.assert_array_equal(x, y)
    with pytest.raises(DataError, match="keeps no original of training images"):
        copy.splits["train"][0].scored_image()


def test_every_id_and_name_survives(folder: Path) -> None:
    dataset = packed.read(folder)
    assert [e.id for examples in dataset.splits.values() for e in examples] == ["a", "b.c d"]
    assert dataset.splits["train"][0].label_map.max() == 65535


def test_folders_that_an_earlier_release_packed_name_no_sources(folder: Path) -> None:
    path = folder / packed_index.INDEX
    index = json.loads(path.read_text())
    del index[packed_index.DIGEST]
    for entries in index["splits"].values():
        for entry in entries:
            del entry["source"]
    for metadata, source in (({}, "folder"), ({"manifest": {"name": "x"}}, "x")):
        path.write_text(json.dumps(index | {"metadata": metadata}))
        assert [e.source for e in packed.read(folder).splits["train"]] == [source]
    monuseg = folder.parent.parent / "monuseg" / "paper_none"
    monuseg.parent.mkdir()
    folder.rename(monuseg)
    assert [e.source for e in packed.read(monuseg).splits["train"]] == ["monuseg"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        pack.main(list(arguments))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_packing_overwrites_only_when_asked_and_only_packed_folders(
    tiny_dataset: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--data-dir", str(tiny_dataset), *OPTIONS]
    assert "already packed. Give --overwrite" in fails(capsys, *source, "--out", str(root))
    stray = root / NAME / "image" / "stray.webp"
    stray.touch()
    pack.main([*source, "--out", str(root), "--overwrite"])
    assert not stray.exists() and packed.is_packed(root / NAME)
    assert [p.name for p in (root / "folder").iterdir()] == ["synthetic_none"], "nothing is left behind"
    message = fails(capsys, *source, "--out", str(tiny_dataset), "--overwrite")
    assert "holds something else" in message and (tiny_dataset / NAME / "1.0.0").is_dir()
    message = fails(capsys, "--data-dir", str(root), "--dataset", "monuseg", "--split", "paper", "--out", "x")
    assert f"no prepared dataset monuseg/paper_vahadane in {root} (there: {NAME})" in message


def test_a_failure_leaves_the_older_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = packed.read(folder)  # has no original of its training image: it can be packed again
    before = sorted(p.name for p in folder.parent.iterdir())

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(encoded, "encode_png", full)
    with pytest.raises(OSError, match="no space left"):
        packed.write(dataset, folder, overwrite=True)
    assert sorted(p.name for p in folder.parent.iterdir()) == before
    assert packed.read(folder).splits["test"]


def test_what_the_format_cannot_hold_is_refused(folder: Path) -> None:
    dataset = packed.read(folder)
    (example,) = dataset.splits["test"]
    for key, value, message in (
        ("label_map", example.label_map + 1, "b.c d: label map has ids from 1 to 65536"),
        ("image", np.zeros((16384, 8, 3), np.uint8), "b.c d: is 16384×8, .* at most 16383"),
        ("id", "l" * 251, "has 251 bytes, and the id of a packed image at most 250"),
    ):
        bad = dataclasses.replace(dataset, splits={"test": [dataclasses.replace(example, **{key: value})]})
        with pytest.raises(DataError, match=message):
            packed.write(bad, folder.parent / "other", overwrite=False)
    assert not (folder.parent / "other").exists()


def test_images_beyond_pillows_bound_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """They are packed without a word: a slide's part of 16,383 pixels a side is beyond it."""
    whole = packed.read(folder)
    for bound in (100, 1500):  # an error beyond twice the bound, a warning beyond the bound
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", bound)
        for split, examples in packed.read(folder).splits.items():
            for example, known in zip(examples, whole.splits[split], strict=True):
                np.testing.assert_array_equal(example.image, known.image)
                np.testing.assert_array_equal(example.label_map, known.label_map)
        assert bound == Image.MAX_IMAGE_PIXELS, "others' images have it still"
    assert not recwarn.list


def test_threads_are_as_many_as_cores_may_be_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as many as the machine has, of which a job may use two."""
    threads = []

    def recorded(count: int) -> ThreadPoolExecutor:
        threads.append(count)
        return ThreadPoolExecutor(count)

    monkeypatch.setattr("nucseg_jax.data.threads.usable_cores", lambda: 3)
    monkeypatch.setattr("nucseg_jax.data.threads.ThreadPoolExecutor", recorded)
    packed.write(packed.read(folder), folder, overwrite=True)
    assert threads and set(threads) == {3}


@pytest.mark.parametrize("file", ["image/a.webp", "label_map/a.png", "original_image/b.c d.webp"])
def test_a_missing_or_damaged_file_is_named(file: str, folder: Path) -> None:
    """One bit decides: neither WebP nor Pillow's reading of PNG would tell."""
    path = folder / file
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{file}: damaged or replaced.*nucseg prepare pack --overwrite"):
        packed.read(folder)
    path.unlink()
    with pytest.raises(DataError, match=rf"{file}: cannot be read \(No such file"):
        packed.read(folder)


def _write(path: Path, index: dict[str, Any]) -> None:
    """As whoever makes the digest fit."""
    path.write_text(json.dumps(index | {packed_index.DIGEST: sha256_of(index, packed_index.DIGEST)}))


def _with_a_number_for_source(index: dict[str, Any]) -> dict[str, Any]:
    index["splits"]["train"][0]["source"] = 3
    return index


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index | {"version": 4}, "is version 4 of the format, .* reads 1, 2 and 3"),
        (lambda index: {"version": 1}, "splits, ids, organs, sources, SHA-256 or metadata miss"),
        (lambda index: index | {"splits": {"train": [{"id": "a"}]}}, "metadata miss"),
        (lambda index: [], "damaged"),
        (_with_a_number_for_source, "splits, ids, organs, sources, SHA-256 or metadata miss"),
    ],
)
def test_a_bad_index_is_named(change: object, message: str, folder: Path) -> None:
    """One without a digest, as earlier releases wrote it."""
    path = folder / packed_index.INDEX
    index = json.loads(path.read_text())
    del index[packed_index.DIGEST]
    path.write_text(json.dumps(change(index)))  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"packed.json: .*{message}"):
        packed.read(folder)


@pytest.mark.parametrize("odd", ["../b", "/b", "a/b", "a\\b", "..", "", "a\nb"])
def test_an_id_that_is_no_plain_name_is_refused(odd: str, folder: Path) -> None:
    """Scores and pictures are written under names made of it; whoever wrote it made the digest fit."""
    path = folder / packed_index.INDEX
    index = json.loads(path.read_text())
    del index[packed_index.DIGEST]
    index["splits"]["train"][0]["id"] = odd
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"packed\.json: damaged \(splits, ids"):
        packed.read(folder)


@pytest.mark.parametrize(
    ("kind", "pixels", "message"),
    [
        ("image", np.zeros((8, 8), np.uint8), r"a: its image is uint8 \(8, 8\)\. Pack"),
        ("label_map", np.zeros((8, 8, 3), np.uint8), r"a: its label_map is uint8 \(8, 8, 3\)\. Pack"),
        ("label_map", np.zeros((4, 5), np.uint16), r"a: its image is \(40, 50\), its label_map \(4, 5\)"),
    ],
)
def test_pixels_of_another_kind_are_refused(
    kind: str, pixels: np.ndarray, message: str, folder: Path
) -> None:
    path = folder / packed_index.INDEX
    index = json.loads(path.read_text())
    del index[packed_index.DIGEST]
    file = folder / kind / f"a{encoded.SUFFIXES[kind]}"
    Image.fromarray(pixels).save(file, "PNG")  # the content says the format, and WebP has no greyscale
    index["splits"]["train"][0]["sha256"][kind] = hashlib.sha256(file.read_bytes()).hexdigest()
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match=message):
        packed.read(folder)


def test_masks_of_another_kind_or_size_are_refused(tmp_path: Path) -> None:
    """What both masks hold is in test_partly_annotated; one alone is none that was written."""
    labels, image = np.zeros((8, 9), np.int32), np.zeros((8, 9, 3), np.uint8)
    mask = np.arange(72).reshape(8, 9) % 7 == 0
    example = Example("a", "breast", image, labels, image, labels, "", mask, ~mask)
    root = tmp_path / "folder/x_none"
    packed.write(Dataset("folder/x_none", {"train": [example]}, {}), root, overwrite=False)
    (found,) = packed.read(root).splits["train"]
    np.testing.assert_array_equal(found.unannotated, mask)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.original_unannotated, ~mask)  # type: ignore[arg-type]

    index = json.loads((root / packed_index.INDEX).read_text())
    digests = index["splits"]["train"][0]["sha256"]
    file = root / "unannotated" / "a.png"
    for pixels, message in (
        (mask.astype(np.uint8), r"a: its unannotated is uint8 \(8, 9\)\. Pack"),
        (mask[:4], r"a: its unannotated is \(4, 9\), its label_map \(8, 9\)"),
    ):
        Image.fromarray(pixels).save(file)
        digests["unannotated"] = hashlib.sha256(file.read_bytes()).hexdigest()
        _write(root / packed_index.INDEX, index)
        with pytest.raises(DataError, match=message):
            packed.read(root)
    del digests["unannotated"]
    _write(root / packed_index.INDEX, index)
    with pytest.raises(DataError, match=r"packed\.json: damaged"):
        packed.read(root)


def test_an_older_dataset_comes_back_after_a_kill_between_two_renames(folder: Path) -> None:
    dataset = packed.read(folder)
    folder.rename(beside(folder, "old"))
    with pytest.raises(DataError, match="already packed"):
        packed.write(dataset, folder, overwrite=False)
    assert packed.read(folder).metadata == dataset.metadata
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_index_that_was_changed_is_refused(folder: Path) -> None:
    """The digests of the files say nothing of ids, splits and resolution: the index has one of its own."""
    path = folder / packed_index.INDEX
    for old, new in (('"test"', '"tesu"'), ('"stain": "none"', '"stain": "nome"'), ('"b.c d"', '"b.d d"')):
        whole = path.read_text()
        assert old in whole
        path.write_text(whole.replace(old, new))
        with pytest.raises(DataError, match=r"packed\.json: damaged: its SHA-256"):
            packed.read(folder)
        path.write_text(whole)
    assert packed.read(folder).metadata == {"stain": "none"}


@pytest.mark.parametrize("sign", ["version", "region_classes"])
def test_an_index_that_lost_its_digest_is_refused(sign: str, folder: Path) -> None:
    """Its name is damaged, which would hide another fault. Early releases wrote none, and no such entries."""
    path = folder / packed_index.INDEX
    index = json.loads(path.read_text())
    index["damaged"] = index.pop(packed_index.DIGEST)
    path.write_text(json.dumps(index))
    assert packed.read(folder).metadata == {"stain": "none"}
    if sign == "version":
        index["version"] = packed_index.VERSION_WITH_MASKS
    else:
        index["metadata"]["region_classes"] = []
    path.write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"packed\.json: damaged: its SHA-256"):
        packed.read(folder)
    _write(path, index)
    assert packed.read(folder).metadata == index["metadata"]


def test_a_folder_with_both_forms_is_refused(folder: Path, tiny_config: ConfigDict) -> None:
    tiny_config.data.dir, tiny_config.data.split = str(folder.parent.parent), "x"
    assert data.load(tiny_config.data).metadata == {"stain": "none"}
    (folder / "1.0.0").mkdir()
    (folder / "1.0.0" / "dataset_info.json").touch()
    with pytest.raises(DataError, match=r"holds both a packed dataset and TFDS's \(1.0.0\)"):
        data.load(tiny_config.data)


@pytest.mark.slow
def test_training_goes_on_and_scores_where_tensorflow_is_missing(
    tiny_config: ConfigDict, root: Path, tmp_path: Path
) -> None:
    """A run from TFDS that was killed, continued from the packed folder in a process without TensorFlow."""
    tiny_config.num_steps, tiny_config.checkpoint.every = 2, 1
    tiny_config.data.validation = ("SYN-BREAST-000",)
    train.train(tiny_config, tmp_path / "run")
    keep_until(tmp_path / "run", 1)
    code = (
        "import sys, runpy; sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None; "
        "runpy.run_module('nucseg_jax.main', run_name='__main__', alter_sys=True)"
    )
    overrides = {
        "data.dir": root,
        "data.pipeline": "resident",
        "data.crop_size": 32,
        "data.validation": "('SYN-BREAST-000',)",
        "batch_size": 8,
        "model.width": 1 / 16,
        "num_steps": 2,
    }
    result = subprocess.run(
        [sys.executable, "-c", code, "--config=configs/demo.py", f"--workdir={tmp_path / 'run'}"]
        + [f"--config.{key}={value}" for key, value in overrides.items()],
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "steps 1 to 2" in result.stdout and "demo: nucleus F1" in result.stdout
    assert (tmp_path / "run/eval/folder_synthetic_none_test/step_2/overlays").is_dir() or (
        tmp_path / "run/eval/folder_synthetic_none_test/step_1/overlays"
    ).is_dir()


def test_tfdata_without_tensorflow_names_the_way_out(
    tiny_config: ConfigDict, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    tiny_config.data.dir, tiny_config.num_steps = str(root), 1
    with pytest.raises(MissingExtraError, match="or train without it: data.pipeline=resident"):
        train.train(tiny_config, tmp_path)
