"""The TFDS datasets: prepared by the command, read back without any of its code."""

import json
import shutil
import subprocess
import sys
import tempfile

import imagecodecs
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from data_prep import folder, manifest, monuseg, on_disk
from nucseg_jax.errors import DataError
from nucseg_jax.io.locks import lock_beside
from nucseg_jax.io.names import host
from tests.io.test_locks import Holder
from tests.small_disk import run_on_small_disk

SIDES = {"a": 40, "b": 50, "c": 60}


def image_of(name):
    side = SIDES[name]
    return np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)


def labels_of(name):
    labels = np.zeros((SIDES[name], SIDES[name]), np.int32)
    labels[5:15, 5:15], labels[20:30, 8:12] = 1, 300
    return labels


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Images of different sizes."""
    source = tmp_path_factory.mktemp("source")
    for name in SIDES:
        Image.fromarray(image_of(name)).save(source / f"{name}.png")
        np.save(source / f"{name}_label.npy", labels_of(name))
    return source


@pytest.fixture(scope="module")
def even_source(tmp_path_factory):
    """Images of one size: 40 pixels."""
    source = tmp_path_factory.mktemp("even")
    for name in SIDES:
        Image.fromarray(image_of(name)[:40, :40]).save(source / f"{name}.png")
        np.save(source / f"{name}_label.npy", labels_of(name)[:40, :40])
    return source


@pytest.fixture(scope="module")
def out(tmp_path_factory, source, even_source):
    """The folder with one dataset prepared at the images' own sizes, one at 64 pixels."""
    out = tmp_path_factory.mktemp("out")
    prepare(source, out, "--test", "b")
    prepare(even_source, out, "--test", "b", "--size", "64", "--mpp", "0.5")
    return out


def prepare(source, out, *options):
    folder.main(["--source", str(source), "--out", str(out), "--name", "mine", *options])


def failure(capsys, command, *arguments):
    """The message of a command that must fail, with exit code 2 and no traceback."""
    with pytest.raises(SystemExit) as caught:
        command([str(argument) for argument in arguments])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def read(out, config, split):
    builder = tfds.builder_from_directory(out / "folder" / config / "1.0.0")
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    return builder, {example["id"].decode(): example for example in examples}


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


def test_a_second_run_does_nothing(source, out, tmp_path, capsys, monkeypatch):
    before = sorted(path.stat().st_mtime_ns for path in out.rglob("*.tfrecord*"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    prepare(source, out, "--test", "b")
    assert not list(tmp_path.iterdir()), "nor does it leave temporary folders"
    assert "already prepared, nothing to do" in capsys.readouterr().out
    assert sorted(path.stat().st_mtime_ns for path in out.rglob("*.tfrecord*")) == before


def test_another_recipe_needs_overwrite(source, out, tmp_path, capsys):
    options = ("--source", source, "--out", out, "--name", "mine", "--test", "c")
    message = failure(capsys, folder.main, *options)
    assert "already prepared with another manifest" in message and "--overwrite" in message


def test_another_resolution_needs_overwrite(even_source, out, capsys):
    options = ("--source", even_source, "--out", out, "--name", "mine", "--test", "b", "--size", "64")
    folder.main([*map(str, options), "--mpp", "0.5"])
    folder.main([*map(str, options)])
    assert capsys.readouterr().out.count("nothing to do") == 2
    message = failure(capsys, folder.main, *options, "--mpp", "0.25")
    assert "already prepared with another mpp" in message and "--overwrite" in message


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
    at = lines.index("  skipped 1 regions of 1 images: 1 with fewer than three vertices")
    assert lines[at + 1] == "    a 1 of 2 (skipped_regions in metadata.json)"
    assert "skipped" not in printed.err
    builder, _ = read(tmp_path / "out", "mine_none", "train")
    reasons = {"with fewer than three vertices": 1}
    assert builder.info.metadata["skipped_regions"] == {"a": {"regions": 2, "skipped": reasons}}


def test_a_dataset_of_an_earlier_release(source, out, tmp_path, capsys):
    shutil.copytree(out / "folder" / "mine_none", tmp_path / "folder" / "mine_none")
    path = tmp_path / "folder" / "mine_none" / "1.0.0" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["mpp"], metadata["mpp_source"], metadata["metadata_sha256"]
    path.write_text(json.dumps(metadata))
    prepare(source, tmp_path, "--test", "b")
    first, second = capsys.readouterr().out.splitlines()
    assert "nothing to do" in first and "recorded no µm a pixel, so 0.25 (40×) is taken" in second
    options = ("--source", source, "--out", tmp_path, "--name", "mine", "--test", "b")
    assert "with another mpp" in failure(capsys, folder.main, *options, "--mpp", "0.25")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("dataset_info.json", lambda content: b""),
        ("dataset_info.json", lambda content: content[:100]),
        ("dataset_info.json", lambda content: b"{}"),
        ("features.json", lambda content: content[:100]),
        ("metadata.json", lambda content: b"[" * 99999),
        ("metadata.json", lambda content: b"[]"),
        ("metadata.json", lambda content: content.replace(b'"mpp": 0.25', b'"mpp": 0.26')),
        ("metadata.json", lambda content: content.replace(b'"train"', b'"traim"')),
        ("metadata.json", None),
    ],
)
def test_a_damaged_dataset_is_one_line_and_is_prepared_again(source, out, tmp_path, capsys, file, damage):
    folder_of_it = tmp_path / "folder" / "mine_none" / "1.0.0"
    shutil.copytree(out / "folder" / "mine_none" / "1.0.0", folder_of_it)
    path = folder_of_it / file
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
        assert path.read_bytes() != content
    options = ("--source", source, "--out", tmp_path, "--name", "mine", "--test", "b")
    message = failure(capsys, folder.main, *options)
    assert message.startswith(f"error: {folder_of_it}: cannot be read as a prepared dataset (")
    assert len(message.splitlines()) == 1 and "Prepare it again with --overwrite" in message
    assert file in message or damage(content) == b"{}"
    prepare(source, tmp_path, "--test", "b", "--overwrite")
    assert f"prepared {folder_of_it}" in capsys.readouterr().out
    _, train = read(tmp_path, "mine_none", "train")
    np.testing.assert_array_equal(train["a"]["label_map"], labels_of("a"))
    assert json.loads((folder_of_it / "metadata.json").read_text())["mpp"] == 0.25


