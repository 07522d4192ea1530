"""Label maps of every format and type, and those that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from nucseg_jax.errors import DataError
from nucseg_jax.io.label_maps import (
    check_areas,
    check_for_training,
    looks_like_mask,
    looks_like_picture,
    pieces_of,
    read_label_map,
)

LABELS = np.array([[0, 1, 1], [0, 7, 0]])


def save_labels(path, labels):
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.suffix == ".png":
        Image.fromarray(labels).save(path)
    else:
        tifffile.imwrite(path, labels)
    return path


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [(".png", "uint8"), (".png", "uint16")]
    + [(".tif", dtype) for dtype in ("uint8", "uint16", "uint32", "int32")]
    + [(".npy", dtype) for dtype in ("uint8", "int16", "int32", "uint32", "int64")],
)
def test_label_formats(tmp_path, suffix, dtype):
    path = save_labels(tmp_path / f"a{suffix}", LABELS.astype(dtype))
    labels = read_label_map(path, (2, 3))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, LABELS)


def test_more_than_16_bits(tmp_path):
    path = save_labels(tmp_path / "a.tif", (LABELS * 100_000).astype(np.uint32))
    assert read_label_map(path, (2, 3)).max() == 700_000


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("a.npy", LABELS.astype(np.float32), "holds float32"),
        ("a.npy", LABELS.astype(bool), "holds bool"),
        ("a.npy", LABELS - 1, "labels from -1 to 6"),
        ("a.npy", LABELS + 2**31, "labels from"),
        ("a.npy", LABELS[None], r"shape \(1, 2, 3\)"),
        ("a.npy", LABELS.T, r"is 3 x 2 \(height x width\), but its image is 2 x 3"),
        ("a.npy", np.array([[None]]), "without pickles"),
        ("a.png", np.zeros((2, 3, 3), np.uint8), "a colour for each nucleus"),
        ("a.png", np.zeros((2, 3), bool), "black and white"),
        ("a.tif", np.zeros((2, 3), np.float32), "holds float32"),
    ],
)
def test_unusable_labels(tmp_path, name, labels, message):
    path = save_labels(tmp_path / name, labels)
    with pytest.raises(DataError, match=message) as caught:
        read_label_map(path, (2, 3))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy"])
def test_damaged_labels(tmp_path, name):
    path = save_labels(tmp_path / name, np.ones((50, 50), np.uint16))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="again") as caught:
        read_label_map(path, (50, 50))
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="no such file"):
        read_label_map(tmp_path / f"absent{path.suffix}", (50, 50))


def test_unknown_label_format(tmp_path):
    with pytest.raises(DataError, match="must be one of"):
        read_label_map(tmp_path / "a.gif", (2, 3))


def squares(*numbers: int) -> np.ndarray:
    """A nucleus of 4×4 pixels for each number, none touching another."""
    labels = np.zeros((6, 6 * len(numbers)), np.uint16)
    for i, number in enumerate(numbers):
        labels[1:5, 6 * i + 1 : 6 * i + 5] = number
    return labels


MASK = r"separate pieces have (one number|\d numbers), so this is a mask or a map of classes"


def for_training(*maps: tuple[int, ...]) -> None:
    check_for_training({Path(f"{i}.png"): pieces_of(squares(*numbers)) for i, numbers in enumerate(maps)})


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ((255,) * 3, MASK),
        ((1,) * 40, MASK),
        ((1, 2, 1, 2, 2, 1, 2), MASK),  # a map of classes
        ((1, 2, 1, 2, 1, 2), MASK),  # of few nuclei
        ((*range(1, 30), *(40,) * 4), "number 40 stands for 4 separate pieces"),
    ],
)
def test_masks_and_maps_of_classes_are_not_trained_on(numbers, named):
    with pytest.raises(DataError, match=f"1.png: .*{named}.*skimage.measure.label"):
        for_training((1, 2), numbers)


@pytest.mark.parametrize("numbers", [(1,), (1, 1), (1, 2, 3), (1, 2, 2, 3, 3, 3), ()])
def test_a_nucleus_may_have_a_few_pieces(numbers):
    for_training(numbers)
    for_training(numbers, tuple(range(1, 20)))


def test_the_same_few_numbers_in_all_maps_are_classes():
    """Each map by itself may be one of a nucleus in two pieces."""
    with pytest.raises(DataError, match=r"1.png: .* only the numbers 1, 2, of 1.8 separate .*classes"):
        for_training((), (1, 1, 2, 2), (2, 2), (1, 2, 2))
    for_training((1, 2, 3), (1, 2, 2), (1, 2))


def field(number: int = 0) -> np.ndarray:
    """120 × 120 pixels with 36 nuclei."""
    labels = np.full((120, 120), number, np.int32)
    for i in range(36):
        y, x = divmod(i, 6)
        labels[20 * y + 2 : 20 * y + 16, 20 * x + 2 : 20 * x + 16] = i + 1
    return labels


def test_areas_that_no_nuclei_have(tmp_path):
    assert looks_like_picture(field()) is None
    assert looks_like_picture(np.zeros((200, 200), np.int32)) is None
    assert looks_like_picture(np.ones((99, 99), np.int32)) is None, "a small field may lie in a nucleus"
    noise = np.random.default_rng(0).integers(0, 2, (120, 120)) * np.arange(1, 120 * 120 + 1).reshape(
        120, 120
    )
    for labels, reason in (
        (field(65535), "number 65535 covers 51% of the image"),
        (field() + 1, "number 1 covers 51% of the image"),
        (np.arange(120 * 120).reshape(120, 120) // 60 + 1, "its 240 numbers cover 100% of the image"),
        (noise, r"most of its 7,\d\d\d numbers have fewer than 10 pixels, as in a picture"),
    ):
        with pytest.raises(DataError, match=rf"a\.png: {reason}\. Background must be 0, and each nucleus a"):
            check_areas(Path("a.png"), labels.astype(np.int32))


def test_pieces_without_crumbs():
    labels = squares(3, 3, 5)
    labels[0, 0] = 7
    assert pieces_of(labels) == {3: 2, 5: 1}


def test_a_mask_of_another_tool_is_told():
    assert looks_like_mask(pieces_of(squares(*range(1, 40), 50, 50, 50, 50))) is None
    assert "6 separate pieces have 2 numbers" in looks_like_mask(pieces_of(squares(1, 2, 1, 2, 1, 2)))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_label_map_that_some_programs_turn(tmp_path, name):
    """It would be turned and its image not, or the reverse; of a square nobody would notice."""
    path, labels = tmp_path / name, np.eye(4, dtype=np.uint16)
    for orientation in (1, 6):
        if path.suffix == ".tif":
            tifffile.imwrite(path, labels, extratags=[(274, 3, 1, orientation, True)])
        else:
            exif = Image.Exif()
            exif[274] = orientation
            Image.fromarray(labels).save(path, exif=exif)
        if orientation == 1:
            np.testing.assert_array_equal(read_label_map(path, (4, 4)), labels)
    with pytest.raises(DataError, match=rf"{name}: has orientation tag 6, .* without the tag"):
        read_label_map(path, (4, 4))


def test_several_label_maps_in_a_file(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for side in (4, 3):  # images of one size are one series of pages
            writer.write(np.ones((side, side), np.uint16), metadata=None)
    tifffile.imwrite(tmp_path / "b.tif", np.ones((2, 4, 4), np.uint16), photometric="minisblack")
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (1, 2)]
    frames[0].save(tmp_path / "c.png", save_all=True, append_images=frames[1:])
    for name in ("a.tif", "b.tif", "c.png"):
        with pytest.raises(DataError, match=f"{name}: holds 2 images, but a label map is one"):
            read_label_map(tmp_path / name, (4, 4))


def test_a_cut_off_tiff_under_another_name(tmp_path):
    """A label map's .png is a PNG, and not what else Pillow opens."""
    path = tmp_path / "a.png"
    with tifffile.TiffWriter(path) as writer:
        for _ in range(2):
            writer.write(squares(1, 2).astype(np.uint8), metadata=None)
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    path.write_bytes(path.read_bytes()[:second])
    with pytest.raises(DataError, match=r"a\.png: cannot be read as an image"):
        read_label_map(path, squares(1, 2).shape)


def test_a_label_map_with_a_pyramid(tmp_path):
    """As `nucseg predict` writes them: smaller copies are no maps of their own."""
    labels = np.repeat(np.repeat(np.arange(16, dtype=np.int32).reshape(4, 4), 16, 0), 16, 1)
    with tifffile.TiffWriter(tmp_path / "a.tif", ome=True) as writer:
        writer.write(labels, tile=(32, 32), subifds=1)
        writer.write(labels[::2, ::2], tile=(32, 32), subfiletype=1)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif", (64, 64)), labels)
