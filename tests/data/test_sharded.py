"""Packed folders with shards: what went in comes back; nothing is read before it is asked for; damage."""

import dataclasses
import json
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from data_prep import pack
from nucseg_jax import data
from nucseg_jax.cores import usable_cores
from nucseg_jax.data import packed
from nucseg_jax.data.annotation import annotated_share, check_annotated, check_nuclei
from nucseg_jax.data.dataset import MASKS, Dataset, Example
from nucseg_jax.data.distances import relative_depth
from nucseg_jax.data.json_values import sha256_of
from nucseg_jax.data.packed_index import DIGEST, INDEX
from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.training import train

PIXELS = ("image", "label_map", "original_label_map", *MASKS, "depth", "unknown_depth")
FACTS = (
    "id",
    "organ",
    "source",
    "size",
    "original_size",
    "nuclei",
    "has_nuclei",
    "unannotated_px",
    "original_unannotated_px",
)


def drawn(number: int, height: int, width: int, *, nuclei: bool = True, masked: bool = False) -> Example:
    """An example whose original is twice as large; `masked`: its upper half is not annotated."""
    generator = np.random.default_rng(number)
    large = (2 * height, 2 * width)
    labels = np.kron(generator.integers(0, 4, (height, width)), np.ones((2, 2), int)).astype(np.int32)
    labels = labels * 20000 * nuclei
    mask = np.zeros(large, bool)
    mask[:height] = True
    return Example(
        id=f"image {number}",
        organ="liver",
        image=generator.integers(0, 256, (height, width, 3)).astype(np.uint8),
        label_map=labels[::2, ::2],
        original_image=np.zeros((*large, 3), np.uint8),
        original_label_map=labels,
        source="mine",
        unannotated=mask[::2, ::2] if masked else None,
        original_unannotated=mask if masked else None,
    )


