"""The resolution of a dataset: of its files, given, or assumed."""

from pathlib import Path

import pytest
from PIL import Image

from nucseg_jax.errors import DataError, UserError
from tests.data_prep.small_source import IDS, manifest_of, planned, tissue

MONUSEG = Path(__file__).parents[3] / "shared/data/monuseg"


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


def annotate(source, number, said):
    """Have the annotation of that number state µm a pixel."""
    path = source / "Annotations" / f"TCGA-{number}.xml"
    text = path.read_text()
    path.write_text(text.replace("<Annotations>", f'<Annotations MicronsPerPixel="{said}">'))


def test_annotations_that_state_another_resolution(source):
    annotate(source, 1, 0.27)  # as scanners of one power differ
    annotate(source, 2, 0.5)
    assert planned(source).resolution_notes == (
        "annotations of 1 images state 0.5 µm a pixel (MicronsPerPixel), and 0.25 is taken: TCGA-2. If they "
        "are right, give the value with --mpp",
    )
    (note,) = planned(source, mpp=0.75).resolution_notes
    assert note.startswith("annotations of 2 images state 0.27 … 0.5 µm a pixel") and "TCGA-1, TCGA-2" in note
    for number in (1, 3):
        state(source, number, 0.5)
    (note,) = planned(source).resolution_notes
    assert "state 0.27 µm a pixel (MicronsPerPixel), and 0.5 is taken: TCGA-1." in note


@pytest.mark.parametrize("said", ["0.000000", "", "nan", "-0.5", "1e999", "half"])
def test_annotations_that_state_nothing(source, said):
    annotate(source, 2, said)
    assert planned(source, mpp=0.75).resolution_notes == ()


@pytest.mark.skipif(not MONUSEG.exists(), reason="no real images")
def test_real_annotations_agree_with_40x(tmp_path):
    ids = ["TCGA-21-5784-01Z-00-DX1", "TCGA-B0-5710-01Z-00-DX1"]
    for folder, ending in (("Tissue Images", "tif"), ("Annotations", "xml")):
        (tmp_path / folder).mkdir()
        for image_id in ids:
            (tmp_path / folder / f"{image_id}.{ending}").symlink_to(MONUSEG / folder / f"{image_id}.{ending}")
    assert planned(tmp_path, manifest_of(ids)).resolution_notes == ()
    (note,) = planned(tmp_path, manifest_of(ids), mpp=0.5).resolution_notes
    assert note.startswith("annotations of 2 images state 0.25") and ", and 0.5 is taken" in note


def test_a_size_at_which_nothing_can_be_segmented(source):
    assert planned(source, size=16).resolution.mpp == 0.25
    with pytest.raises(DataError, match=r"^mine: rescaled by --size, its images have 1\.067 µm a pixel"):
        planned(source, size=15)
    with pytest.raises(DataError, match=r"have 0\.03125 µm a pixel, which is not within 0\.05 … 1\. Prepare"):
        planned(source, size=512)
