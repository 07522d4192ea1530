"""The plan checks every file; its examples are read and resized."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from data_prep import prepare, resizing
from nucseg_jax.errors import DataError
from nucseg_jax.io.images import pixel_sha256
from tests.data_prep.small_source import IDS, WITH_TARGET, manifest_of, planned, square_xml, tissue


def test_examples(source):
    preparation = planned(source, size=128)
    (example,) = preparation.examples("test")
    assert example.id == "TCGA-1" and example.organ == "liver" and example.source == "mine"
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
    big, big_labels = resizing.resize_image(image, 51), resizing.resize_labels(labels, 51)
    assert big_labels.dtype == np.int32 and set(np.unique(big_labels)) == {0, 70_000}
    assert ((big[..., 0] >= 128) == (big_labels > 0)).mean() > 0.98


@pytest.mark.parametrize("size", [200, 133, 100, 80, 40])
def test_a_smaller_label_map_moves_and_grows_no_nucleus(size):
    """The nearest pixel, of two, was half a pixel too far right and down: nuclei moved left and up by it."""
    rows, columns = np.indices((400, 400))
    disc = 5 * (((rows - 190.3) ** 2 + (columns - 180.7) ** 2) < 120.5**2).astype(np.int32)
    small, scale = resizing.resize_labels(disc, size), 400 / size
    y, x = np.nonzero(small)
    assert small.dtype == np.int32 and set(np.unique(small)) == {0, 5}
    assert len(y) * scale**2 == pytest.approx((disc > 0).sum(), rel=0.004)
    assert (y.mean() + 0.5) * scale == pytest.approx(190.8, abs=0.05 * scale)
    assert (x.mean() + 0.5) * scale == pytest.approx(181.2, abs=0.05 * scale)


def test_the_label_of_most_of_a_pixel_is_taken():
    labels = np.kron(np.arange(1, 17, dtype=np.int32).reshape(4, 4), np.ones((3, 3), np.int32))
    labels[1::3, 1::3] = 99  # one pixel of nine
    np.testing.assert_array_equal(resizing.resize_labels(labels, 4), np.arange(1, 17).reshape(4, 4))
    halves = np.tile(np.array([[1, 2], [1, 2]], np.int32), (4, 4))  # as much of one as of the other
    assert (np.bincount(resizing.resize_labels(halves, 4).ravel()) == [0, 8, 8]).all()


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


def test_one_image_under_two_ids_is_refused(source):
    """Whether on both sides of the split or on one."""
    folder = source / "Tissue Images"
    (folder / "TCGA-3.tif").write_bytes((folder / "TCGA-1.tif").read_bytes())
    with pytest.raises(DataError, match=r"TCGA-3\.tif \(train\): has the pixels of .*TCGA-1\.tif \(test\)"):
        planned(source)
    Image.fromarray(tissue(2)).save(folder / "TCGA-3.tif")
    with pytest.raises(DataError, match=r"TCGA-3\.tif \(train\): has the pixels of .*TCGA-2\.tif \(train\)"):
        planned(source)


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


def test_stain_needs_a_target(source):
    with pytest.raises(DataError, match="names none"):
        planned(source, stain="vahadane")
    with pytest.raises(DataError, match="unknown"):
        planned(source, stain="luong")


def test_no_tensorflow_in_these_steps():
    code = "import sys, data_prep.prepare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- images are read as prediction reads them ---


def image_path(source, number):
    return source / "Tissue Images" / f"TCGA-{number}.tif"


def test_an_orientation_turns_neither_image_nor_labels(source):
    Image.fromarray(tissue(1)).save(image_path(source, 1), tiffinfo={274: 6})
    preparation = planned(source)
    (example,) = preparation.examples("test")
    np.testing.assert_array_equal(example.original_image, tissue(1))
    assert (example.original_label_map[4:10, 4:10] == 1).all()
    assert list(preparation.notes) == ["TCGA-1"]
    (note,) = preparation.notes["TCGA-1"]
    assert note.startswith("orientation tag 6 is not applied")


def test_several_images_in_a_file_are_refused(source):
    tifffile.imwrite(image_path(source, 1), np.stack([tissue(1), tissue(4)]), photometric="rgb")
    with pytest.raises(DataError, match=r"TCGA-1\.tif: is a TIFF with 2 images"):
        planned(source)


def test_sixteen_bits_by_the_white_that_is_given(source):
    pink = np.minimum(tissue(1), np.array((240, 180, 205), np.uint8))  # no glass
    twelve = np.round(pink / 255 * 4095).astype(np.uint16)
    tifffile.imwrite(image_path(source, 1), twelve, photometric="rgb")
    with pytest.raises(
        DataError, match=r"TCGA-1\.tif: 16 bits .*\(6%\), and the image shows no glass.*--white"
    ):
        planned(source)
    preparation = planned(source, white=4095)
    (example,) = preparation.examples("test")
    np.testing.assert_array_equal(example.original_image, pink)
    assert preparation.sha256["TCGA-1"] == pixel_sha256(pink)
    assert preparation.notes["TCGA-1"][0].endswith("white is 4,095, as given")
    assert preparation.notes["TCGA-2"] == ("8 bits a channel, so --white 4095 does not count",)


def test_sixteen_bits_of_one_camera_have_one_white(source):
    for i, glass in enumerate((231, 240, 248), start=1):
        picture = np.minimum(tissue(i), np.array((225, 180, 205), np.uint8))
        picture[:20] = glass
        deep = np.round(picture / 255 * 0.84 * 65535).astype(np.uint16)
        tifffile.imwrite(image_path(source, i), deep, photometric="rgb")
    preparation = planned(source)
    assert preparation.white == pytest.approx(240 / 241 * 0.84 * 65535, abs=2)
    (said,) = preparation.white_notes
    assert f"white is {preparation.white:,} in all files" in said
    glass = {e.id: int(e.original_image[0, 0, 0]) for e in preparation.examples("train")}
    assert glass["TCGA-2"] == 241 and glass["TCGA-3"] == pytest.approx(249, abs=1)


# --- label maps ---


def label_map(source, number, numbers):
    (source / "Annotations" / f"TCGA-{number}.xml").unlink()
    (source / "Labels").mkdir(exist_ok=True)
    labels = np.zeros((64, 64), np.uint8)
    for i, nucleus in enumerate(numbers):
        labels[4:10, 8 * i : 8 * i + 6] = nucleus
    Image.fromarray(labels).save(source / "Labels" / f"TCGA-{number}.png")


def test_maps_of_classes_are_found_in_the_whole_dataset(source):
    label_map(source, 1, (1, 1))  # as one nucleus in two pieces
    planned(source)
    label_map(source, 2, (2, 1, 2, 1))
    with pytest.raises(DataError, match=r"TCGA-1\.png: .* only the numbers 1, 2, .*classes"):
        planned(source)


def test_a_mask_is_refused_before_any_slow_step(source):
    label_map(source, 3, (255,) * 5)
    with pytest.raises(DataError, match=r"TCGA-3\.png: 5 separate pieces have one number, so this is a mask"):
        planned(source)


def test_a_wrong_resolution_of_a_file_and_the_right_one_of_the_user(source):
    Image.fromarray(tissue(1)).save(image_path(source, 1), dpi=(100_000, 50_000))
    assert planned(source, mpp=0.25).resolution == (0.25, "given by --mpp")
    with pytest.raises(DataError, match=r"TCGA-1\.tif: its pixels are .* not square"):
        planned(source)


# --- outlines ---


def outlines(source, number, good, bad):
    """Write an annotation file with so many nuclei, and so many regions of another image."""
    regions = [square_xml(8 * i, 4) for i in range(good)] + [square_xml(1e5, 1e5)] * bad
    body = "".join(r.removeprefix("<Annotations>").removesuffix("</Annotations>") for r in regions)
    path = source / "Annotations" / f"TCGA-{number}.xml"
    path.write_text(f"<Annotations>{body}</Annotations>")
    return path


def test_skipped_regions_are_counted_by_image_and_reason(source):
    outlines(source, 2, good=4, bad=3)
    preparation = planned(source)
    reasons = {"without a pixel in the image": 3}
    assert preparation.skipped == {"TCGA-2": {"outlines": 7, "skipped": reasons}}
    train = {example.id: example for example in preparation.examples("train")}
    assert set(np.unique(train["TCGA-2"].original_label_map)) == {0, 1, 2, 3, 4}


def test_outlines_of_which_most_cannot_be_used_are_refused_before_any_slow_step(source, monkeypatch):
    path = outlines(source, 3, good=3, bad=3)
    planned(source)
    outlines(source, 3, good=3, bad=4)
    monkeypatch.setattr(prepare.normalize, "fit", None)
    with pytest.raises(DataError) as caught:
        planned(source, WITH_TARGET, stain="macenko")
    assert str(caught.value) == (
        f"{path}: skipped 4 of 7 outlines: 4 without a pixel in the image, on an image of 64 × 64 pixels. "
        "Check that the annotation is of this image, and at its resolution. If it is, delete these outlines"
    )
