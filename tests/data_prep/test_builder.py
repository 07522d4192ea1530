"""The TFDS datasets: prepared by the command, read back without any of its code."""

import json
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import folder, manifest, monuseg
from nucseg_jax.errors import DataError
from tests.data_prep.small_dataset import failure, image_of, labels_of, prepare, read


@pytest.fixture(scope="module")
def source(three_images):
    return three_images


def test_read_back_at_the_images_own_sizes(out):
    builder, train = read(out, "mine_none", "train")
    assert set(builder.info.splits) == {"train", "test"} and set(train) == {"a", "c"}
    for name, example in train.items():
        for key in ("image", "original_image"):
            np.testing.assert_array_equal(example[key], image_of(name))
        for key in ("label_map", "original_label_map"):
            assert example[key].dtype == np.int32
            np.testing.assert_array_equal(example[key], labels_of(name))
        assert example["organ"] == b"unknown"


def test_read_back_resized(out):
    _, test = read(out, "mine_none_64", "test")
    assert set(test) == {"b"}
    assert test["b"]["image"].shape == (64, 64, 3) and test["b"]["label_map"].shape == (64, 64)
    assert set(np.unique(test["b"]["label_map"])) == {0, 1, 300}
    np.testing.assert_array_equal(test["b"]["original_label_map"], labels_of("b")[:40, :40])


def test_metadata(out):
    builder, _ = read(out, "mine_none_64", "test")
    metadata = builder.info.metadata
    assert metadata["stain"] == "none" and metadata["size"] == 64
    assert metadata["stain_target"] is None and metadata["stain_style"] is None
    assert metadata["nuclei"] == {"a": 2, "b": 2, "c": 2}
    assert all(len(value) == 64 for value in metadata["sha256"].values())
    assert [entry["id"] for entry in metadata["manifest"]["images"]] == ["a", "b", "c"]
    assert "tensorflow-datasets" in metadata["versions"]
    assert (metadata["mpp"], metadata["mpp_source"]) == (0.5, "given by --mpp")


def test_what_was_done_about_pixels_is_told_and_recorded(source, tmp_path, capsys):
    """White of 16 bits is part of what was asked for."""
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    twelve = np.round(image_of("a") / 255 * 4095).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(twelve))
    options = ("--test", "b", "--white", "4095")
    prepare(tmp_path, tmp_path / "out", *options)
    printed = capsys.readouterr().out.splitlines()
    (line,) = [line for line in printed if line.startswith("  a: 16 bits a channel, brightest pixels 4,0")]
    assert line.endswith("white is 4,095, as given")
    builder, train = read(tmp_path / "out", "mine_none", "train")
    np.testing.assert_array_equal(train["a"]["image"], image_of("a"))
    assert builder.info.metadata["white"] == 4095
    assert builder.info.metadata["image_notes"]["a"] == [line.removeprefix("  a: ")]
    prepare(tmp_path, tmp_path / "out", *options)
    assert "nothing to do" in capsys.readouterr().out
    arguments = ("--source", tmp_path, "--out", tmp_path / "out", "--name", "mine", "--test", "b")
    assert "another white" in failure(capsys, folder.main, *arguments, "--white", "4000")


def test_skipped_regions_are_told_and_recorded(source, tmp_path, capsys):
    """At the end, once, and in the metadata."""
    for path in source.iterdir():
        if path.name != "a_label.npy":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    corners = ((4, 4), (20, 4), (20, 20), (4, 20))
    points = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in corners)
    regions = f"<Region><Vertices>{points}</Vertices></Region>", "<Region/>"
    (tmp_path / "a.xml").write_text(f"<Annotations>{''.join(regions)}</Annotations>")
    prepare(tmp_path, tmp_path / "out", "--test", "b")
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    at = lines.index("  skipped 1 outlines of 1 images: 1 with fewer than three vertices")
    assert lines[at + 1] == "    a 1 of 2 (skipped_outlines in metadata.json)"
    assert "skipped" not in printed.err
    builder, _ = read(tmp_path / "out", "mine_none", "train")
    reasons = {"with fewer than three vertices": 1}
    assert builder.info.metadata["skipped_outlines"] == {"a": {"outlines": 2, "skipped": reasons}}


