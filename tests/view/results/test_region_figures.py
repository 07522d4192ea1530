"""Figures of drawn regions against the table and the summary of the result."""

import json

import numpy as np
import pyarrow.parquet
import pytest

from nucseg_jax.errors import UserError
from nucseg_jax.nuclei import Frame
from nucseg_jax.slides import open_slide
from nucseg_jax.slides.tissue_mask import MASK_MPP, slide_kinds
from nucseg_jax.view.results.analysed_tissue import AnalysedTissue, analysed_tissue
from nucseg_jax.view.results.region_figures import BINS, figures, read_region
from nucseg_jax.view.slides.displayed_slide import DisplayedSlide, Opening
from tests.view.drawn_results import FRAME, write_slide
from tests.view.nuclei.test_index import index_of

WHOLE = {"rectangle": [0, 0, 400, 300]}


@pytest.fixture
def index(tmp_path):
    return index_of(tmp_path, formats=["parquet", "neighbours", "density"])


@pytest.fixture
def table(tmp_path, index):
    return pyarrow.parquet.read_table(tmp_path / "out/nuclei.parquet").to_pandas()


@pytest.mark.parametrize(
    "document",
    [
        {"rectangle": [100, 50, 300, 250]},
        {"rectangle": [300, 250, 100, 50]},
        {"rectangle": [25, 12.5, 75, 62.5], "unit": "um"},
        {"polygon": [[100, 50], [300, 50], [300, 250], [100, 250]], "unit": "px"},
    ],
)
def test_a_rectangle_however_it_is_given(index, table, document):
    found = figures(index, read_region(document, FRAME), FRAME, None)
    inside = table[table.centroid_x_px.between(100, 300) & table.centroid_y_px.between(50, 250)]
    assert found["count"] == len(inside) > 5
    assert found["area_mm2"] == pytest.approx(200 * 200 * (0.25 / 1000) ** 2)
    assert (found["tissue_mm2"], found["per"]) == (None, "region")
    assert found["per_mm2"] == pytest.approx(len(inside) / found["area_mm2"])
    area = found["measurements"]["area_um2"]
    assert area["mean"] == pytest.approx(inside.area_um2.mean())
    assert area["median"] == pytest.approx(inside.area_um2.median())
    assert area["sd"] == pytest.approx(inside.area_um2.std(ddof=0))
    assert sum(area["counts"]) == area["count"] == len(inside)
    assert len(area["edges"]) == BINS + 1 and len(area["counts"]) == BINS
    assert area["edges"][0] == pytest.approx(table.area_um2.quantile(0.01))


def test_a_triangle_holds_what_lies_under_its_side(index, table):
    found = figures(index, read_region({"polygon": [[0, 0], [400, 0], [0, 300]]}, FRAME), FRAME, None)
    assert found["count"] == (table.centroid_x_px / 400 + table.centroid_y_px / 300 <= 1).sum()
    assert found["area_mm2"] == pytest.approx(400 * 300 / 2 * (0.25 / 1000) ** 2)


def test_only_the_part_on_the_slide_counts(index):
    found = figures(index, read_region({"rectangle": [-1000, -1000, 400, 300]}, FRAME), FRAME, None)
    assert found["count"] == 60 and found["area_mm2"] == pytest.approx(400 * 300 * (0.25 / 1000) ** 2)


def test_density_is_per_tissue_where_that_is_known(index):
    half = np.zeros((30, 40), bool)
    half[:, :20] = True
    found = figures(index, read_region(WHOLE, FRAME), FRAME, AnalysedTissue(half, "tissue"))
    assert found["tissue_mm2"] == pytest.approx(found["area_mm2"] / 2) and found["per"] == "tissue"
    assert found["per_mm2"] == pytest.approx(60 / found["tissue_mm2"])
    glass = figures(
        index, read_region({"rectangle": [250, 0, 400, 300]}, FRAME), FRAME, AnalysedTissue(half, "tissue")
    )
    assert glass["tissue_mm2"] == 0 and glass["per_mm2"] is None and glass["count"] > 0


def test_a_region_without_nuclei(index):
    found = figures(index, read_region({"rectangle": [0, 0, 0.5, 0.5]}, FRAME), FRAME, None)
    assert found["count"] == 0 and found["measurements"]["area_um2"]["mean"] is None
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("masked", [[], ["pen"]])
def test_the_whole_slide_has_the_density_of_the_summary(tmp_path, masked):
    frame = Frame(size=(900, 1000), mpp=0.5, network_mpp=0.5)
    pixels = write_slide(tmp_path / "slide.png", frame.size, mpp=0.5)
    pixels[:, 400:] = 250  # glass
    from PIL import Image

    Image.fromarray(pixels).save(tmp_path / "slide.png", dpi=(50800, 50800))
    with open_slide(tmp_path / "slide.png") as slide:
        mask = slide_kinds(slide.thumbnail(round(500 / MASK_MPP)), masked).tissue
    assert 0.3 < mask.mean() < 0.6
    index = index_of(tmp_path, None, frame, tissue=mask, slide="slide.png")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    with DisplayedSlide(Opening(tmp_path / "slide.png")) as slide:
        tissue = analysed_tissue(frame, slide, masked, tmp_path / "out/density.tif")
    found = figures(index, read_region({"rectangle": [0, 0, 1000, 900]}, frame), frame, tissue)
    assert found["per"] == "tissue"
    assert found["tissue_mm2"] == pytest.approx(summary["nuclei"]["area_mm2"], rel=1e-6)
    assert found["per_mm2"] == pytest.approx(summary["nuclei"]["per_mm2"], rel=1e-6)
    without = analysed_tissue(frame, None, masked, tmp_path / "out/density.tif")
    assert without.kind == "squares" and mask.mean() < without.mask.mean() < mask.mean() + 0.15
    assert analysed_tissue(frame, None, masked, None) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1, 2], "cannot be read"),
        ({}, "cannot be read"),
        ({"rectangle": [1, 2, 3]}, "cannot be read"),
        ({"rectangle": [0, 0, 5, 5], "unit": "mm"}, "cannot be read"),
        ({"rectangle": ["a", 0, 5, 5]}, "cannot be read"),
        ({"polygon": [[0, 0], [1, 1]]}, "3 to 10,000 points"),
        ({"polygon": [[0, 0], [1, 1], [2]]}, "cannot be read"),
        ({"rectangle": [5, 5, 5, 5]}, "holds no area"),
        ({"rectangle": [float("nan"), 0, 5, 5]}, "no outline that can be read"),
        ({"rectangle": [1000, 1000, 2000, 2000]}, "off the slide"),
    ],
)
def test_what_is_no_region_is_refused(document, message):
    with pytest.raises(UserError, match=message):
        read_region(document, FRAME)
