"""Other tools' label maps; what else `read_label_map` refuses is in tests/io/test_label_maps.py."""

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.io import savemat

from nucseg_jax.errors import DataError
from nucseg_jax.evaluation.external import find, note, read

LABELS = np.array([[0, 7, 7], [0, 0, 200]])


def save(path, labels):
    suffix = path.suffix.lower()
    if suffix == ".npy":
        with path.open("wb") as file:  # np.save would add .npy to .NPY
            np.save(file, labels)
    elif suffix == ".png":
        Image.fromarray(labels).save(path)
    elif suffix == ".mat":
        # As HoVer-Net's infer/tile.py: the map, and a row a nucleus of what it knows of it.
        savemat(path, {"inst_map": labels, "inst_uid": [[7], [200]], "inst_centroid": [[1.5, 0], [2, 1]]})
    else:
        tifffile.imwrite(path, labels)
    return path


# --- read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.png", "uint8"), ("a.PNG", "uint16")]
    + [(name, dtype) for name in ("a.tif", "a.TIFF") for dtype in ("uint8", "uint16", "uint32", "int32")]
    + [("a.npy", dtype) for dtype in ("uint8", "int16", "int32", "int64")]
    + [("a.mat", dtype) for dtype in ("uint8", "uint16", "int32", ">i4", "int64", "float32", "float64")],
)
def test_what_was_written_is_read(tmp_path, name, dtype):
    labels = read(save(tmp_path / name, LABELS.astype(dtype)), (2, 3))
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, LABELS)


@pytest.mark.parametrize("options", [{"format": "4"}, {"do_compression": True}])
def test_mat_of_other_versions(tmp_path, options):
    savemat(tmp_path / "a.mat", {"inst_map": LABELS.astype(float)}, **options)
    np.testing.assert_array_equal(read(str(tmp_path / "a.mat"), (2, 3)), LABELS)


def test_ids_beyond_16_bits(tmp_path):
    for name in ("a.tif", "a.npy", "a.mat"):
        path = save(tmp_path / name, (LABELS * 100_000).astype(np.int32))
        assert read(path, (2, 3)).max() == 20_000_000


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "a.mat"])
def test_another_shape_a_damaged_and_a_missing_file(tmp_path, name):
    path = save(tmp_path / name, np.ones((50, 60), np.uint16))
    with pytest.raises(DataError, match=r"is 50 x 60 \(height x width\), but its image is 60 x 50") as caught:
        read(path, (60, 50))
    assert str(path) in str(caught.value)
    whole = path.read_bytes()
    for length in (0, 60, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="again") as caught:
            read(path, (50, 60))
        assert str(path) in str(caught.value)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read(path, (50, 60))


