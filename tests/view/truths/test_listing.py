"""Ground truths: whose they are, what they hold, and results against them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from data_prep.label_files import read_labels
from nucseg_jax import metrics
from nucseg_jax.errors import UserError
from nucseg_jax.view.library import Library
from nucseg_jax.view.truths.listing import add_truths
from nucseg_jax.view.truths.reading import Drawing
from tests.export.drawn_nuclei import label_map_of, many
from tests.view.comparison.test_comparing import PREDICTION, TRUTH, moved
from tests.view.conftest import page_of
from tests.view.drawn_results import FRAME, write_result, write_slide
from tests.view.routes.test_routes import unpacked

NAMES = ("aji", "aji_plus", "pq", "dq", "sq", "dice")


SQUARES = np.tile(np.pad(np.ones((5, 5), np.int32), ((0, 5), (0, 11))), (30, 25))
"""One number for 750 squares."""


def drawn(path: Path, shape: tuple[int, int], mpp: float, classes: Sequence[str]) -> Drawing:
    return read_labels(path, shape, mpp=mpp, region_classes=classes)


def page(folder: Path, *truths: Path, classes: Sequence[str] = ()) -> tuple[TestClient, Library]:
    library = Library()
    library.add(folder)
    add_truths(library, truths, classes)
    return page_of(library, folder, draw_outlines=drawn), library


def write_labels(path: Path, labels: NDArray[np.int32]) -> Path:
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, labels)
    else:
        Image.fromarray(labels.astype(np.uint16)).save(path)
    return path


def box(left: float, top: float, right: float, bottom: float, name: str = "") -> dict[str, object]:
    """A feature as QuPath has it: a detection, or an annotation of a class."""
    properties: dict[str, object] = {"objectType": "annotation" if name else "detection"}
    if name:
        properties["classification"] = {"name": name}
    geometry = json.loads(shapely.to_geojson(shapely.box(left, top, right, bottom)))
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def write_geojson(path: Path, *features: dict[str, object]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A slide and its result, of PREDICTION."""
    write_slide(tmp_path / "slide.png")
    write_result(tmp_path / "found", tmp_path / "slide.png", PREDICTION)
    return tmp_path


@pytest.mark.parametrize("name", ["slide_label.png", "slide.png", "slide_mask.npy", "slide.tiff"])
def test_a_label_map_is_a_result(folder, name):
    labels = label_map_of(TRUTH, FRAME) * 3
    client, library = page(folder, write_labels(folder / "truth" / name, labels))
    with client:
        listed = {result["name"]: result for result in client.get("api/library").json()["results"]}
        assert {name: result["truth"] for name, result in listed.items()} == {"found": False, name: True}
        truth = listed[name]
        assert truth["slide"] == listed["found"]["slide"] and truth["missing"] == ""
        about = client.get(f"api/results/{truth['id']}").json()
        assert (about["count"], about["width"], about["height"]) == (5, 400, 300)
        assert about["truth"] and about["has_outlines"] and about["mpp"] == pytest.approx(0.25, rel=1e-3)
        assert about["model"] is None and about["files"] == [] and about["notes"] == []
        nucleus = client.get(f"api/results/{truth['id']}/nucleus?x=15&y=15").json()
        assert nucleus["id"] == 3 and nucleus["centroid_px"] == {"x": 15.0, "y": 15.0}
        assert nucleus["measurements"]["area_um2"] == pytest.approx(100 * about["mpp"] ** 2)
        assert sorted(map(tuple, nucleus["outline"][0])) == [(10, 10), (10, 20), (20, 10), (20, 20)]
        region = client.post(f"api/results/{truth['id']}/region", json={"rectangle": [0, 0, 400, 30]})
        assert region.json()["count"] == 2

        found = client.get(f"api/compare?reference={truth['id']}&other={listed['found']['id']}").json()
        wanted = metrics.score(labels, label_map_of(PREDICTION, FRAME))
        assert {name: found[name] for name in NAMES} == pytest.approx(
            {name: wanted[name] for name in NAMES}, abs=1e-12
        )
        assert found["counts"]["merged"] == 2 and found["notes"] == []
    assert library.notes == []


