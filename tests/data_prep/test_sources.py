"""Images and annotations are found in the layouts that people have."""

import os

import pytest

from data_prep import sources
from nucseg_jax.errors import DataError
from tests.data_prep.small_source import IDS, manifest_of, planned


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


@pytest.mark.parametrize(
    ("image", "annotation", "image_id"),
    [
        ("a.tif", "a.geojson", "a"),
        ("a.tif", "a.tif.geojson", "a"),
        ("a.tif", "Annotations/a.GeoJSON.gz", "a"),
        ("a.tif", "a.json", "a"),
        ("a.ome.tif", "a.geojson", "a.ome"),
        ("a.ome.tif", "a.ome.tif.geojson.gz", "a.ome"),
        ("a.ome.tif", "a.ome.json", "a.ome"),
    ],
)
def test_geojson_by_the_names_that_qupath_gives(tmp_path, image, annotation, image_id):
    for name in (image, annotation, "settings.json", "manifest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = sources.scan(tmp_path)
    assert source.ids() == [image_id]
    assert source.pairs([image_id])[image_id].label == tmp_path / annotation


def test_outlines_win_over_label_maps_and_two_files_of_outlines_are_an_error(tmp_path):
    for name in ("a.tif", "a_label.png", "a.geojson", "b.tif", "b.xml", "b.tif.geojson", "c.geojson"):
        (tmp_path / name).touch()
    source = sources.scan(tmp_path)
    assert source.pairs(["a"])["a"].label.name == "a.geojson"
    with pytest.raises(DataError) as caught:
        source.pairs(["b", "c"])
    message = str(caught.value)
    both = f"{tmp_path / 'b.xml'}, {tmp_path / 'b.tif.geojson'}"
    assert f"b: 1 image, 2 annotations, keep one of {both}" in message
    assert "c: no image, 1 annotation" in message


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


def test_images_of_all_formats_that_are_read(tmp_path):
    """A scanner's small slides with their ImageScope annotations, too."""
    for name in ("a.svs", "a.xml", "b.JPG", "b_label.png"):
        (tmp_path / name).touch()
    pairs = sources.scan(tmp_path).pairs(["a", "b"])
    assert [pair.image.name for pair in pairs.values()] == ["a.svs", "b.JPG"]


# --- links, and folders that cannot be read ---


def test_linked_folders_are_followed_once(source, tmp_path):
    """Wherever they are, and also where a link leads back up, or a second one to the same folder."""
    (source / "Tissue Images").rename(tmp_path / "elsewhere")
    (source / "Tissue Images").symlink_to(tmp_path / "elsewhere")
    (source / "Annotations" / "up").symlink_to(source)
    (source / "images").symlink_to(tmp_path / "elsewhere")
    (source / "further up").symlink_to(tmp_path.parent)
    found = sources.scan(source)
    assert found.ids() == IDS
    for name, pair in found.pairs(IDS).items():
        assert pair.image == source / "Tissue Images" / f"{name}.tif" and pair.image.exists()
        assert pair.label == source / "Annotations" / f"{name}.xml"
    assert found.folders == [source / "Annotations", source / "Tissue Images"]


def test_links_go_no_deeper_than_folders(tmp_path):
    for levels in (2, 3):
        folder = tmp_path / f"far {levels}" / "/".join("abcd"[:levels])
        folder.mkdir(parents=True)
        (folder / f"{levels}.tif").touch()
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source" / f"link {levels}").symlink_to(tmp_path / f"far {levels}")
    assert sources.scan(tmp_path / "source").ids() == ["2"]


def test_links_that_lead_nowhere(source):
    (source / "more images").symlink_to(source / "absent")
    with pytest.raises(DataError, match="more images: is a link to what is not there. Mend it, or delete it"):
        sources.scan(source)
    (source / "more images").unlink()
    (source / "more images").symlink_to(source / "more images")
    with pytest.raises(DataError, match="more images: is a link to what is not there"):
        sources.scan(source)
    (source / "more images").unlink()
    (source / "TCGA-9.tif").symlink_to(source / "absent.tif")
    assert sources.scan(source).ids() == [*IDS, "TCGA-9"]


def test_a_folder_that_cannot_be_read_is_named(source, monkeypatch):
    """Simulated: tests may run as root, who reads everything."""
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("Annotations"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(sources.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"Annotations: cannot be read \(Permission denied\)") as error:
        sources.scan(source)
    assert str(source / "Annotations") in str(error.value)
