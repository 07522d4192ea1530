"""The resolution of a dataset: of its files, given, or assumed."""

import pytest
from PIL import Image

from nucseg_jax.errors import DataError, UserError
from tests.data_prep.small_source import IDS, manifest_of, planned, tissue


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
