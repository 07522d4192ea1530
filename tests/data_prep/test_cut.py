"""Pieces of slides: their pixels, labels and objects are those of the slide at the same place."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from shapely import affinity
from shapely.geometry import Point, mapping, shape

from data_prep import cut as cut_module
from data_prep.label_files import read_labels
from nucseg_jax.cli import main as nucseg
from nucseg_jax.slides import open_slide, read_image
from tests.data_prep.qupath_files import cell, collection, detected, ignored, old, qupath, rectangle, region
from tests.data_prep.qupath_files import write as write_geojson
from tests.data_prep.test_partly_annotated import load
from tests.drawn_tissue import tissue
from tests.predict.test_command import write_tiff
from tests.slides.pictures import leica

HEIGHT, WIDTH, MPP = 320, 480, 0.25
CANVAS = (500, 700, 101, 57)  # the slide's coordinates begin at y 101 and x 57 of it
MARGIN = ("--margin-um", 8)  # 32 pixels
NEAR = (60.5, 40, 130, 100), (190, 50.25, 240, 110.75)  # their boxes meet when they have grown
FAR = (360, 200, 470, 300)


def ellipse(x: float, y: float, a: float, b: float) -> dict[str, Any]:
    outline: dict[str, Any] = json.loads(json.dumps(mapping(affinity.scale(Point(x, y).buffer(1), a, b))))
    return outline


def annotations() -> list[dict[str, Any]]:
    """Of the slide: three regions, of which the last has no class, nuclei, some of them over borders."""
    random = np.random.default_rng(1)
    places = random.uniform((0, 0), (WIDTH, HEIGHT), (260, 2))
    sizes = random.uniform(3, 9, (260, 2))
    nuclei = [ellipse(*place, *size) for place, size in zip(places.tolist(), sizes.tolist(), strict=True)]
    named = qupath(rectangle(100, 90, 112.3, 104.7), of_class="Tumor", name="drawn", nucleusGeometry=None)
    extended = detected(ellipse(360, 250, 8, 5)) | {"bbox": [0, 0, 1, 1], "note": "of another program"}
    two = {
        "type": "MultiPolygon",
        "coordinates": [rectangle(60, y, 66, y + 8)["coordinates"] for y in (70, 80)],
    }
    parent = region(*NEAR[0])
    parent["properties"]["childObjects"] = [detected(nuclei[0]), detected(two)]
    return [
        parent,
        *map(detected, nuclei[1:200]),
        region(*NEAR[1]),
        named,
        extended,
        *(cell(rectangle(x, 60, x + 20, 80), rectangle(x + 5, 65, x + 15, 75)) for x in (95, 210, 300)),
        ignored(rectangle(220, 90, 300, 400)),
        qupath(rectangle(*FAR)),  # a region, since nuclei were detected in it
        *map(detected, nuclei[200:]),
        old(rectangle(400, 230, 410, 240), "PathDetectionObject", "Nucleus"),
        qupath({"type": "Point", "coordinates": [70, 70]}),
        detected({"type": "Polygon", "coordinates": []}),
    ]


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "s.scn"
    leica(path, tissue(HEIGHT, WIDTH, 120), 2, CANVAS)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_geojson(tmp_path_factory.mktemp("annotations") / "s.geojson", collection(*annotations()))


@pytest.fixture(scope="module")
def crops(slide: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out: Path = tmp_path_factory.mktemp("out") / "crops"
    assert run(slide, "--annotations", file, "--out", out, *MARGIN) == 0
    return out


def run(*arguments: object) -> int:
    return nucseg(["prepare", "cut", *map(str, arguments)])


def boxes(folder: Path) -> dict[str, tuple[slice, slice]]:
    """The rows and columns of each piece."""
    index = json.loads((folder / "pieces.json").read_text())
    return {
        of["id"]: (slice(of["y"], of["y"] + of["height"]), slice(of["x"], of["x"] + of["width"]))
        for of in index["pieces"]
    }


def test_which_pieces(crops: Path) -> None:
    assert boxes(crops) == {
        "s_1": (slice(8, 143), slice(28, 272)),  # both near regions, and 32 pixels around them
        "s_2": (slice(168, 320), slice(328, 480)),  # ends at the slide's borders
    }
    names = {f"{name}{ending}" for name in ("s_1", "s_2") for ending in (".tif", ".geojson")}
    assert {path.name for path in crops.iterdir()} == {"pieces.json", *names}


def test_pixels_and_resolution(slide: Path, crops: Path) -> None:
    with open_slide(slide) as whole:
        assert whole.mpp == MPP and whole.offset == CANVAS[2:]
        for name, (rows, columns) in boxes(crops).items():
            size = rows.stop - rows.start, columns.stop - columns.start
            expected = whole.region(rows.start, columns.start, *size, MPP)
            np.testing.assert_array_equal(read_image(crops / f"{name}.tif").pixels, expected)
            with open_slide(crops / f"{name}.tif") as piece:
                assert piece.mpp == pytest.approx(MPP, rel=1e-12) and "TIFF" in piece.mpp_source


def test_labels_and_what_is_annotated(file: Path, crops: Path) -> None:
    """To the last pixel; a nucleus of which nothing is annotated in the piece is none of the piece."""
    whole = read_labels(file, (HEIGHT, WIDTH), mpp=MPP)
    assert whole.unannotated is not None
    for name, (rows, columns) in boxes(crops).items():
        labels, unannotated = whole.labels[rows, columns], whole.unannotated[rows, columns]
        piece = read_labels(crops / f"{name}.geojson", labels.shape, mpp=MPP)
        assert piece.unannotated is not None and 0.1 < unannotated.mean() < 0.9
        np.testing.assert_array_equal(piece.unannotated, unannotated)
        np.testing.assert_array_equal(piece.labels, numbered_again(labels, unannotated))
        assert piece.labels.max() > 10 and not piece.skipped
        assert (labels[unannotated] > 0).any(), "no nucleus lies across a border"


def test_pieces_at_the_networks_resolution(slide: Path, file: Path, tmp_path: Path) -> None:
    """Half as many pixels a side: those of the slide at 0.5 µm, and the same nuclei and regions on them."""
    assert run(slide, "--annotations", file, "--out", tmp_path / "out", *MARGIN, "--to-mpp", 0.5) == 0
    whole = read_labels(file, (HEIGHT, WIDTH), mpp=MPP)
    assert whole.unannotated is not None
    index = json.loads((tmp_path / "out" / "pieces.json").read_text())["pieces"]
    assert [(of["mpp"], of["image_mpp"]) for of in index] == [(MPP, 0.5)] * 2
    for name, (rows, columns) in boxes(tmp_path / "out").items():
        top, bottom = rows.start // 2, -(-rows.stop // 2)
        left, right = columns.start // 2, -(-columns.stop // 2)
        found = read_image(tmp_path / "out" / f"{name}.tif")
        with open_slide(slide) as source, open_slide(tmp_path / "out" / f"{name}.tif") as piece:
            expected = source.region(top, left, bottom - top, right - left, 0.5)
            assert piece.mpp == pytest.approx(0.5, rel=1e-12)
        np.testing.assert_array_equal(found.pixels, expected)
        drawn = read_labels(tmp_path / "out" / f"{name}.geojson", expected.shape[:2], mpp=0.5)
        assert drawn.unannotated is not None
        for mask, fine in ((drawn.unannotated, whole.unannotated), (drawn.labels > 0, whole.labels > 0)):
            fine = np.pad(fine, ((0, 2), (0, 2)), "edge")[2 * top : 2 * bottom, 2 * left : 2 * right]
            share = fine.reshape(bottom - top, 2, right - left, 2).mean((1, 3))
            certain = (share != 0.5) & ~drawn.unannotated if mask is not drawn.unannotated else share != 0.5
            assert (mask == (share > 0.5))[certain].mean() > 0.98
        assert drawn.labels.max() > 10


def numbered_again(labels: NDArray[np.int32], unannotated: NDArray[np.bool_]) -> NDArray[np.int32]:
    seen = [number for number in np.unique(labels[~unannotated]).tolist() if number]
    result = np.zeros_like(labels)
    for new, number in enumerate(seen, 1):
        result[labels == number] = new
    return result


def test_objects_keep_all_but_their_place(crops: Path) -> None:
    originals = annotations()
    children = originals[0]["properties"].pop("childObjects")
    for name, (rows, columns) in boxes(crops).items():
        found = json.loads((crops / f"{name}.geojson").read_text())["features"]
        by_place = {of(feature, columns.start, rows.start): feature for feature in found}
        assert len(by_place) == len(found)  # told apart by outlines, since each call gives other ids
        kept = [each for each in [*originals, *children] if of(each, 0, 0) in by_place]
        assert len(kept) == len(found)
        for each in kept:
            feature = by_place[of(each, 0, 0)]
            properties = dict(each["properties"])
            if each["geometry"] == rectangle(*FAR):
                assert name == "s_2"
                properties["classification"] = {"name": "Region*", "color": [0, 0, 180]}
            assert feature["properties"] == properties
            more = {"id", "geometry", "nucleusGeometry", "bbox", "properties"}
            assert feature.keys() == each.keys() - {"bbox"}
            assert all(feature[other] == each[other] for other in each.keys() - more)
            if each.get("nucleusGeometry"):
                nucleus = shape(each["nucleusGeometry"])
                moved = affinity.translate(nucleus, -columns.start, -rows.start)
                assert shape(feature["nucleusGeometry"]).equals(moved)


def of(feature: dict[str, Any], left: int, top: int) -> tuple[str, tuple[float, ...]]:
    """What an object of the slide is known by; the corner of a piece is added to its coordinates."""
    geometry = feature["geometry"]
    if not geometry["coordinates"]:
        return geometry["type"], ()
    bounds = affinity.translate(shape(geometry), left, top).bounds
    return geometry["type"], tuple(round(value, 6) for value in bounds)


def test_ids_are_those_of_the_slide(file: Path, crops: Path) -> None:
    document = json.loads(file.read_text())["features"]
    ids = {each["id"] for each in [*document, *document[0]["properties"]["childObjects"]]}
    for path in crops.glob("*.geojson"):
        assert {each["id"] for each in json.loads(path.read_text())["features"]} <= ids


def test_what_is_printed(slide: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "crops"
    assert run(slide, "--annotations", file.parent, "--out", out, *MARGIN) == 0
    lines = capsys.readouterr().out.splitlines()
    written = [json.loads(path.read_text())["features"] for path in out.glob("*.geojson")]
    objects = len({each["id"] for features in written for each in features}) - 3
    outside = 260 + 1 + 2 + 3 + 1 + 1 - objects
    # Regions less what is ignored: 20 × 20.75 pixels of the second.
    mm2 = (69.5 * 60 + 50 * 60.5 + 110 * 100 - 20 * 20.75) * (MPP / 1000) ** 2
    assert "cropped to what was scanned" in lines[0]
    assert lines[1:] == [
        f"{slide}: 2 pieces, 3 regions, {objects} objects, {mm2:.4g} mm² annotated",
        f"  {outside} objects touch no piece, and are left out",
        "  left out 1 outlines: 1 whose outline holds no area",
        "  1 tiles, cores, points or lines, left out",
        f"{out}: 2 images. Next: nucseg prepare folder --source {out} --name NAME --test ID",
    ]
    assert outside > 50


def test_the_folder_is_prepared(crops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path), "--name", "mine", "--test", "s_2"]
    assert nucseg(["prepare", "folder", "--source", str(crops), *out]) == 0
    assert "0.25 µm a pixel: TIFF resolution tags" in capsys.readouterr().out
    found = load(tmp_path)[1]
    assert found.keys() == {"s_1", "s_2"}
    for name, example in found.items():
        drawing = read_labels(crops / f"{name}.geojson", example.label_map.shape, mpp=MPP)
        np.testing.assert_array_equal(example.label_map, drawing.labels)
        np.testing.assert_array_equal(example.unannotated, drawing.unannotated)


def test_a_region_in_two_parts_and_a_class_of_regions(tmp_path: Path) -> None:
    """A region's parts are pieces of their own; the nuclei in a drawn nucleus come with it."""
    image = write_tiff(tmp_path / "a.tif", tissue(100, 300, 20), MPP)
    parts = [rectangle(0, 0, 40, 40)["coordinates"], rectangle(200, 50, 260, 300)["coordinates"]]
    held = [rectangle(left, 12, left + 5, 28) for left in (29, 35, 43)]  # the last is outside of the piece
    drawn = qupath({"type": "MultiPolygon", "coordinates": parts}, of_class="Box")
    holder = qupath(rectangle(28, 10, 50, 30), of_class="Tumor")
    path = write_geojson(tmp_path / "b.geojson", collection(drawn, *map(qupath, held), holder))
    out = tmp_path / "out"
    options = ("--annotations", path, "--out", out, "--region-class", "box", "--margin-um", 0)
    assert run(image, *options) == 0
    assert boxes(out) == {"a_1": (slice(0, 40), slice(0, 40)), "a_2": (slice(50, 100), slice(200, 260))}
    first, second = (json.loads((out / f"a_{i}.geojson").read_text())["features"] for i in (1, 2))
    assert len(first) == 5 and len(second) == 1
    drawing = read_labels(out / "a_1.geojson", (40, 40), mpp=MPP, region_classes=["box"])
    assert drawing.unannotated is None and drawing.skipped == {"without a pixel in the image": 1}
    assert np.bincount(drawing.labels.ravel())[1:].tolist() == [80, 80, 12 * 20 - 160]


