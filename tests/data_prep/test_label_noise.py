"""Wrong labels on purpose: each kind of error by hand, their shares, what must not change, the command."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from data_prep import label_noise
from data_prep.label_noise import add_noise, corrupt
from nucseg_jax import data
from nucseg_jax.data import packed
from nucseg_jax.data.dataset import Dataset, Example
from nucseg_jax.data.encoded import LARGEST_ID
from nucseg_jax.data.packed_index import INDEX
from nucseg_jax.errors import DataError, UserError

OPTIONS: dict[str, Any] = {"rate": 0.2, "shift_px": 6, "dilate_px": 3}
KEYS = ("image", "label_map", "original_image", "original_label_map")


class Fixed(np.random.Generator):
    """Draws what it is told: each nucleus's kind (None: right) and, for all, the angle."""

    def __init__(self, *kinds: str | None, angle: float = 0.0):
        super().__init__(np.random.PCG64(0))
        self.kinds, self.angle = kinds, angle

    def random(self, size: int) -> np.ndarray:  # type: ignore[override]
        assert size == len(self.kinds)
        return np.array([1.0 if kind is None else 0.0 for kind in self.kinds])

    def integers(self, high: int, size: int) -> np.ndarray:  # type: ignore[override]
        return np.array([label_noise.KINDS.index(kind or "dropped") for kind in self.kinds])

    def uniform(self, low: float, high: float, size: int) -> np.ndarray:  # type: ignore[override]
        return np.full(size, self.angle)


def wrong(label_map: np.ndarray, *kinds: str | None, angle: float = 0.0, **options: int) -> np.ndarray:
    """The map with these errors; an angle of 0 points to the right, one of π/2 downwards."""
    return corrupt(label_map, Fixed(*kinds, angle=angle), **OPTIONS | options)[0]


