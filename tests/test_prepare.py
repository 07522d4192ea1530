"""data_prep's steps without TensorFlow: find, read, check, normalise, resize."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_prep import prepare, sources
from data_prep.manifest import ImageEntry, Manifest
from data_prep.normalize import StainWarning
from nucseg_jax import files
from nucseg_jax.errors import DataError, MissingExtraError, UserError
from nucseg_jax.images import pixel_sha256, read_image
from nucseg_jax.label_maps import read_label_map
from nucseg_jax.stain import NORMALIZERS
from nucseg_jax.stain import from_dict as stain_from_dict

SIDE = 64


def tissue(seed, side=SIDE):
    """A picture of two stains: uint8 [side, side, 3]."""
    rng = np.random.default_rng(seed)
    amounts = rng.gamma(2, 0.3, (side, side, 2)) * (rng.random((side, side, 2)) < 0.7)
    density = amounts @ np.array([[0.65, 0.70, 0.29], [0.10, 0.95, 0.28]])
    return (255 * np.exp(-density)).clip(0, 255).astype(np.uint8)


def square_xml(x, y):
    corners = ((x, y), (x + 6, y), (x + 6, y + 6), (x, y + 6))
    points = "".join(f'<Vertex X="{a}" Y="{b}"/>' for a, b in corners)
    return f"<Annotations><Region><Vertices>{points}</Vertices></Region></Annotations>"


def manifest_of(ids, target="", sha256=None):
    entries = [
        ImageEntry(image_id, "train" if i else "test", "liver", (sha256 or {}).get(image_id, ""))
        for i, image_id in enumerate(ids)
    ]
    return Manifest("mine", "", target, tuple(entries))


@pytest.fixture
def source(tmp_path):
    """A folder in the official layout: TCGA-1, TCGA-2, TCGA-3."""
    folder = tmp_path / "source"
    for name in ("Tissue Images", "Annotations"):
        (folder / name).mkdir(parents=True)
    for i in (1, 2, 3):
        Image.fromarray(tissue(i)).save(folder / "Tissue Images" / f"TCGA-{i}.tif", compression="tiff_lzw")
        (folder / "Annotations" / f"TCGA-{i}.xml").write_text(square_xml(4 * i, 4))
    return folder


IDS = ["TCGA-1", "TCGA-2", "TCGA-3"]


def planned(source, manifest=None, *, stain="none", backend="jax", size=None, mpp=None):
    return prepare.plan(
        manifest or manifest_of(IDS),
        source,
        stain=stain,
        stain_backend=backend,
        size=size,
        cache=source.parent / "cache",
        mpp=mpp,
    )


# Images


def test_read_image(source):
    image = read_image(source / "Tissue Images" / "TCGA-1.tif")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, tissue(1))


def test_pixel_hash_is_that_of_the_bytes(tmp_path):
    black = np.zeros((2, 2, 3), np.uint8)
    assert pixel_sha256(black) == "15ec7bf0b50732b49f8228e07d24365338f9e3ab994b00af08e5a3bffe55fd8b"
    Image.fromarray(tissue(1)).save(tmp_path / "a.png")
    assert pixel_sha256(read_image(tmp_path / "a.png")) == pixel_sha256(np.asfortranarray(tissue(1)))


@pytest.mark.parametrize(
    ("mode", "named"),
    [("L", "greyscale"), ("RGBA", "transparency"), ("P", "palette"), ("I;16", "I;16"), ("1", "black")],
)
def test_other_than_rgb_is_refused(tmp_path, mode, named):
    path = tmp_path / "grey.png"
    Image.new(mode, (8, 8)).save(path)
    with pytest.raises(DataError, match=named) as caught:
        read_image(path)
    assert str(path) in str(caught.value) and "not 8-bit RGB" in str(caught.value)


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg"])
def test_truncated_image(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(tissue(1)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="again") as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_no_image(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text\.png: cannot be read as an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"absent\.png: no such file"):
        read_image(tmp_path / "absent.png")


# Label maps

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


# Finding files


def test_official_layout_one_and_two_folders_deep(source, tmp_path):
    for folder in (source, source.parent):
        pair = sources.scan(folder).pairs(["TCGA-2"])["TCGA-2"]
        assert pair.image == source / "Tissue Images" / "TCGA-2.tif"
        assert pair.label == source / "Annotations" / "TCGA-2.xml"


def test_side_by_side_as_in_the_challenge_test(tmp_path):
    for name in ("a.tif", "a.xml", "b.tif", "b_label.png", "c.png", "c_label.npy", "readme.txt"):
        (tmp_path / name).touch()
    pairs = sources.scan(tmp_path).pairs(["a", "b", "c"])
    assert [pair.label.name for pair in pairs.values()] == ["a.xml", "b_label.png", "c_label.npy"]


@pytest.mark.parametrize("folder", ["Labels", "Label Maps", "labels", "masks"])
def test_label_maps_and_xml_wins(source, folder):
    (source / folder).mkdir()
    (source / folder / "TCGA-1.png").touch()
    (source / "Annotations" / "TCGA-3.xml").rename(source / folder / "TCGA-3.png")
    pairs = sources.scan(source).pairs(IDS)
    assert pairs["TCGA-1"].label.suffix == ".xml"
    assert pairs["TCGA-3"].label == source / folder / "TCGA-3.png"


def test_everything_missing_is_listed_with_files_of_similar_names(source):
    (source / "Tissue Images" / "TCGA-1.tif").rename(source / "Tissue Images" / "TCGA-1 (1).tif")
    (source / "Annotations" / "TCGA-3.xml").unlink()
    with pytest.raises(DataError) as caught:
        planned(source, manifest_of([*IDS, "TCGA-4"]))
    message = str(caught.value)
    assert "3 of 4 images" in message
    assert "TCGA-1: no image, 1 annotation (renamed? TCGA-1 (1).tif)" in message
    assert "TCGA-3: 1 image, no annotation" in message and "TCGA-4: no image, no annotation" in message
    assert "TCGA-2" not in message
    assert str(source / "Tissue Images") in message and str(source / "Annotations") in message


def test_two_files_of_one_id(source):
    (source / "Tissue Images" / "TCGA-1.png").touch()
    with pytest.raises(DataError, match=r"TCGA-1: 2 images, keep one of .*TCGA-1\.png"):
        planned(source)


def test_no_such_folder(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        sources.scan(tmp_path / "absent")


# Plan and examples


def test_examples(source):
    preparation = planned(source, size=128)
    (example,) = preparation.examples("test")
    assert example.id == "TCGA-1" and example.organ == "liver"
    assert example.image.shape == (128, 128, 3) and example.image.dtype == np.uint8
    assert example.label_map.shape == (128, 128) and example.label_map.dtype == np.int32
    np.testing.assert_array_equal(example.original_image, tissue(1))
    assert (example.original_label_map[4:10, 4:10] == 1).all()
    np.testing.assert_array_equal(example.label_map[::2, ::2], example.original_label_map)
    assert [e.id for e in preparation.examples("train")] == ["TCGA-2", "TCGA-3"]
    assert preparation.sha256["TCGA-1"] == pixel_sha256(tissue(1))


def test_original_size_is_kept(source):
    (example,) = planned(source).examples("test")
    np.testing.assert_array_equal(example.image, example.original_image)
    np.testing.assert_array_equal(example.label_map, example.original_label_map)


def test_resizing_agrees_between_image_and_labels():
    labels = np.zeros((50, 50), np.int32)
    labels[10:30, 20:40] = 70_000
    image = np.repeat((labels[..., None] > 0) * np.uint8(255), 3, axis=-1)
    big, big_labels = prepare.resize_image(image, 51), prepare.resize_labels(labels, 51)
    assert big_labels.dtype == np.int32 and set(np.unique(big_labels)) == {0, 70_000}
    assert ((big[..., 0] >= 128) == (big_labels > 0)).mean() > 0.98


def test_wrong_pixels_are_all_listed(source):
    sha256 = {"TCGA-1": pixel_sha256(tissue(2)), "TCGA-2": pixel_sha256(tissue(1)), "TCGA-3": "0" * 64}
    with pytest.raises(DataError) as caught:
        planned(source, manifest_of(IDS, sha256=sha256))
    message = str(caught.value)
    assert "3 of 3 images" in message
    assert f"SHA-256 {pixel_sha256(tissue(3))}, expected {'0' * 64}" in message
    assert "the pixels of TCGA-2: was the file renamed?" in message


def test_right_pixels_pass(source):
    planned(source, manifest_of(IDS, sha256={"TCGA-1": pixel_sha256(tissue(1))}))


def test_unreadable_images_are_all_listed(source):
    (source / "Tissue Images" / "TCGA-1.tif").write_bytes(b"")
    Image.fromarray(tissue(2)).convert("L").save(source / "Tissue Images" / "TCGA-2.tif")
    with pytest.raises(DataError, match="2 of 3 images") as caught:
        planned(source)
    assert "TCGA-1.tif" in str(caught.value) and "greyscale" in str(caught.value)


def test_only_squares_are_resized(source):
    Image.fromarray(tissue(1)[:32]).save(source / "Tissue Images" / "TCGA-1.tif")
    planned(source)
    with pytest.raises(DataError, match=r"TCGA-1\.tif: is 32 x 64, and would be distorted"):
        planned(source, size=128)


def test_only_images_of_one_side_are_resized(source):
    path = source / "Tissue Images" / "TCGA-1.tif"
    Image.fromarray(tissue(1, 70)).save(path)
    planned(source)
    with pytest.raises(DataError, match="is 70 pixels wide, but .* is 64: .*size 128.* µm a pixel") as caught:
        planned(source, size=128)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# Resolution


def state(source, number, mpp):
    """Write the image of that number again, with the resolution in its tags."""
    path = source / "Tissue Images" / f"TCGA-{number}.tif"
    per_cm = {"resolution_unit": "cm", "x_resolution": 1e4 / mpp, "y_resolution": 1e4 / mpp}
    Image.fromarray(tissue(number)).save(path, **per_cm)
    return path


def test_resolution_is_assumed_where_nothing_states_it(source):
    Image.fromarray(tissue(1)).save(source / "Tissue Images" / "TCGA-1.tif", dpi=(300, 300))
    mpp, origin = planned(source).resolution
    assert mpp == 0.25 and origin.startswith("assumed: 40×")


def test_resolution_of_the_files(source):
    for number, mpp in ((1, 0.5), (2, 0.502), (3, 0.504)):  # as scanners differ
        state(source, number, mpp)
    mpp, origin = planned(source).resolution
    assert mpp == pytest.approx(0.502) and origin == "TIFF resolution tags"
    assert planned(source, mpp=0.3).resolution == (0.3, "given by --mpp")


def test_files_that_state_nothing_are_taken_to_be_like_the_others(source):
    (source / "Tissue Images" / "TCGA-1.tif").unlink()
    Image.fromarray(tissue(1)).save(source / "Tissue Images" / "TCGA-1.png", dpi=(50800, 50800))
    state(source, 2, 0.5)
    mpp, origin = planned(source).resolution
    assert mpp == pytest.approx(0.5)
    assert origin == (
        "PNG dots an inch and TIFF resolution tags of 2 of 3 images; the others are taken to be like them"
    )


def test_files_of_different_resolutions_are_refused(source):
    paths = state(source, 1, 0.25), state(source, 3, 0.5)
    with pytest.raises(DataError, match=r"states 0\.5 µm .* states 0\.25 .* apart.*--mpp") as caught:
        planned(source)
    assert all(str(path) in str(caught.value) for path in paths) and "\n" not in str(caught.value)
    assert planned(source, mpp=0.25).resolution.mpp == 0.25


def test_a_resolution_that_no_microscope_has(source):
    path = state(source, 1, 2)
    with pytest.raises(DataError, match=r"TCGA-1\.tif: 2 µm a pixel .* is not within .*--mpp"):
        planned(source)
    path.unlink()
    with pytest.raises(UserError, match="--mpp 25: is not within"):
        planned(source, manifest_of(IDS[1:]), mpp=25)


def test_stain_needs_a_target(source):
    with pytest.raises(DataError, match="names none"):
        planned(source, stain="vahadane")
    with pytest.raises(DataError, match="unknown"):
        planned(source, stain="luong")


# Stain normalisation


WITH_TARGET = manifest_of(IDS, target="TCGA-2")


@pytest.mark.parametrize("stain", ["vahadane", "macenko", "reinhard"])
def test_normalised_images(source, stain):
    preparation = planned(source, WITH_TARGET, stain=stain)
    (example,) = preparation.examples("test")
    expected = NORMALIZERS[stain]().fit(tissue(2)).transform(tissue(1))
    np.testing.assert_array_equal(example.image, expected)
    np.testing.assert_array_equal(example.original_image, tissue(1))
    assert (example.image != example.original_image).any()
    fitted = stain_from_dict(preparation.normalizer.style)
    np.testing.assert_array_equal(fitted.transform(tissue(1)), expected)
    assert preparation.normalizer.fell_back == [] and not (source.parent / "cache").exists()


@pytest.mark.parametrize("value", [0, 255])
def test_an_image_without_tissue(source, value):
    blank(source, value)
    preparation = planned(source, WITH_TARGET, stain="vahadane")
    with pytest.warns(StainWarning, match="TCGA-1: no hematoxylin and eosin"):
        (example,) = preparation.examples("test")
    np.testing.assert_allclose(example.image, value, atol=20)  # two stains make no black
    assert preparation.normalizer.fell_back == ["TCGA-1"]
    with pytest.raises(DataError, match="TCGA-1: the target of vahadane .* shows no hematoxylin"):
        planned(source, manifest_of(IDS, target="TCGA-1"), stain="vahadane")


def blank(source, value):
    pixels = np.full((SIDE, SIDE, 3), value, np.uint8)
    Image.fromarray(pixels).save(source / "Tissue Images" / "TCGA-1.tif")


# ... by staintools


@pytest.fixture
def staintools_plan(source):
    pytest.importorskip("staintools")

    def plan(manifest=WITH_TARGET):
        return planned(source, manifest, stain="vahadane", backend="staintools")

    return plan


def cached(source):
    return sorted((source.parent / "cache").iterdir())


def test_images_normalised_by_staintools(staintools_plan):
    preparation = staintools_plan()
    fitted = stain_from_dict(preparation.normalizer.style)
    matrix = fitted.stain_matrix
    assert matrix[0, 0] > matrix[1, 0]
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1, rtol=1e-6)
    (example,) = preparation.examples("test")
    assert example.image.dtype == np.uint8 and example.image.shape == (SIDE, SIDE, 3)
    # What is kept of staintools' target serves our transform, too.
    ours = fitted.transform(tissue(1)).astype(int)
    assert np.abs(ours - example.image).mean() < 4
    again = staintools_plan()
    assert again.normalizer.style == preparation.normalizer.style


def test_a_rerun_makes_only_what_is_missing_or_damaged(source, staintools_plan, monkeypatch):
    first = [e.image for e in staintools_plan().examples("train")]
    paths = cached(source)
    assert [path.name[:6] for path in paths] == ["TCGA-2", "TCGA-3"]
    paths[1].write_bytes(paths[1].read_bytes()[:-1000])
    preparation = staintools_plan()
    made = []
    transform = preparation.normalizer._normalizer.transform
    monkeypatch.setattr(
        preparation.normalizer._normalizer, "transform", lambda x: made.append(x) or transform(x)
    )
    second = [e.image for e in preparation.examples("train")]
    assert len(made) == 1
    np.testing.assert_array_equal(made[0], tissue(3))
    np.testing.assert_array_equal(first, second)
    assert cached(source) == paths


def test_another_target_is_another_cache_entry(source, staintools_plan):
    for manifest in (WITH_TARGET, manifest_of(IDS, target="TCGA-3")):
        list(staintools_plan(manifest).examples("test"))
    assert len(cached(source)) == 2


def test_a_failed_write_leaves_nothing(source, staintools_plan, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    preparation = staintools_plan()
    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(preparation.examples("test"))
    assert cached(source) == []


@pytest.mark.parametrize("value", [0, 255])
def test_staintools_and_an_image_without_tissue(source, staintools_plan, value):
    blank(source, value)
    with pytest.raises(DataError, match="TCGA-1: staintools finds no two stains.*--stain-backend"):
        next(staintools_plan().examples("test"))
    with pytest.raises(DataError, match="TCGA-1: staintools finds no two stains"):
        staintools_plan(manifest_of(IDS, target="TCGA-1"))


def test_without_staintools(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "staintools", None)
    with pytest.raises(MissingExtraError) as caught:
        planned(source, WITH_TARGET, stain="vahadane", backend="staintools")
    assert 'pip install -e ".[stain]"' in str(caught.value)
    with pytest.raises(DataError, match="does vahadane only, not macenko"):
        planned(source, WITH_TARGET, stain="macenko", backend="staintools")


def test_no_tensorflow_in_these_steps():
    code = "import sys, data_prep.prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