def test_test_images_are_kept_however_often_the_option_is_given(source, tmp_path, capsys):
    prepare(source, tmp_path / "joined", "--test", "a", "b")
    joined = capsys.readouterr().out
    prepare(source, tmp_path / "repeated", "--test", "a", "--test", "b")
    assert joined.replace("joined", "repeated") == capsys.readouterr().out
    assert "  test: 2 images" in joined


def test_overwrite_prints_counts_and_unknown_hashes(source, tmp_path, capsys):
    prepare(source, tmp_path, "--test", "a")
    prepare(source, tmp_path, "--test", "b", "--overwrite")
    builder, test = read(tmp_path, "mine_none", "test")
    assert set(test) == {"b"}
    assert [e["id"] for e in builder.info.metadata["manifest"]["images"] if e["split"] == "test"] == ["b"]
    lines = capsys.readouterr().out.splitlines()
    assert f"prepared {tmp_path / 'folder' / 'mine_none' / '1.0.0'}" in lines
    assert "  train: 2 images, 4 nuclei" in lines
    (resolution,) = {line for line in lines if "µm a pixel" in line}
    assert resolution.startswith("  0.25 µm a pixel: assumed: 40×") and resolution.endswith("with --mpp")
    assert any(line.startswith("  a ") and len(line) == 4 + 64 for line in lines)


def test_a_failed_overwrite_leaves_the_dataset_as_it_was(source, tmp_path, capsys, monkeypatch):
    """The new one takes its place when it is complete, whatever goes wrong on the way."""
    prepare(source, tmp_path, "--test", "a")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("data_prep.prepare.read_labels", dies)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        prepare(source, tmp_path, "--test", "b", "--overwrite")
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    assert set(read(tmp_path, "mine_none", "test")[1]) == {"a"}


def test_a_failed_run_leaves_nothing_that_loads(source, tmp_path, capsys):
    broken = tmp_path / "source"
    broken.mkdir()
    for path in source.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    np.save(broken / "c_label.npy", labels_of("c") - 1)
    options = ("--source", broken, "--out", tmp_path, "--name", "mine", "--test", "a")
    assert "c_label.npy: has labels from -1" in failure(capsys, folder.main, *options)
    assert not list(tmp_path.rglob("dataset_info.json"))
    np.save(broken / "c_label.npy", labels_of("c"))
    prepare(broken, tmp_path, "--test", "a")
    assert len(list(tmp_path.rglob("dataset_info.json"))) == 1


def test_two_preparations_of_one_dataset(source, tmp_path, capsys):
    final = tmp_path / "folder" / "mine_none" / "1.0.0"
    final.parent.mkdir(parents=True)
    options = ("--source", source, "--out", tmp_path, "--name", "mine", "--test", "a")
    with Holder(lock_beside(final)) as holder:
        message = failure(capsys, folder.main, *options)
        assert message.startswith(f"error: {final}: process {holder.pid} on ") and " works on it" in message
        assert not final.exists()
    prepare(source, tmp_path, "--test", "a")
    assert [path.name for path in final.parent.iterdir()] == [final.name]


def test_a_dataset_that_another_process_prepares_meanwhile(source, tmp_path, monkeypatch, capsys):
    """It is looked at again once this process has the lock: it is not done twice, and its recipe counts."""
    original = on_disk.alone

    def alone(*arguments):
        monkeypatch.setattr(on_disk, "alone", original)
        prepare(source, tmp_path, "--test", "a")
        monkeypatch.setattr(on_disk, "alone", alone)
        return original(*arguments)

    monkeypatch.setattr(on_disk, "alone", alone)
    options = ("--source", source, "--out", tmp_path, "--name", "mine", "--test", "a")
    folder.main(list(map(str, options)))
    assert capsys.readouterr().out.count("already prepared, nothing to do") == 1


def test_a_dataset_that_was_moved_away_is_found_again(source, tmp_path, capsys):
    """A process was killed while it replaced the dataset, between its two renames."""
    prepare(source, tmp_path, "--test", "a")
    (final,) = (tmp_path / "folder" / "mine_none").iterdir()
    final.rename(final.with_name(f"{final.name}.{host()}-999999999-0123abcd.old"))
    prepare(source, tmp_path, "--test", "a")
    assert "already prepared, nothing to do" in capsys.readouterr().out
    assert list(final.parent.iterdir()) == [final]


def test_a_full_disk_leaves_no_dataset(source, tmp_path):
    command = [
        sys.executable,
        "-m",
        "data_prep.folder",
        "--source",
        source,
        "--out",
        tmp_path,
        "--name",
        "mine",
    ]
    status, printed, left = run_on_small_disk(tmp_path, 20, [*command, "--test", "a"])
    assert status == 1, printed
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "disk (or your quota on it) is full" in errors[0], printed
    assert "Traceback" not in printed
    assert not [path for path in left if "1.0.0" in path]


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