def test_a_nucleus_in_pieces_stays_one(folder):
    labels = label_map_of(TRUTH, FRAME)
    labels[100:110, 100:110] = labels[110:115, 110:115] = labels[112:118, 130:133] = 7
    labels[103:105, 103:105] = 0
    client, library = page(folder, write_labels(folder / "truth" / "slide.npy", labels))
    truth = next(result.id for result in library.results() if result.is_truth)
    found = next(result.id for result in library.results() if not result.is_truth)
    with client:
        assert client.get(f"api/results/{truth}").json()["count"] == 6
        address = f"api/results/{truth}/nucleus"
        nucleus = client.get(f"{address}?id=7").json()
        assert len(nucleus["outline"]) == 4 and nucleus["measurements"]["solidity"] is None
        mpp = client.get(f"api/results/{truth}").json()["mpp"]
        assert nucleus["measurements"]["area_um2"] == pytest.approx(139 * mpp**2)
        for x, y in ((101, 101), (112, 112), (131, 115)):
            assert client.get(f"{address}?x={x}&y={y}").json()["id"] == 7
        assert client.get(f"{address}?x=104&y=104").status_code == 404
        for scale, most in ((0.5, 4), (7, 3)):  # from afar without holes, and what is small may go
            query = f"x=132&y=90&w=9&h=40&scale={scale}"
            shown = unpacked(client.get(f"api/results/{truth}/nuclei?{query}").content)
            assert shown["ids"].tolist() == [7] and 2 < len(shown["point_start"]) <= most + 1
        scores = client.get(f"api/compare?reference={truth}&other={found}").json()
        wanted = metrics.score(labels, label_map_of(PREDICTION, FRAME))
        assert {name: scores[name] for name in NAMES} == pytest.approx(
            {name: wanted[name] for name in NAMES}, abs=1e-12
        )


@pytest.mark.parametrize("seed", range(3))
def test_regions_bound_the_comparison(tmp_path, seed):
    write_slide(tmp_path / "slide.png")
    truth = many(100, FRAME, seed=seed)
    prediction = moved(truth, seed)
    write_result(tmp_path / "found", tmp_path / "slide.png", prediction)
    features = []
    for nucleus in truth:
        rows, columns = nucleus.mask.shape
        right, bottom = nucleus.left + columns, nucleus.top + rows
        features.append(box(nucleus.left, nucleus.top, right, bottom))
    features += [box(33, 27, 250, 180, "Region*"), box(200, 100, 220, 290, "Ignore*")]
    file = write_geojson(tmp_path / "slide.geojson", *features)
    drawing = read_labels(file, FRAME.size, mpp=FRAME.mpp)
    wanted = metrics.score(drawing.labels, label_map_of(prediction, FRAME), drawing.unannotated)
    client, library = page(tmp_path, file)
    result, truth_ = library.results()
    with client:
        query = f"reference={truth_.id}&other={result.id}"
        found = client.get(f"api/compare?{query}").json()
        assert {name: found[name] for name in NAMES} == pytest.approx(
            {name: wanted[name] for name in NAMES}, abs=1e-12
        )
        assert found["counts"]["reference"] == wanted["count_true"] < 100
        assert found["counts"]["other"] == wanted["count_pred"]
        assert any("regions, outside of which nothing is annotated: 1" in note for note in found["notes"])
        outside = len(prediction) - found["counts"]["other"]
        assert (
            f"found: nuclei outside of the annotated part, which are not compared: {outside}"
            in found["notes"]
        )
        notes = client.get(f"api/results/{truth_.id}").json()["notes"]
        assert "regions, outside of which nothing is annotated: 1" in notes
        colours = f"x=0&y=0&w=400&h=300&against={truth_.id}&role=other"
        values = unpacked(client.get(f"api/results/{result.id}/nuclei?{colours}").content)["value"]
        assert np.isnan(values).sum() == outside


def test_outlines_of_imagescope(folder):
    corners = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((10, 10), (30, 10), (30, 30), (10, 30)))
    regions = f"<Regions><Region><Vertices>{corners}</Vertices></Region></Regions>"
    (folder / "slide.xml").write_text(f"<Annotations><Annotation>{regions}</Annotation></Annotations>")
    client, library = page(folder, folder)
    truth = next(result for result in library.results() if result.is_truth)
    with client:
        area = client.get(f"api/results/{truth.id}/nucleus?x=20&y=20").json()["measurements"]["area_um2"]
    labels = read_labels(folder / "slide.xml", FRAME.size, mpp=FRAME.mpp).labels
    assert area == pytest.approx((labels == 1).sum() * 0.25**2, rel=1e-3)