def test_again(slide: Path, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "crops"
    asked = (slide, "--annotations", file, "--out", out, *MARGIN)
    assert run(*asked) == 0
    content = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(*asked) == 2
    assert f"--out {out}: is there already. Give --overwrite" in capsys.readouterr().err
    assert run(*asked, "--overwrite") == 0
    assert {path.name: path.read_bytes() for path in out.iterdir()} == content
    (out / "mine.txt").write_text("notes")
    assert run(*asked, "--overwrite") == 2
    assert "holds files that this command has not made, such as mine.txt" in capsys.readouterr().err
    assert len(list(out.iterdir())) == len(content) + 1


def refused(capsys: pytest.CaptureFixture[str], out: Path, *arguments: object) -> str:
    """What a command says that fails and leaves no folder."""
    assert run(*arguments, "--out", out) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and not out.exists() and len(list(out.parent.glob("out*"))) == 0
    return said


def test_what_is_refused(
    slide: Path,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, other = tmp_path / "out", write_tiff(tmp_path / "b.tif", tissue(64, 64, 5))
    nuclei = write_geojson(tmp_path / "n.geojson", collection(detected(rectangle(1, 1, 9, 9))))
    off = write_geojson(tmp_path / "off.geojson", collection(region(0, 0, 9, 9), region(480, 0, 500, 90)))
    said = refused(capsys, out, slide, "--annotations", nuclei)
    assert "n.geojson: has no region of s.scn, only 1 objects that are none. Give the rectangle" in said
    assert "class Region*" in said and "nucseg prepare folder as it is" in said and said.count("\n") == 1
    said = refused(capsys, out, slide, "--annotations", off)
    assert f"{slide}: region 2 of {off} lies off the slide, which has 480×320 pixels" in said
    assert "is for one slide, and there are 2" in refused(capsys, out, slide, other, "--annotations", file)
    said = refused(capsys, out, slide, other, "--annotations", file.parent)
    assert "has no file of these slides:" in said and f"{other}: b.geojson" in said
    same = tmp_path / "S.tif"
    other.rename(same)
    said = refused(capsys, out, slide, same, "--annotations", file.parent)
    assert f"{slide} and {same}: the pieces of both would be named S_1" in said
    said = refused(capsys, out, slide, "--annotations", file, "--region-class", "Bix")
    assert "--region-class 'Bix': no object of the GeoJSON files has this class" in said
    said = refused(capsys, out, slide, "--annotations", file, "--margin-um", "-1")
    assert "--margin-um -1: must be 0 µm or more" in said
    said = refused(capsys, out, slide, "--annotations", file, "--to-mpp", "50")
    assert "--to-mpp 50: is not within" in said
    monkeypatch.setattr(cut_module, "MOST_PIXELS", 25_000)
    said = refused(capsys, out, slide, "--annotations", file, *MARGIN)
    assert "2 regions whose boxes meet are a piece of 135×244 pixels, and images of at most 25,000" in said


def test_an_image_without_a_resolution(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(tissue(64, 64, 5)).save(tmp_path / "a.png")
    path = write_geojson(tmp_path / "a.geojson", collection(region(0, 0, 30, 30)))
    said = refused(capsys, tmp_path / "out", tmp_path / "a.png", "--annotations", path)
    assert "a.png: has no resolution" in said and "Give it with --mpp" in said
    assert run(tmp_path / "a.png", "--annotations", path, "--out", tmp_path / "out", "--mpp", 0.5) == 0
    with open_slide(tmp_path / "out" / "a_1.tif") as piece:
        assert piece.size == (64, 64) and piece.mpp == pytest.approx(0.5)