def test_nuclei_that_vanish_by_scaling_are_told_and_recorded(tmp_path, capsys):
    labels = np.zeros((64, 64), np.int32)
    labels[8:24, 8:24], labels[40, 40], labels[50, 50] = 1, 2, 3
    for name in ("a", "b"):
        Image.fromarray(image_of("c")[:48, :48]).resize((64, 64)).rotate(90 * (name == "b")).save(
            tmp_path / f"{name}.png"
        )
        np.save(tmp_path / f"{name}_label.npy", labels if name == "a" else labels * (labels < 2))
    prepare(tmp_path, tmp_path / "out", "--test", "b", "--size", "16")
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if "too small" in line]
    assert told.startswith("  2 nuclei are too small for --size, so that nothing of them is trained on: ")
    assert told.endswith(": a 2 of 3 (vanished_nuclei in metadata.json)")
    assert "  train: 1 images, 3 nuclei, 1 after scaling" in lines and "  test: 1 images, 1 nuclei" in lines
    builder, train = read(tmp_path / "out", "mine_none_16", "train")
    assert builder.info.metadata["vanished_nuclei"] == {"a": 2}
    assert builder.info.metadata["nuclei"] == {"a": 3, "b": 1}
    assert set(np.unique(train["a"]["label_map"])) == {0, 1}


def test_test_images_are_kept_however_often_the_option_is_given(source, tmp_path, capsys):
    prepare(source, tmp_path / "joined", "--test", "a", "b")
    joined = capsys.readouterr().out
    prepare(source, tmp_path / "repeated", "--test", "a", "--test", "b")
    assert joined.replace("joined", "repeated") == capsys.readouterr().out
    assert "  test: 2 images" in joined


def test_a_manifest_names_images_and_splits(source, tmp_path):
    entries = [
        {"id": name, "split": split, "organ": "lung", "sha256": ""}
        for name, split in (("a", "train"), ("b", "test_far"))
    ]
    content = {"name": "x", "description": "", "stain_target": "", "images": entries}
    (tmp_path / "m.json").write_text(json.dumps(content))
    options = ("--manifest", str(tmp_path / "m.json"))
    folder.main(["--source", str(source), "--out", str(tmp_path), "--name", "y", *options])
    builder = tfds.builder_from_directory(tmp_path / "folder" / "y_none" / "1.0.0")
    assert set(builder.info.splits) == {"train", "test_far"}
    assert builder.info.metadata["manifest"]["name"] == "y"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "0 of 3 images are for testing"),
        (("--test", "a", "b", "c"), "3 of 3 images are for testing"),
        (("--test", "d"), "not there: d. There are: a, b, c"),
        (("--test", "a", "--stain-target", "a"), "not one of the 2 training images"),
        (("--test", "a", "--stain", "vahadane"), "names none"),
        (("--test", "a", "--size", "0"), "'--size': Input should be greater than or equal to 1, got '0'"),
        (("--test", "a", "--name", "a/b"), "is no name"),
        (("--test", "a", "--mpp", "25"), "--mpp 25: is not within"),
        (("--test", "a", "--white", "0"), "--white 0: is not within 1 … 65535"),
        (("--test", "a", "--size", "64"), "c.png: is 60 pixels wide"),
    ],
)
def test_mistakes(source, tmp_path, capsys, options, message):
    arguments = ("--source", source, "--out", tmp_path, "--name", "mine", *options)
    assert message in failure(capsys, folder.main, *arguments)


def test_images_without_labels_and_the_reverse(source, tmp_path, capsys):
    for name in ("a.png", "a_label.npy", "b.png", "c_label.npy"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    options = ("--source", tmp_path, "--out", tmp_path / "o", "--name", "mine", "--test", "a")
    message = failure(capsys, folder.main, *options)
    assert "b: 1 image, no annotation" in message and "c: no image, 1 annotation" in message
    assert not (tmp_path / "o").exists()


def test_monuseg_lists_every_missing_image(tmp_path, capsys):
    (tmp_path / "Tissue Images").mkdir()
    message = failure(capsys, monuseg.main, "--source", tmp_path, "--out", tmp_path / "o")
    assert "30 of 30 images" in message and "TCGA-RD-A8N9-01A-01-TS1: no image, no" in message


def test_monuseg_configs():
    assert set(monuseg.Monuseg.builder_configs) == {
        f"{split}_{stain}"
        for split in ("paper", "kumar", "challenge2018")
        for stain in ("vahadane", "macenko", "reinhard", "none")
    }


def test_help_needs_no_tensorflow():
    code = (
        "import sys, data_prep.monuseg as m\n"
        "try: m.main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_manifest_json_in_the_folder_is_the_default(source, tmp_path):
    content = {"name": "x", "description": "", "stain_target": "a", "images": []}
    content["images"] = [{"id": "a", "split": "train", "organ": "lung", "sha256": ""}]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert folder.images_of([tmp_path], None, [], "y", None) == manifest.Manifest(
        "y", "", "a", (manifest.ImageEntry("a", "train", "lung", ""),)
    )
    with pytest.raises(DataError, match=r"manifest\.json: says which images"):
        folder.images_of([tmp_path], None, ["a"], "y", None)