def test_outlines_win_over_label_maps_in_a_folder(folder):
    write_labels(folder / "slide_label.png", label_map_of(TRUTH, FRAME))
    write_geojson(folder / "slide.png.geojson", box(1, 1, 9, 9))
    (folder / "other.geojson").write_text("{}")
    _, library = page(folder, folder)
    (truth,) = (result for result in library.results() if result.is_truth)
    assert truth.name == "slide.png.geojson"
    assert any("its label maps are left out" in note for note in library.notes)
    assert any("of no slide that is named, left out: other.geojson" in note for note in library.notes)


def test_a_label_map_beside_its_image_is_no_image(folder):
    write_labels(folder / "slide_label.png", label_map_of(TRUTH, FRAME))
    _, library = page(folder, folder)
    (truth,) = (result for result in library.results() if result.is_truth)
    assert truth.name == "slide_label.png"
    assert next(slide.name for slide in library.slides() if slide.id == truth.slide) == "slide.png"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.geojson", "missing.geojson: no such file or folder"),
        ("stranger.geojson", "stranger.geojson: is of no slide that is named. Name it as the slide"),
        ("notes.txt", "has no outlines and no label map (.geojson, .geojson.gz,"),
        ("several", "slide.png has several truths"),
    ],
)
def test_what_is_no_truth_of_a_slide_is_explained(folder, name, message):
    write_geojson(folder / "stranger.geojson", box(1, 1, 9, 9))
    (folder / "notes.txt").write_text("notes")
    (folder / "several").mkdir()
    write_geojson(folder / "several" / "slide.geojson", box(1, 1, 9, 9))
    write_geojson(folder / "several" / "slide.json", box(1, 1, 9, 9))
    with pytest.raises(UserError) as caught:
        page(folder, folder / name)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_fits_two_slides_is_explained(folder):
    write_slide(folder / "again" / "slide.tif")
    library = Library()
    for name in (".", "again"):
        library.add(folder / name)
    with pytest.raises(UserError, match="slide.geojson: may be of .*slide.png, .*slide.tif. Name one"):
        add_truths(library, [write_geojson(folder / "slide.geojson", box(1, 1, 9, 9))])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(300, 399, dtype=np.int32), "is 300 x 399 (height x width), but its image is 300 x 400"),
        (np.ones((300, 400), np.int32), "number 1 covers 100% of the image"),
        (SQUARES, "750 separate pieces have one number, so this is a mask or a map of classes"),
    ],
)
def test_a_map_that_cannot_be_used_is_explained(folder, labels, message):
    client, library = page(folder, write_labels(folder / "truth" / "slide.npy", labels))
    truth = next(result.id for result in library.results() if result.is_truth)
    with client:
        answer = client.get(f"api/results/{truth}")
        assert answer.status_code == 422 and message in answer.json()["error"], answer.text


def test_classes_of_regions_are_named(folder):
    nuclei = [box(60, 60, 70, 70), box(90, 60, 100, 70)]
    file = write_geojson(folder / "slide.geojson", box(50, 50, 350, 250, "Tumor"), *nuclei)
    for classes, status in (((), 422), (("Tumor",), 200)):
        client, library = page(folder, file, classes=classes)
        truth = next(result.id for result in library.results() if result.is_truth)
        with client:
            answer = client.get(f"api/results/{truth}")
            assert answer.status_code == status, answer.text
            assert answer.json().get("count", 2) == 2


def test_a_truth_that_has_changed_is_read_again(folder):
    file = write_labels(folder / "truth" / "slide.npy", label_map_of(TRUTH, FRAME))
    client, library = page(folder, file)
    truth = next(result.id for result in library.results() if result.is_truth)
    with client:
        assert client.get(f"api/results/{truth}").json()["count"] == 5
        labels = label_map_of(TRUTH[:4], FRAME)
        write_labels(file, np.where(labels > 0, labels, 0).astype(np.int64))
        assert client.get(f"api/results/{truth}").json()["count"] == 4