def written(root: Path, examples: list[Example], shards: int) -> Path:
    """A packed folder with shards; its test image is a file."""
    test = dataclasses.replace(examples[0], id="test")
    dataset = Dataset("folder/x_none", {"train": examples, "test": [test]}, {"stain": "none"})
    folder = root / "folder/x_none"
    packed.write(dataset, folder, overwrite=True, shards=shards)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three training images in two shards, to damage; the second one is annotated in part."""
    return written(tmp_path, [drawn(i, 40, 50, masked=i == 1) for i in range(3)], shards=2)


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.integers(1, 30), st.integers(1, 30), st.booleans(), st.booleans()),
        min_size=1,
        max_size=7,
    ),
    st.data(),
)
def test_what_is_written_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[tuple[int, int, bool, bool]],
    draws: st.DataObject,
) -> None:
    """Pixels, what training is taught of them, and what is known without reading them, of any shards."""
    examples = [
        drawn(i, height, width, nuclei=nuclei, masked=masked)
        for i, (height, width, nuclei, masked) in enumerate(images)
    ]
    shards = draws.draw(st.integers(1, len(examples)))
    folder = written(tmp_path_factory.mktemp("shards"), examples, shards)
    assert len(list((folder / "image").glob("*.array_record"))) == -(
        -len(images) // -(-len(images) // shards)
    )
    dataset = packed.read(folder)
    assert dataset.metadata == {"stain": "none"} and dataset.prepared_mpp == 0.5
    for found, given_one in zip(dataset.splits["train"], examples, strict=True):
        for fact in FACTS:
            assert getattr(found, fact) == getattr(given_one, fact), fact
        for kind in PIXELS:
            a, b = getattr(found, kind), getattr(given_one, kind)
            assert (a is None) == (b is None), kind
            if a is not None:
                assert a.dtype == b.dtype, kind
                np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(found.depth, relative_depth(given_one.label_map))
        assert found.original_image is None and not found.has_original
    (test,) = dataset.splits["test"]
    np.testing.assert_array_equal(test.scored_image(), examples[0].scored_image())


def test_depths_of_a_part_are_those_that_are_known(tmp_path: Path) -> None:
    """A nucleus that the border cuts off is unknown as a whole."""
    labels = np.zeros((20, 20), np.int32)
    labels[10:14, 3:9] = 7
    partly = dataclasses.replace(drawn(0, 20, 20, masked=True), label_map=labels)
    found, whole = packed.read(written(tmp_path, [partly, drawn(1, 8, 8)], shards=1)).splits["train"]
    expected = partly.unannotated | (labels == 7)  # type: ignore[operator]
    np.testing.assert_array_equal(found.unknown_depth, expected)
    np.testing.assert_array_equal(found.depth, relative_depth(labels))
    assert not whole.unknown_depth.any()


def test_images_are_packed_one_by_one_and_ordered_by_id(tmp_path: Path) -> None:
    """As those of a dataset beyond memory come: in the order of its files."""

    class Stored:
        name, metadata = "folder/x_none", {"stain": "none"}
        taken = 0

        def __len__(self) -> int:
            return 40

        def __iter__(self) -> Iterator[Example]:
            for i in reversed(range(10, 50)):
                self.taken += 1
                kept.append(weakref.ref(found := drawn(i, 8, 9, masked=i % 2 == 0)))
                assert sum(reference() is not None for reference in kept) <= 2 * usable_cores() + 2
                yield found

        @property
        def splits(self) -> dict[str, "Stored"]:
            return {"train": self}

    kept: list[weakref.ref[Example]] = []
    stored = Stored()
    packed.write(stored, tmp_path / "folder/x_none", overwrite=False, shards=3)
    assert stored.taken == 40
    examples = packed.read(tmp_path / "folder/x_none").splits["train"]
    assert [e.id for e in examples] == [f"image {i}" for i in range(10, 50)]
    for i, found in enumerate(examples, start=10):
        np.testing.assert_array_equal(found.image, drawn(i, 8, 9).image)
        assert (found.unannotated is None) == (i % 2 == 1)


def test_what_is_checked_before_training_reads_no_pixel(folder: Path, tiny_config: ConfigDict) -> None:
    """Only the masks of images that are annotated in part: all other shards are overwritten here."""
    before = packed.read(folder)
    expected = train.plan_patches(tiny_config, before.splits["train"])
    for shard in folder.rglob("*.array_record"):
        if shard.parent.name != "unannotated":
            shard.write_bytes(bytes(70000))
    dataset = packed.read(folder)
    examples = dataset.splits["train"]
    assert train.plan_patches(tiny_config, examples) == expected
    dataset.check_sizes(32, 40)
    assert dataset.prepared_mpp == 0.5
    assert check_nuclei("x", "images", examples) is None
    assert "1 of 3 images are annotated in part" in (check_annotated("x", "images", examples) or "")
    assert annotated_share(examples) == pytest.approx(5 / 6)
    with pytest.raises(DataError, match=r"image/00000\.array_record: .*nucseg prepare pack --overwrite"):
        _ = examples[0].image


def test_a_copy_can_be_made_of_shards(folder: Path) -> None:
    """Into others, and into files, in its own place."""
    before = [e.loaded() for e in packed.read(folder).splits["train"]]
    for shards in (3, 1, None):
        packed.write(packed.read(folder), folder, overwrite=True, shards=shards)
        found = packed.read(folder).splits["train"]
        assert [e.in_memory for e in found] == [shards is None] * 3
        for a, b in zip(found, before, strict=True):
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.original_label_map, b.original_label_map)
    assert not list(folder.rglob("*.array_record"))


def test_a_damaged_record_is_named(folder: Path) -> None:
    """One bit decides, wherever it is: pixels are right, or a line names shard, image and remedy."""
    (known,) = [e.loaded() for e in packed.read(folder).splits["train"][2:]]
    path = folder / "image/00001.array_record"
    content = path.read_bytes()
    place = content.index(b"WEBPVP8L") + 60
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    first, _, third = packed.read(folder).splits["train"]
    assert first.image.shape == (40, 50, 3), "the other shard is whole"
    with pytest.raises(DataError, match=r"image/00001\.array_record: .*nucseg prepare pack --overwrite"):
        _ = third.image
    np.testing.assert_array_equal(third.label_map, known.label_map)
    for kept in (0, 1000, 65536, len(content) - 7):
        path.write_bytes(content[:kept])
        with pytest.raises(DataError, match=r"image/00001\.array_record: .*nucseg prepare pack --overwrite"):
            _ = packed.read(folder).splits["train"][2].image


def test_a_missing_shard_is_found_before_anything_is_read(folder: Path) -> None:
    (folder / "depth/00001.array_record").unlink()
    with pytest.raises(DataError, match=r"depth/00001\.array_record: is missing \(1 of 11 files are\)"):
        packed.read(folder)


def test_scored_images_are_read_when_they_are_asked_for(folder: Path) -> None:
    """They are files; one that is damaged or missing is named."""
    path = folder / "original_image/test.webp"
    (test,) = packed.read(folder).scored()["test"]
    assert test.has_original and not test.in_memory and test.scored_image().shape == (80, 100, 3)
    np.testing.assert_array_equal(test.depth, relative_depth(test.label_map))
    path.write_bytes(path.read_bytes()[:-9])
    (test,) = packed.read(folder).scored()["test"]
    with pytest.raises(DataError, match=r"original_image/test\.webp: test: damaged or replaced"):
        test.scored_image()
    assert test.original_size == (80, 100)
    path.unlink()
    with pytest.raises(DataError, match=r"original_image/test\.webp: is missing \(1 of 4 files are\)\. Pack"):
        packed.read(folder)
    with pytest.raises(DataError, match=r"original_image/test\.webp: cannot be read \(No such file"):
        test.scored_image()


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Dataset:
    """The dataset after a change of its index, as by one who makes its digest fit."""
    index = json.loads((folder / INDEX).read_text())
    change(index)
    (folder / INDEX).write_text(json.dumps(index | {DIGEST: sha256_of(index, DIGEST)}))
    return packed.read(folder)


def test_records_that_are_not_those_of_the_index_are_refused(folder: Path) -> None:
    def swap(index: dict[str, Any]) -> None:
        a, b, _ = index["splits"]["train"]
        a["records"]["image"], b["records"]["image"] = b["records"]["image"], a["records"]["image"]

    def smaller(index: dict[str, Any]) -> None:
        index["splits"]["train"][2]["size"] = [50, 40]

    def beyond(index: dict[str, Any]) -> None:
        index["splits"]["train"][2]["records"]["image"] = 3

    swapped = changed(folder, swap).splits["train"]
    for example in swapped[:2]:
        message = rf"00000\.array_record: {example.id}: damaged or replaced: its SHA-256 is not the one in"
        with pytest.raises(DataError, match=message):
            _ = example.image
    with pytest.raises(
        DataError, match=r"image 2: its label_map is \(40, 50\), and packed.json says \(50, 40"
    ):
        _ = changed(folder, smaller).splits["train"][2].label_map
    with pytest.raises(DataError, match=r"00001\.array_record: record 1 cannot be read \(.*out of bound"):
        _ = changed(folder, beyond).splits["train"][2].image


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", [40]),
        ("size", [40, 0]),
        ("size", [40, 16384]),
        ("original_size", [40.0, 50]),
        ("nuclei", -1),
        ("nuclei", True),
        ("unannotated_px", None),
        ("records", {"image": 0}),
        ("records", []),
        ("sha256", {"image": "", "label_map": "", "original_label_map": ""}),
    ],
)
def test_an_entry_that_does_not_tell_all_is_refused(key: str, value: object, folder: Path) -> None:
    def change(index: dict[str, Any]) -> None:
        index["splits"]["train"][0][key] = value

    with pytest.raises(DataError, match=r"packed\.json: damaged \(splits, ids"):
        changed(folder, change)


@pytest.mark.parametrize("per_shard", [0, -1, "2", None, True])
def test_a_number_of_images_a_shard_that_is_none_is_refused(per_shard: object, folder: Path) -> None:
    with pytest.raises(DataError, match=r"packed\.json: damaged \(splits, ids"):
        changed(folder, lambda index: index.update(images_per_shard=per_shard))


def test_pixels_of_another_kind_are_refused(tmp_path: Path) -> None:
    """Whoever wrote them made all digests fit."""
    whole = drawn(0, 8, 8, masked=True)
    grey = dataclasses.replace(whole, unannotated=np.ones((8, 8), np.uint8))
    dataset = Dataset("folder/y_none", {"train": [grey]}, {})
    packed.write(dataset, tmp_path / "folder/y_none", overwrite=False, shards=1)
    (found,) = packed.read(tmp_path / "folder/y_none").splits["train"]
    with pytest.raises(DataError, match=r"image 0: its unannotated is uint8 \(8, 8\)\. Pack"):
        _ = found.unannotated


def test_more_shards_than_images_are_refused(tmp_path: Path) -> None:
    """And more than a process may hold open."""
    with pytest.raises(DataError, match=r"--shards 3 must be from 1 to 2 \(it has 2 training images"):
        written(tmp_path, [drawn(i, 8, 8) for i in range(2)], shards=3)
    with pytest.raises(DataError, match=r"--shards 101 must be from 1 to 100 \(it has 120 training images"):
        written(tmp_path, [drawn(0, 8, 8)] * 120, shards=101)
    assert not (tmp_path / "folder/x_none").exists()


def test_a_failure_leaves_the_older_folder(folder: Path) -> None:
    before = sorted(p.name for p in folder.parent.iterdir())
    bad = dataclasses.replace(drawn(1, 8, 8), label_map=np.full((8, 8), 65536, np.int32))
    with pytest.raises(DataError, match="image 1: label map has ids from 65536"):
        written(folder.parents[1], [drawn(0, 8, 8), bad], shards=1)
    assert sorted(p.name for p in folder.parent.iterdir()) == before
    assert len(packed.read(folder).splits["train"]) == 3


def test_a_missing_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "array_record.python", None)
    with pytest.raises(MissingExtraError, match=r'pip install -e "\.\[shards\]"'):
        packed.read(folder)


def test_the_command_packs_shards(tiny_config: ConfigDict, tiny_dataset: Path, tmp_path: Path) -> None:
    prepared = data.load(tiny_config.data)
    options = ["--dataset", "folder", "--split", "synthetic", "--shards", "2", "--out", str(tmp_path)]
    pack.main(["--data-dir", str(tiny_dataset), *options])
    tiny_config.data.dir = str(tmp_path)
    found = data.load(tiny_config.data)
    assert found.metadata == prepared.metadata and list(found.splits) == list(prepared.splits)
    for split, examples in prepared.splits.items():
        for a, b in zip(found.splits[split], examples, strict=True):
            assert not a.in_memory
            np.testing.assert_array_equal(a.image, b.image)
            np.testing.assert_array_equal(a.original_label_map, b.original_label_map)
    names = {p.name for p in (tmp_path / "folder/synthetic_none/image").iterdir()}
    (test,) = found.splits["test"]
    assert names == {"00000.array_record", "00001.array_record", f"{test.id}.webp"}