def squares(count: int, side: int = 6, gap: int = 4) -> np.ndarray:
    """int32 [H, W] of count × count square nuclei."""
    labels = np.zeros((count * (side + gap), count * (side + gap)), np.int32)
    for i in range(count * count):
        top, left = (n * (side + gap) + gap // 2 for n in divmod(i, count))
        labels[top : top + side, left : left + side] = i + 1
    return labels


@pytest.fixture
def dataset() -> Dataset:
    """Three training images and a test image; the labels that are scored are not those trained on."""
    labels, image = squares(6), np.arange(60 * 60 * 3).reshape(60, 60, 3).astype(np.uint8)
    examples = [
        Example(name, "breast", image, labels, image[:40], np.flipud(labels)[:40])
        for name in ("a", "b.c d", "e", "test")
    ]
    return Dataset(
        "folder/x_none", {"train": examples[:3], "test": examples[3:]}, {"stain": "none", "size": 8}
    )


@pytest.fixture
def source(dataset: Dataset, tmp_path: Path) -> Path:
    """The folder where it is packed."""
    packed.write(dataset, tmp_path / "source" / dataset.name, overwrite=False)
    return tmp_path / "source"


def test_dropped_nuclei_are_background() -> None:
    labels = np.array([[1, 1, 0, 7], [1, 0, 9, 7]], np.int32)
    np.testing.assert_array_equal(wrong(labels, "dropped", None, "dropped"), [[0, 0, 0, 7], [0, 0, 0, 7]])


@pytest.mark.parametrize(
    ("angle", "down", "right"), [(0, 0, 4), (np.pi / 2, 4, 0), (np.pi, 0, -4), (np.pi / 4, 3, 3), (4, -3, -3)]
)
def test_shifted_nuclei_move_and_are_cut_at_the_edge(angle: float, down: int, right: int) -> None:
    labels = np.zeros((20, 20), np.int32)
    labels[8:11, 8:13] = 5
    labels[9, 10] = 0  # its hole moves with it
    expected = np.zeros_like(labels)
    expected[8 + down : 11 + down, 8 + right : 13 + right] = 5
    expected[9 + down, 10 + right] = 0
    np.testing.assert_array_equal(wrong(labels, "shifted", angle=angle, shift_px=4), expected)
    edge = np.zeros((3, 8), np.int32)
    edge[1, 4:7] = 5
    np.testing.assert_array_equal(wrong(edge, "shifted", shift_px=2)[1], [0, 0, 0, 0, 0, 0, 5, 5])
    moved, counts = corrupt(edge, Fixed("shifted"), rate=0.2, shift_px=4, dilate_px=1)
    assert not moved.any() and counts["hidden"] == 1


def test_dilated_nuclei_grow_by_a_disk() -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[4, 4] = 5
    distance = np.hypot(*np.mgrid[-4:5, -4:5])
    for radius in (1, 2, 3):
        expected = np.where(distance <= radius, 5, 0)
        np.testing.assert_array_equal(wrong(labels, "dilated", dilate_px=radius), expected)
    corner = np.zeros((4, 4), np.int32)
    corner[0, 0] = 5
    np.testing.assert_array_equal(wrong(corner, "dilated", dilate_px=1)[:2, :2], [[5, 5], [5, 0]])


def test_no_nucleus_takes_pixels_of_another() -> None:
    row = np.array([[0, 3, 3, 0, 0, 5, 5, 0, 0, 9, 0, 0, 0]], np.int32)
    # 3 goes under 5, which is right; 9 grows to it.
    result = wrong(row, "shifted", None, "dilated", shift_px=3)
    np.testing.assert_array_equal(result, [[0, 0, 0, 0, 3, 5, 5, 9, 9, 9, 9, 9, 9]])
    # The place of a shifted or dropped nucleus is free; of two that want a pixel, the lower id has it.
    result = wrong(row, "dilated", "shifted", "dropped", shift_px=2)
    np.testing.assert_array_equal(result, [[3, 3, 3, 3, 3, 3, 0, 5, 5, 0, 0, 0, 0]])
    # What grows keeps its own pixels, although the shifted one is painted first.
    result = wrong(row, "shifted", "dilated", None, shift_px=4, dilate_px=1)
    np.testing.assert_array_equal(result, [[0, 0, 0, 0, 5, 5, 5, 5, 0, 9, 0, 0, 0]])
    # All of 3 goes under 5.
    _, counts = corrupt(row, Fixed("shifted", None, None), rate=0.2, shift_px=4, dilate_px=1)
    assert counts == {"nuclei": 3, "dropped": 0, "shifted": 1, "dilated": 0, "hidden": 1}


@pytest.mark.parametrize("rate", [0, 0.1, 1 / 3])
def test_shares_and_what_is_right(rate: float) -> None:
    labels = squares(60)
    labels[labels > 0] += LARGEST_ID - 3600
    before = labels.copy()
    noisy, counts = corrupt(labels, np.random.default_rng(3), rate=rate, shift_px=6, dilate_px=3)
    np.testing.assert_array_equal(labels, before)  # the argument is left alone
    assert noisy.dtype == np.int32 and noisy.shape == labels.shape
    assert counts["nuclei"] == 3600
    for kind in label_noise.KINDS:
        assert counts[kind] == pytest.approx(3600 * rate, abs=4 * np.sqrt(3600 * rate * (1 - rate)))
    ids = np.unique(noisy)
    assert ids.max() <= LARGEST_ID and np.isin(ids, labels).all()
    assert len(ids) - 1 == 3600 - counts["dropped"] - counts["hidden"]
    size, old = np.bincount(noisy.ravel()), 6 * 6
    kept = np.bincount(labels[noisy == labels], minlength=size.size)
    right = (size == old) & (kept == old)
    grown, moved = (size > old) & (kept == old), (size > 0) & (size <= old) & (kept < old)
    assert grown.sum() == counts["dilated"]
    assert moved.sum() == counts["shifted"] - counts["hidden"]
    assert right.sum() == 3600 - sum(counts[kind] for kind in label_noise.KINDS)


def test_a_higher_rate_makes_the_same_errors_and_more() -> None:
    """So that two rates differ by the added errors alone."""
    labels = squares(20, gap=20)  # no two meet, whatever is wrong
    few, many = (
        corrupt(labels, np.random.default_rng(0), rate=rate, shift_px=6, dilate_px=3)[0]
        for rate in (0.1, 0.3)
    )
    tiles = [m.reshape(20, 26, 20, 26).swapaxes(1, 2).reshape(400, -1) for m in (labels, few, many)]
    changed = (tiles[0] != tiles[1]).any(axis=1)
    assert 80 < changed.sum() < 160
    np.testing.assert_array_equal(tiles[1][changed], tiles[2][changed])


def test_a_map_without_nuclei() -> None:
    noisy, counts = corrupt(np.zeros((5, 7), np.int32), np.random.default_rng(0), **OPTIONS)
    assert noisy.shape == (5, 7) and not noisy.any() and not any(counts.values())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("rate", 0.4, "--rate must be from 0 to 1/3, got 0.4"),
        ("rate", -0.1, "--rate must be .*, got -0.1"),
        ("rate", float("nan"), "--rate must be .*, got nan"),
        ("shift_px", 0, "--shift-px must be at least 1 pixel, got 0"),
        ("dilate_px", -3, "--dilate-px must be at least 1 pixel, got -3"),
        ("seed", -1, "--seed must not be negative, got -1"),
        (
            "clean",
            ["a", "zz"],
            "--clean names zz, not in the training split of folder/x_none, .*: a, b.c d, e",
        ),
        ("clean", ["test"], "--clean names test, not in the training split"),
        ("clean", ["a", "b.c d", "e"], "no training image is left to change: it has 3"),
    ],
)
def test_bad_values_are_named(option: str, value: Any, message: str, dataset: Dataset) -> None:
    with pytest.raises(UserError, match=message):
        add_noise(dataset, **OPTIONS | {"seed": 0, "clean": []} | {option: value})


