"""Several folders as one dataset: splits, sources and what is refused; a dataset without test images."""

import json

import pytest
from ml_collections import ConfigDict

from data_prep import folder, pack
from nucseg_jax import data
from nucseg_jax.errors import DataError, UserError
from tests.cli.commands import run, the_error
from tests.data_prep.small_folders import SIDE, entry, write_folder, write_manifest


@pytest.fixture
def two(tmp_path):
    """Two folders without manifests."""
    return [write_folder(tmp_path / "lab", ["a", "b", "c"]), write_folder(tmp_path / "clinic", ["d", "e"])]


def images_of(folders, *test, manifest=None, no_test=False):
    """By id the split, organ and source of an image, as the options ask for."""
    images = folder.images_of(folders, manifest, test, "all", None, no_test=no_test)
    assert images.name == "all"
    return {e.id: (e.split, e.organ, e.source) for e in images.images}


def load(out, dataset="folder", split="all"):
    config = {"dir": str(out), "dataset": dataset, "split": split, "stain": "none", "size": None}
    return data.load(ConfigDict(config))


def sources_in(dataset):
    return {split: {e.id: e.source for e in examples} for split, examples in dataset.splits.items()}


def test_two_folders_are_one_dataset(two, tmp_path):
    out = ["--out", tmp_path / "out", "--name", "all"]
    result = run("prepare", "folder", "--source", two[0], "--source", two[1], *out, "--test", "c", "e")
    assert result.returncode == 0, result.stderr
    assert "  train: 3 images (2 of lab, 1 of clinic), 3 nuclei\n" in result.stdout
    assert "  test: 2 images (1 of lab, 1 of clinic), 2 nuclei\n" in result.stdout
    expected = {"train": {"a": "lab", "b": "lab", "d": "clinic"}, "test": {"c": "lab", "e": "clinic"}}
    dataset = load(tmp_path / "out")
    assert sources_in(dataset) == expected
    assert all(e.image.shape == (SIDE, SIDE, 3) for e in dataset.splits["train"])

    packing = ["--data-dir", tmp_path / "out", "--dataset", "folder", "--split", "all"]
    pack.main([str(argument) for argument in [*packing, "--out", tmp_path / "packed"]])
    assert sources_in(load(tmp_path / "packed")) == expected

    again = run("prepare", "folder", "--source", *two, *out, "--test", "c", "e")
    assert "already prepared, nothing to do" in again.stdout


def test_no_test_images(two, tmp_path, capsys):
    options = ["--source", *two, "--out", tmp_path / "out", "--name", "all", "--no-test"]
    folder.main([str(option) for option in options])
    printed = capsys.readouterr().out
    assert "  train: 5 images (3 of lab, 2 of clinic), 5 nuclei\n  no image is for testing" in printed
    dataset = load(tmp_path / "out")
    assert list(dataset.splits) == ["train"] and dataset.scored() == {}


def test_a_dataset_of_one_folder_is_its_own_source(two, tmp_path):
    options = ["--source", two[0], "--out", tmp_path / "out", "--name", "all", "--test", "c"]
    folder.main([str(option) for option in options])
    expected = {"train": {"a": "all", "b": "all"}, "test": {"c": "all"}}
    assert sources_in(load(tmp_path / "out")) == expected


def test_a_dataset_of_an_earlier_release_has_its_name_for_source(two, tmp_path, capsys):
    options = ["--source", two[0], "--out", tmp_path / "out", "--name", "all", "--test", "c"]
    folder.main([str(option) for option in options])
    (features,) = tmp_path.rglob("features.json")
    content = json.loads(features.read_text())
    del content["featuresDict"]["features"]["source"]
    features.write_text(json.dumps(content))
    assert sources_in(load(tmp_path / "out"))["test"] == {"c": "all"}
    capsys.readouterr()
    folder.main([str(option) for option in options])
    assert "already prepared, nothing to do" in capsys.readouterr().out


def test_manifests_of_the_folders_are_merged(tmp_path):
    first = write_folder(tmp_path / "x", ["a", "b"], ["train", "test"], manifest_name="lab")
    second = write_folder(tmp_path / "y", ["c", "d"], ["train", "test_far"], manifest_name="clinic")
    plain = write_folder(tmp_path / "z", ["e", "f"])
    expected = {
        "a": ("train", "lung", "lab"),
        "b": ("test", "lung", "lab"),
        "c": ("train", "lung", "clinic"),
        "d": ("test_far", "lung", "clinic"),
    }
    assert images_of([first, second]) == expected
    rest = {"e": ("train", "unknown", "z"), "f": ("test", "unknown", "z")}
    assert images_of([first, second, plain], "f") == expected | rest
    with pytest.raises(
        DataError, match=f"^{plain}: --test names images that are not there: b. There are: e, f"
    ):
        images_of([first, second, plain], "b")
    with pytest.raises(
        DataError, match=r"manifest\.json: says which images are in the test split, so --test"
    ):
        images_of([first, second], "a")