@pytest.mark.parametrize("name", ["a.tif", "a.npy", "a.mat"])
@pytest.mark.parametrize("value", [0.5, np.nan, 1e300])
def test_probabilities_are_no_label_maps(tmp_path, name, value):
    labels = np.where(LABELS == 7, value, 0)
    # Whole doubles are MATLAB's integers; those of other formats are somebody's mistake.
    for kind in [labels] if name == "a.mat" else [labels, LABELS.astype(float)]:
        with pytest.raises(DataError, match="holds float64, but a label map holds integers"):
            read(save(tmp_path / name, kind), (2, 3))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS - 1, "labels from -1 to 199"),
        (LABELS * 2.0**40, "Renumber them"),
        (np.zeros((2, 3, 3)), r"shape \(2, 3, 3\)"),
        (LABELS > 0, "holds bool, but a label map holds integers"),
        (np.array([["a"]], dtype=object), "inst_map is a cell array, but a label map is a matrix of numbers"),
    ],
)
def test_mat_without_a_label_map_in_it(tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        read(save(tmp_path / "a.mat", labels), (2, 3) if labels.shape != (1, 1) else (1, 1))


def test_mat_with_the_map_under_another_name(tmp_path):
    savemat(tmp_path / "a.mat", {"instances": LABELS, "type_map": LABELS})
    with pytest.raises(DataError, match="no variable 'inst_map'.*but instances, type_map. Save"):
        read(tmp_path / "a.mat", (2, 3))


def test_mat_7_3_is_named(tmp_path):
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(header.ljust(512, b"\0") + b"\x89HDF\r\n\x1a\n" + bytes(200))
    with pytest.raises(DataError, match=r"version 7.3 \(HDF5\).*'-v7'\), or as NPY"):
        read(tmp_path / "a.mat", (2, 3))


def test_no_mat_file(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"instances\n" * 50)
    with pytest.raises(DataError, match="cannot be read as a MAT file"):
        read(tmp_path / "a.mat", (2, 3))


def test_an_unknown_format(tmp_path):
    with pytest.raises(DataError, match=r"a\.gif: a label map must be one of \.png, .*\.mat"):
        read(tmp_path / "a.gif", (2, 3))


# --- find ------------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_names(tmp_path):
    touch(tmp_path, "a.png", "b_label.TIF", "c_mask.npy", "d_PRED.Mat", "e.tiff", "f.x.png")
    touch(tmp_path, "a.json", "notes.txt", "._a.png", "overlay/a.png", "other.png")
    assert find(tmp_path, ["f.x", "e", "d", "c", "b", "a"]) == {
        "f.x": tmp_path / "f.x.png",
        "e": tmp_path / "e.tiff",
        "d": tmp_path / "d_PRED.Mat",
        "c": tmp_path / "c_mask.npy",
        "b": tmp_path / "b_label.TIF",
        "a": tmp_path / "a.png",
    }
    assert list(find(str(tmp_path), iter(["b", "a", "b"]))) == ["b", "a"]
    assert find(tmp_path, []) == {}


def test_an_id_that_looks_like_another_with_an_ending(tmp_path):
    touch(tmp_path, "a_mask.png", "a_pred.png")
    assert find(tmp_path, ["a", "a_mask"]) == {
        "a": tmp_path / "a_pred.png",
        "a_mask": tmp_path / "a_mask.png",
    }
    with pytest.raises(DataError, match="a: 2 files, keep one of a_mask.png, a_pred.png"):
        find(tmp_path, ["a"])


def test_one_error_lists_all_that_is_missing_or_double(tmp_path):
    touch(tmp_path, "TCGA-A7-1.png", "TCGA-B0-1.png", "TCGA-B0-1_pred.mat", "tcga-CH-1_cp_masks.png")
    touch(tmp_path, "TCGA-DK-1.jpg", "TCGA-KX-1.png", "mat/TCGA-ZZ-1.mat", "overlay/TCGA-ZZ-1.png")
    with pytest.raises(DataError) as caught:
        find(tmp_path, ["TCGA-A7-1", "TCGA-B0-1", "TCGA-CH-1", "TCGA-DK-1", "TCGA-KB-1", "y"])
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: 5 of 6 images have no label map, or several:",
        "  TCGA-B0-1: 2 files, keep one of TCGA-B0-1.png, TCGA-B0-1_pred.mat",
        "  TCGA-CH-1: none (renamed? tcga-CH-1_cp_masks.png)",
        "  TCGA-DK-1: none (renamed? TCGA-DK-1.jpg)",
        "  TCGA-KB-1: none (renamed? TCGA-KX-1.png, TCGA-DK-1.jpg)",
        "  y: none",
        "Looked for ID, ID_label, ID_mask, ID_pred with .png, .tif, .tiff, .npy, .mat; "
        "not in the folders below: mat, overlay",
    ]


def test_an_empty_and_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="1 of 1 images have no label map"):
        find(tmp_path, ["a"])
    touch(tmp_path, "a.png")
    for folder in (tmp_path / "absent", tmp_path / "a.png"):
        with pytest.raises(DataError, match="no such folder"):
            find(folder, ["a"])


def test_masks_are_read_and_noted(tmp_path):
    """How good another tool's map is, scores tell: one number in four pieces does not end them."""
    labels = np.zeros((10, 60), np.uint16)
    for i in range(6):
        labels[2:8, 10 * i + 2 : 10 * i + 8] = 1
    path = save(tmp_path / "a.png", labels)
    found = read(path, labels.shape)
    np.testing.assert_array_equal(found, labels)
    assert note(path, found) == (
        f"{path}: 6 separate pieces have one number, so this is a mask or a map of classes. Its scores count "
        "each number as one nucleus"
    )
    many = np.kron(np.arange(1, 101).reshape(10, 10), np.pad(np.ones((4, 4), int), 1)).astype(np.uint16)
    many[many > 96] = 97
    assert note(path, read(save(tmp_path / "b.png", many), many.shape)) is None
