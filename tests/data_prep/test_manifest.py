"""data_prep.manifest and the committed splits."""

import json
from collections import Counter

import pytest

from data_prep import manifest
from nucseg_jax.errors import DataError

COUNTS = {
    "paper": {"train": 23, "test": 7},
    "kumar": {"train": 16, "test_same": 8, "test_other": 6},
    "challenge2018": {"train": 37, "test": 14},
}
VALID = {
    "name": "mine",
    "description": "",
    "stain_target": "a",
    "images": [
        {"id": "a", "split": "train", "organ": "liver", "sha256": ""},
        {"id": "b", "split": "test", "organ": "liver", "sha256": "0" * 64},
    ],
}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "mine.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


def committed(name):
    return manifest.load(manifest.committed()[name])


def test_every_split_is_there():
    assert set(manifest.committed()) == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_committed_manifests(name):
    images = committed(name)
    assert images.name == name and images.description
    assert {split: len(images.in_split(split)) for split in images.splits} == COUNTS[name]
    assert images.stain_target in {entry.id for entry in images.in_split("train")}
    assert all(entry.id.startswith("TCGA-") for entry in images.images)


def test_known_images_have_one_hash_each():
    hashes = {entry.id: entry.sha256 for entry in committed("paper").images}
    assert len(set(hashes.values())) == 30 and all(len(value) == 64 for value in hashes.values())
    assert {entry.id: entry.sha256 for entry in committed("kumar").images} == hashes
    challenge = {entry.id: entry.sha256 for entry in committed("challenge2018").images}
    assert {key: value for key, value in challenge.items() if value} == hashes
    assert len(challenge) == 51


def test_paper_tests_one_image_an_organ():
    images = committed("paper")
    test_organs = [entry.organ for entry in images.in_split("test")]
    assert len(set(test_organs)) == 7
    assert set(test_organs) == {entry.organ for entry in images.images}


def test_other_organs_are_not_seen_in_training():
    images = committed("kumar")
    seen = {entry.organ for entry in images.in_split("train")}
    assert {entry.organ for entry in images.in_split("test_same")} == seen
    assert not {entry.organ for entry in images.in_split("test_other")} & seen


def test_the_released_networks_images_are_all_for_training():
    images = manifest.load(manifest.SPLITS_FOLDER.parent / "manifests" / "he.json")
    assert images.name == "he" and images.splits == ("train",)
    assert Counter(entry.source for entry in images.images) == {"monuseg": 30, "consep": 27}
    monuseg = {(e.id, e.organ, e.sha256) for e in images.images if e.source == "monuseg"}
    assert monuseg == {(e.id, e.organ, e.sha256) for e in committed("paper").images}
    consep = [entry for entry in images.images if entry.source == "consep"]
    assert {entry.organ for entry in consep} == {"colon"}
    assert len({entry.sha256 for entry in consep}) == 27 and all(entry.sha256 for entry in consep)
    assert "CC BY-NC-SA 4.0" in images.description and "Graham et al." in images.description


def test_load_and_back(write):
    images = manifest.load(write(VALID))
    assert images.splits == ("train", "test")
    assert images.to_json() == VALID, "as in earlier releases, which had no sources"
    sourced = with_first_image(source="hospital A")
    images = manifest.load(write(sourced))
    assert [entry.source for entry in images.images] == ["hospital A", ""]
    assert images.to_json() == sourced


def broken(**changes):
    return {**VALID, **changes}


def with_first_image(**changes):
    return broken(images=[{**VALID["images"][0], **changes}, VALID["images"][1]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ([], "must be an object, not a list"),
        (broken(seed=1), "unknown key 'seed'"),
        ({key: VALID[key] for key in VALID if key != "name"}, "missing key 'name'"),
        (broken(name=3), "name must be a string"),
        (broken(images=[]), "at least one image"),
        (broken(images=["a"]), r"images\[0\]: must be an object, not a str"),
        (with_first_image(size=3), r"images\[0\]: unknown key 'size'"),
        (with_first_image(source=3), r"images\[0\]: source must be a string"),
        (with_first_image(id="b"), "more than once: b"),
        (with_first_image(id="../a"), "no file name"),
        (with_first_image(id=".."), "no file name"),
        (with_first_image(id="a\n"), r"id 'a\\n' is no file name"),
        (with_first_image(split="A" * 999), r"split 'A{199} … is no name"),
        (with_first_image(split="Train set"), "'Train set' is no name. Use one like train"),
        (with_first_image(sha256="123"), "64 lower-case hex digits"),
        (with_first_image(split="test"), "no image is in the split train"),
        (broken(stain_target="b"), "not one of the 1 training images"),
        (broken(stain_target="c"), "not one of the 1 training images"),
    ],
)
def test_mistakes_are_named(write, content, message):
    path = write(content)
    with pytest.raises(DataError, match=message) as caught:
        manifest.load(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"absent\.json: no such file"):
        manifest.load(tmp_path / "absent.json")