def test_the_stain_target_is_the_first_that_a_manifest_names(two, tmp_path):
    for path, target in zip(two, ("", "d"), strict=True):
        names = ["a", "b"] if path == two[0] else ["d", "e"]
        content = {"name": path.name, "description": "", "stain_target": target}
        content["images"] = [entry(name) for name in names]
        (path / "manifest.json").write_text(json.dumps(content))
    assert folder.images_of(two, None, [], "all", None).stain_target == "d"
    assert folder.images_of(two, None, [], "all", "a").stain_target == "a"


def test_a_manifest_of_several_folders(two, tmp_path):
    entries = [entry("a"), entry("d", "test"), entry("e", source="elsewhere")]
    path = write_manifest(tmp_path / "m.json", entries)
    assert images_of(two, manifest=path) == {
        "a": ("train", "lung", "lab"),
        "d": ("test", "lung", "clinic"),
        "e": ("train", "lung", "elsewhere"),
    }
    assert images_of([two[0]], manifest=path)["a"][2] == "", "the dataset's name"


def test_an_id_in_two_folders_names_both_files(two, tmp_path):
    other = write_folder(tmp_path / "other", ["c", "f"])
    with pytest.raises(DataError) as caught:
        images_of([*two, other], no_test=True)
    message = str(caught.value)
    assert message.startswith(
        f"{two[0] / 'c.png'} and {other / 'c.png'}: have one id, and an id must be unique"
    )
    assert "\n" not in message
    options = ("--source", two[0], other, "--out", tmp_path / "out", "--name", "all")
    path = write_manifest(tmp_path / "m.json", [entry("a"), entry("c")])
    refused = the_error(run("prepare", "folder", *options, "--manifest", path))
    assert refused.startswith(f"{two[0] / 'c.png'} and ") and not (tmp_path / "out").exists()
    write_manifest(path, [entry("a"), entry("f")])
    assert images_of([two[0], other], manifest=path)["f"][2] == "other", (
        "only ids that are used must be unique"
    )


def test_two_folders_of_one_name(tmp_path):
    twins = [write_folder(tmp_path / "x" / "images", ["a"]), write_folder(tmp_path / "y" / "images", ["b"])]
    with pytest.raises(DataError, match="are both named 'images', .* Rename one .*--manifest"):
        images_of(twins, no_test=True)
    entries = [entry("a", source="one"), entry("b", source="two")]
    path = write_manifest(tmp_path / "m.json", entries)
    assert [image[2] for image in images_of(twins, manifest=path).values()] == ["one", "two"]
    write_manifest(path, [entry("a"), entry("b")])
    with pytest.raises(DataError, match="are both named 'images'"):
        images_of(twins, manifest=path)


def test_a_folder_is_given_once(two):
    with pytest.raises(DataError, match=r"lab: is .*lab, or inside of it"):
        images_of([two[0], two[0]], no_test=True)
    with pytest.raises(DataError, match="Give each --source folder once"):
        images_of([two[0], two[0].parent], no_test=True)


def test_an_empty_split_must_be_asked_for(two, tmp_path):
    for folders in (two, two[:1]):
        total = 5 if len(folders) == 2 else 3
        with pytest.raises(DataError, match=f"0 of {total} images are for testing; .* give --no-test"):
            images_of(folders)
        assert {image[0] for image in images_of(folders, no_test=True).values()} == {"train"}
    with pytest.raises(DataError, match="5 of 5 images are for testing"):
        images_of(two, "a", "b", "c", "d", "e")
    with pytest.raises(UserError, match="--test and --no-test exclude each other"):
        images_of(two, "a", no_test=True)


def test_a_manifest_says_by_itself_that_no_image_is_for_testing(two, tmp_path):
    path = write_manifest(tmp_path / "m.json", [entry("a"), entry("d")])
    assert images_of(two, manifest=path) == images_of(two, manifest=path, no_test=True)
    write_manifest(path, [entry("a"), entry("d", "test_far")])
    with pytest.raises(
        DataError, match=r"m\.json: 1 of 2 images are not for training, so --no-test cannot be"
    ):
        images_of(two, manifest=path, no_test=True)


def test_missing_files_are_listed_over_all_folders(two, tmp_path):
    (two[0] / "a_label.npy").unlink()
    (two[1] / "e.png").unlink()
    options = ("--source", *two, "--out", tmp_path / "out", "--name", "all", "--test", "b")
    result = run("prepare", "folder", *options)
    message = the_error(result)
    assert message.startswith(f"{two[0]}, {two[1]}: 2 of 5 images lack a file")
    assert "a: 1 image, no annotation" in result.stderr and "e: no image, 1 annotation" in result.stderr
