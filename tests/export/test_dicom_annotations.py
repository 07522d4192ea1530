"""Bulk annotations of DICOM slides, read back by highdicom."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray

from nucseg_jax.errors import DataError, MissingExtraError
from nucseg_jax.export import Exports, Helpers
from nucseg_jax.inference.workers import processes
from nucseg_jax.nuclei import Frame, Nucleus
from nucseg_jax.slides import open_slide
from tests.export.drawn_nuclei import FRAME, SHAPES, leftovers, many, mask_of, nuclei_of
from tests.slides.pictures import picture

highdicom = pytest.importorskip("highdicom", reason="the extra `dicom` is not installed")
pydicom = pytest.importorskip("pydicom", reason="the extra `dicom` is not installed")

from tests.slides import dicom_slide  # noqa: E402

FORMATS = ("geojson", "csv", "dicom")


def write(
    out: Path, source: Path, nuclei: list[Nucleus], frame: Frame = FRAME, helpers: Helpers | None = None
) -> list[str]:
    """What was said of the file."""
    thumbnail = np.full((75, 100, 3), 200, np.uint8)
    said: list[str] = []
    with Exports(
        out,
        frame,
        source=source,
        thumbnail=thumbnail,
        config={},
        seconds={},
        formats=FORMATS,
        helpers=helpers,
        say=said.append,
    ) as exports:
        for nucleus in nuclei:
            exports.add(nucleus)
    return said


def exteriors(out: Path) -> list[NDArray[np.float64]]:
    """Of GeoJSON, without the first corner again at the end."""
    features = json.loads((out / "nuclei.geojson").read_text())["features"]
    return [np.array(feature["geometry"]["coordinates"][0][:-1]) for feature in features]


@pytest.fixture
def slide(tmp_path: Path) -> list[Path]:
    """The files of a slide of 300 × 400 pixels, that of the base level first; another file is beside them."""
    files = dicom_slide.write(tmp_path / "slide", picture(300, 400))
    (tmp_path / "slide" / "a.txt").write_text("notes\n" * 100)
    return files


def test_the_slide_is_read_whole_and_not_cropped(slide: list[Path]) -> None:
    """So its coordinates are those of the total pixel matrix."""
    for path in slide:
        with open_slide(path) as opened:
            assert opened.size == (300, 400) and opened.offset == (0, 0) and opened.mpp == 0.25
            np.testing.assert_array_equal(opened.region(0, 0, 300, 400, 0.25), picture(300, 400))


@pytest.mark.parametrize("which", [0, 1], ids=["base level", "other level"])
def test_polygons_and_measurements_are_those_of_the_other_files(
    tmp_path: Path, slide: list[Path], which: int
) -> None:
    nuclei = nuclei_of([mask_of(name) for name in SHAPES])
    write(tmp_path / "out", slide[which], nuclei)
    found = highdicom.ann.annread(tmp_path / "out" / "nuclei.dcm")
    group = found.get_annotation_group(number=1)
    polygons = group.get_graphic_data("2D")
    assert len(polygons) == len(nuclei)
    for polygon, exterior in zip(polygons, exteriors(tmp_path / "out"), strict=True):
        np.testing.assert_array_equal(polygon, exterior)
        assert shapely.Polygon(polygon).is_valid

    names, values, units = group.get_measurements()
    with (tmp_path / "out" / "nuclei.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = {
        "Area": ("area_um2", "um2"),
        "Perimeter": ("perimeter_um", "um"),
        "Circularity": ("circularity", "1"),
        "Solidity": ("solidity", "1"),
        "Long Axis": ("major_axis_um", "um"),
        "Short Axis": ("minor_axis_um", "um"),
        "Eccentricity": ("eccentricity", "1"),
        "Hematoxylin density": ("hematoxylin_density", "1"),
        "Probability of nucleus": ("probability", "1"),
        "Hematoxylin contrast": ("hematoxylin_contrast", "1"),
        "Hematoxylin entropy": ("hematoxylin_entropy_bits", "bit"),
        "Eosin density around the nucleus": ("eosin_ring_density", "1"),
    }
    assert [(name.meaning, unit.value) for name, unit in zip(names, units, strict=True)] == [
        (name, unit) for name, (_, unit) in columns.items()
    ]
    for measured, (column, _) in zip(values.T, columns.values(), strict=True):
        expected = [float(row[column] or "nan") for row in rows]
        np.testing.assert_allclose(measured, expected, atol=6e-4)


def test_it_refers_to_the_base_level_and_says_who_made_it(tmp_path: Path, slide: list[Path]) -> None:
    write(tmp_path / "out", slide[1], many(20, FRAME))
    found = highdicom.ann.annread(tmp_path / "out" / "nuclei.dcm")
    base = pydicom.dcmread(slide[0])
    (reference,) = found.ReferencedImageSequence
    assert reference.ReferencedSOPInstanceUID == base.SOPInstanceUID
    assert reference.ReferencedSOPClassUID == base.SOPClassUID
    assert found.StudyInstanceUID == base.StudyInstanceUID and found.PatientID == "P7"
    assert found.SeriesInstanceUID != base.SeriesInstanceUID and found.Modality == "ANN"
    assert found.ContainerIdentifier == "C1"
    assert (found.AnnotationCoordinateType, found.PixelOriginInterpretation) == ("2D", "VOLUME")
    (group,) = found.get_annotation_groups()
    assert (group.label, group.number_of_annotations) == ("nuclei", 20)
    assert (group.annotated_property_type.value, group.annotated_property_type.scheme_designator) == (
        "84640000",
        "SCT",
    )
    assert group.annotated_property_category.value == "91723000"
    assert group.algorithm_identification.name == "nucseg_jax"


def test_several_batches_at_another_resolution(tmp_path: Path, slide: list[Path]) -> None:
    """More nuclei than a batch has, and a network's level whose pixels are no whole base pixels."""
    frame = Frame(FRAME.size, 0.25, 0.4)
    small = [np.ones((1 + i % 2, 1), bool) for i in range(1500)]
    nuclei = [Nucleus(i + 1, 2 * (i // 120), 2 * (i % 120), mask, 0.5) for i, mask in enumerate(small)]
    write(tmp_path / "out", slide[0], nuclei, frame)
    group = highdicom.ann.annread(tmp_path / "out" / "nuclei.dcm").get_annotation_group(number=1)
    polygons, expected = group.get_graphic_data("2D"), exteriors(tmp_path / "out")
    assert len(polygons) == 1500
    np.testing.assert_allclose(np.concatenate(polygons), np.concatenate(expected), atol=1e-4)
    assert [len(polygon) for polygon in polygons] == [len(exterior) for exterior in expected]


def test_other_processes_make_the_same(tmp_path: Path, slide: list[Path]) -> None:
    nuclei = nuclei_of([mask_of(name) for name in SHAPES])
    found = []
    with processes(1) as pool:
        for name, helpers in (("alone", None), ("helped", Helpers(pool, 1, lambda seconds: None))):
            write(tmp_path / name, slide[0], nuclei, helpers=helpers)
            group = highdicom.ann.annread(tmp_path / name / "nuclei.dcm").get_annotation_group(number=1)
            found.append((np.concatenate(group.get_graphic_data("2D")), group.get_measurements()[1]))
    for alone, helped in zip(*found, strict=True):
        np.testing.assert_array_equal(alone, helped)


def test_holes_are_left_out_and_counted(tmp_path: Path, slide: list[Path]) -> None:
    said = write(tmp_path / "out", slide[0], nuclei_of([mask_of(n) for n in ("ring", "L", "two holes")]))
    assert said == [
        "nuclei.dcm: of nuclei with holes (2) it has the exteriors alone, since DICOM annotations have no "
        "holes"
    ]
    assert write(tmp_path / "out", slide[0], nuclei_of([mask_of("L")])) == []


def test_without_nuclei_there_is_no_file(tmp_path: Path, slide: list[Path]) -> None:
    said = write(tmp_path / "out", slide[0], [])
    assert leftovers(tmp_path / "out") == ["nuclei.csv", "nuclei.geojson", "summary.json"]
    assert said == ["no nuclei.dcm: DICOM annotations need a nucleus at least, and none was found"]


def test_a_slide_without_names_is_annotated(tmp_path: Path, slide: list[Path]) -> None:
    gone = ("PatientID", "PatientBirthDate", "AccessionNumber", "ReferringPhysicianName", "StudyID")
    dicom_slide.change(slide[0], **dict.fromkeys(gone), PatientName="Anonymous")
    write(tmp_path / "out", slide[0], many(3, FRAME))
    found = highdicom.ann.annread(tmp_path / "out" / "nuclei.dcm")
    assert (found.PatientID, found.PatientName) == ("", "Anonymous")


def test_other_slides_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test_dicom_annotations\.py: is no DICOM slide"):
        write(tmp_path / "out", Path(__file__), [])
    assert not (tmp_path / "out").exists()


def test_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"the extra `dicom`(.|\n)*pip install -e \"\.\[dicom\]\""):
        write(tmp_path / "out", tmp_path / "a.dcm", [])
