"""Images of which QuPath's regions annotate a part: prepared, told, packed, with wrong labels, loaded."""

import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

from data_prep import folder, label_noise, pack
from nucseg_jax import data
from nucseg_jax.data.dataset import MASKS
from tests.data_prep.qupath_files import collection, detected, ignored, qupath, rectangle, region, write
from tests.data_prep.small_dataset import failure, prepare
from tests.data_prep.small_folders import SIDE, write_folder

REGION = [0, 0, 24, 36]


def box(left, top, right, bottom, side=SIDE):
    mask = np.zeros((side, side), bool)
    mask[top:bottom, left:right] = True
    return mask


def load(out, size=None):
    config = {"dir": str(out), "dataset": "folder", "split": "mine", "stain": "none", "size": size}
    dataset = data.load(ConfigDict(config))
    return dataset, {e.id: e for examples in dataset.splits.values() for e in examples}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Of a and c a part is annotated; b has a label map."""
    source = write_folder(tmp_path_factory.mktemp("source") / "lab", ["a", "b", "c"])
    nuclei = detected(rectangle(20, 10, 28, 20)), detected(rectangle(40, 40, 45, 45))
    drawn = qupath(rectangle(2, 2, 8, 8))
    write(source / "a.png.geojson", collection(region(*REGION), *nuclei, drawn))
    line = {"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [9, 9], [0, 0]]]}
    write(
        source / "c.geojson",
        [detected(rectangle(1, 1, 9, 9)), ignored(rectangle(0, 24, 48, 48)), qupath(line)],
    )
    return source


@pytest.fixture(scope="module")
def out(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    prepare(source, out, "--test", "c")
    return out


def check_masks(found):
    a, b, c = found["a"], found["b"], found["c"]
    for example, mask in ((a, ~box(*REGION)), (c, box(0, 24, 48, 48))):
        for part in (example.unannotated, example.original_unannotated):
            assert part.dtype == bool
            np.testing.assert_array_equal(part, mask)
    assert b.unannotated is None and b.original_unannotated is None
    expected = box(20, 10, 28, 20) + 2 * box(2, 2, 8, 8)
    np.testing.assert_array_equal(a.original_label_map, expected)
    np.testing.assert_array_equal(c.label_map, box(1, 1, 9, 9))


def test_masks_come_back_from_both_forms(out, tmp_path):
    dataset, found = load(out)
    check_masks(found)
    pack.main(["--data-dir", str(out), "--dataset", "folder", "--split", "mine", "--out", str(tmp_path)])
    copy, packed = load(tmp_path)
    check_masks(packed)
    assert copy.metadata == dataset.metadata
    files = {path.stem for path in tmp_path.rglob("*unannotated/*")}
    assert files == {"a", "c"}, "only of images that have one"
    assert json.loads(next(tmp_path.rglob("packed.json")).read_text())["version"] == 2

    noisy = ["--source", str(tmp_path), "--out", str(tmp_path / "noisy"), "--dataset", "folder"]
    label_noise.main([*noisy, "--split", "mine", "--stain", "none", "--rate", "0.3"])
    np.testing.assert_array_equal(load(tmp_path / "noisy")[1]["a"].unannotated, ~box(*REGION))


def test_datasets_of_earlier_releases_have_no_masks(out, tmp_path):
    shutil.copytree(out, tmp_path / "old")
    (features,) = (tmp_path / "old").rglob("features.json")
    content = json.loads(features.read_text())
    for key in MASKS:
        del content["featuresDict"]["features"][key]
    features.write_text(json.dumps(content))
    example = load(tmp_path / "old")[1]["a"]
    assert example.unannotated is None and example.original_unannotated is None


def test_what_is_annotated_is_told_and_recorded(source, tmp_path, capsys):
    prepare(source, tmp_path, "--test", "c", "--size", "96", "--mpp", "0.5")
    lines = capsys.readouterr().out.splitlines()
    assert "  skipped 1 outlines of 1 images: 1 whose outline holds no area" in lines
    assert "  1 regions, outside of which nothing is annotated" in lines
    assert "  1 nuclei of which nothing is annotated, left out" in lines
    assert "  1 objects of a class like Ignore*, in which nothing is annotated" in lines
    # 864 and 1,152 of 2,304 pixels, and all of b.
    assert "  62% of the pixels are annotated; of 2 images a part: a 38%, c 50%" in lines
    assert "  train: 2 images, 3 nuclei" in lines and "  test: 1 images, 1 nuclei" in lines
    dataset, found = load(tmp_path, 96)
    assert dataset.metadata["annotated"] == {"a": 0.375, "c": 0.5}
    assert dataset.metadata["annotated_share"] == pytest.approx(0.625)
    assert dataset.metadata["object_notes"]["a"]["regions, outside of which nothing is annotated"] == 1
    np.testing.assert_array_equal(found["a"].unannotated, ~box(0, 0, 48, 72, side=96))
    np.testing.assert_array_equal(found["a"].original_unannotated, ~box(*REGION))
    assert (found["a"].label_map == 2).sum() == 4 * 36


def test_a_class_of_regions_is_part_of_what_was_asked_for(source, tmp_path, capsys):
    lab = write_folder(tmp_path / "lab", ["a", "b"])
    drawn = qupath(rectangle(0, 0, 40, 40), of_class="Box"), detected(rectangle(1, 1, 9, 9))
    write(lab / "a.geojson", collection(*drawn))
    options = ["--source", lab, "--out", tmp_path / "out", "--name", "mine", "--test", "b"]
    message = failure(capsys, folder.main, *options)
    assert "a.geojson: feature 1 (Box): an annotation" in message and "--region-class 'Box'" in message
    message = failure(capsys, folder.main, *options, "--region-class", "box", "--region-class", "Bix")
    assert message.endswith(
        "--region-class 'Bix': no object of the GeoJSON files has this class. Their classes are: Box, Nucleus"
        ". Give one of them, or omit the option\n"
    )
    folder.main([str(option) for option in [*options, "--region-class", "box"]])
    folder.main([str(option) for option in [*options, "--region-class", "box"]])
    assert "nothing to do" in capsys.readouterr().out
    np.testing.assert_array_equal(load(tmp_path / "out")[1]["a"].unannotated, ~box(0, 0, 40, 40))
    assert "already prepared with another region_classes" in failure(capsys, folder.main, *options)