def test_only_label_maps_of_training_images_change(dataset: Dataset) -> None:
    noisy, counts = add_noise(dataset, **OPTIONS, seed=0, clean=["e", "a", "e"])
    noise = {"rate": 0.2, "shift_px": 6, "dilate_px": 3, "seed": 0, "clean": ["a", "e"]}
    assert noisy.metadata == {"stain": "none", "size": 8, "label_noise": noise}
    assert counts["nuclei"] == 36, "of b alone"
    for split, examples in dataset.splits.items():
        for before, after in zip(examples, noisy.splits[split], strict=True):
            changed = [key for key in KEYS if not np.array_equal(getattr(before, key), getattr(after, key))]
            assert (after.id, changed) == (before.id, ["label_map"] if before.id == "b.c d" else [])
    with pytest.raises(DataError, match=r"has annotation errors already \({'rate': 0.2"):
        add_noise(noisy, **OPTIONS, seed=0, clean=[])


def test_errors_depend_on_seed_and_id_alone(dataset: Dataset) -> None:
    def maps(dataset: Dataset, seed: int, clean: list[str]) -> dict[str, bytes]:
        noisy, _ = add_noise(dataset, **OPTIONS, seed=seed, clean=clean)
        return {e.id: e.label_map.tobytes() for e in noisy.splits["train"]}

    first = maps(dataset, 0, [])
    assert maps(dataset, 0, []) == first
    assert len(set(first.values())) == 3, "the images have the same nuclei, and other errors"
    assert not set(maps(dataset, 1, []).values()) & set(first.values())
    assert maps(dataset, 0, ["a"])["e"] == first["e"]
    backwards = dataclasses.replace(dataset, splits={"train": dataset.splits["train"][::-1]})
    assert maps(backwards, 0, []) == first


def arguments(source: Path, out: Path, *more: str) -> list[str]:
    return [
        "--source",
        f"{source}",
        "--out",
        f"{out}",
        "--dataset",
        "folder",
        "--split",
        "x",
        "--stain",
        "none",
    ] + [*(more or ("--rate", "0.2"))]


def fails(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    with pytest.raises(SystemExit) as caught:
        label_noise.main(list(options))
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_the_command(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, name = tmp_path / "out", "folder/x_none"
    label_noise.main(arguments(source, out, "--rate", "0.3", "--seed", "4", "--clean", "a", "--clean", "e"))
    before = packed.read(source / name)
    after = data.load(
        ConfigDict({"dir": f"{out}", "dataset": "folder", "split": "x", "stain": "none", "size": None})
    )
    expected, counts = add_noise(before, rate=0.3, shift_px=6, dilate_px=3, seed=4, clean=["a", "e"])
    assert after.name == name and after.metadata == expected.metadata
    np.testing.assert_array_equal(after.splits["train"][1].label_map, expected.splits["train"][1].label_map)
    printed = capsys.readouterr().out
    assert "1 of 3 training images changed, with 36 nuclei" in printed
    assert all(f"  {counts[kind]} {kind}" in printed for kind in label_noise.KINDS)
    indices = [json.loads((root / name / INDEX).read_text()) for root in (source, out)]
    files = [
        {
            (e["id"], key): sha
            for split in index["splits"].values()
            for e in split
            for key, sha in e["sha256"].items()
        }
        for index in indices
    ]
    assert files[0].keys() == files[1].keys()
    assert [key for key in files[0] if files[0][key] != files[1][key]] == [("b.c d", "label_map")]


def test_the_command_needs_no_tensorflow() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None; "
        "import data_prep.label_noise"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_command_refuses(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    message = fails(capsys, *arguments(source, out, "--rate", "0.5"))
    assert message.startswith("error: --rate must be from 0 to 1/3, got 0.5: each of 3 kinds of error has")
    assert message.count("\n") == 1
    assert not out.exists()
    message = fails(capsys, *arguments(source, out, "--rate", "0.1", "--size", "512"))
    assert f"{source}/folder/x_none_512: no packed dataset. Make it with `nucseg prepare pack`" in message
    for same in (source, out / ".." / "source"):
        message = fails(capsys, *arguments(source, same, "--rate", "0.1", "--overwrite"))
        assert f"{same}/folder/x_none: is the source, or holds it. Give another --out" in message
    label_noise.main(arguments(source, out))
    assert "already packed. Give --overwrite" in fails(capsys, *arguments(source, out))
    label_noise.main(arguments(source, out, "--rate", "0.1", "--overwrite"))
    assert packed.read(out / "folder/x_none").metadata["label_noise"]["rate"] == 0.1
    assert "has annotation errors already" in fails(capsys, *arguments(out, tmp_path / "again"))
