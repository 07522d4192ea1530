"""A dataset on disk: kept, refused, replaced whole, and found again."""

import json
import shutil
import sys
import tempfile

import numpy as np
import pytest

from data_prep import folder, on_disk
from nucseg_jax.io.locks import lock_beside
from nucseg_jax.io.names import host
from tests.data_prep.small_dataset import failure, labels_of, prepare, read
from tests.io.test_locks import Holder
from tests.small_disk import run_on_small_disk


@pytest.fixture(scope="module")
def source(three_images):
    return three_images


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


def test_a_dataset_of_an_earlier_release(source, out, tmp_path, capsys):
    shutil.copytree(out / "folder" / "mine_none", tmp_path / "folder" / "mine_none")
    path = tmp_path / "folder" / "mine_none" / "1.0.0" / "metadata.json"
    metadata = json.loads(path.read_text())
    for key in ("mpp", "mpp_source", "region_classes", "metadata_sha256"):
        del metadata[key]
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

    def dies(*_, **__):
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
