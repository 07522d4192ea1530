"""The summary of a result: its numbers, its pictures, and that it needs and runs nothing."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import tifffile
from PIL import Image

from nucseg_jax.export.density import COLOURS
from nucseg_jax.nuclei import Frame
from nucseg_jax.report.markup import significant
from nucseg_jax.view.library import Library
from nucseg_jax.view.nuclei.sources import COLUMNS
from nucseg_jax.view.summary.area_histogram import bars
from nucseg_jax.view.summary.measurement_words import MEASUREMENTS
from tests.export.drawn_nuclei import many
from tests.view.conftest import page_of
from tests.view.drawn_results import FRAME, write_result, write_slide

LARGE = Frame(size=(1010, 1720), mpp=1.0, network_mpp=1.0)
ODD = 'a <b>&amp; "Ä".png'


class Seen(HTMLParser):
    """What a reader sees.

    Attributes:
      rows: of all tables, by their heads.
      pictures: by their alternative texts.
      text: all of it, on one line.
      tags: that there are.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: dict[str, list[str]] = {}
        self.pictures: dict[str, Image.Image] = {}
        self.text, self.tags = "", set[str]()
        self._row: list[str] = []
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        if tag == "tr":
            self._row = []
        if tag in ("td", "th"):
            self._row.append("")
        if tag == "img":
            kind, content = re.fullmatch("data:image/(png|jpeg);base64,(.*)", given["src"] or "").groups()
            picture = Image.open(io.BytesIO(base64.b64decode(content)))
            assert picture.format == kind.upper()
            self.pictures[given["alt"] or ""] = picture

    def handle_data(self, data: str) -> None:
        self.text += data + " "
        if self._row and not data.isspace():
            self._row[-1] = f"{self._row[-1]} {data}".strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "tr" and self._row:
            self.rows[self._row[0]] = self._row[1:]
            self._row = []


def summary(folder: Path, result: Path) -> tuple[Any, Seen]:
    """The answer, and what is seen of it."""
    library = Library()
    library.add(result)
    with page_of(library, folder) as client:
        answer = client.get(f"api/results/{library.results()[0].id}/summary.html")
    assert answer.status_code == 200, answer.text
    return answer, Seen(answer.text)


def change(result: Path, **changes: Any) -> None:
    """Change some of summary.json."""
    path = result / "summary.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_slide(root / "slide.png")
    write_result(root / "out", root / "slide.png", request={"pretrained": {"name": "he"}}, formats=None)
    return root


def test_its_numbers_are_those_of_the_result(made):
    answer, seen = summary(made, made / "out")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''slide_summary.html"
    table = pyarrow.parquet.read_table(made / "out/nuclei.parquet").to_pandas()
    written = json.loads((made / "out/summary.json").read_text())
    area, median = written["nuclei"]["area_mm2"], np.median(table["area_um2"])
    assert f"60 nuclei {significant(area)} mm² of tissue" in seen.text.replace("\xa0", " ")
    assert f"{significant(60 / area)} nuclei per mm² of this tissue" in seen.text
    low, first, third, high = np.quantile(table["area_um2"], [0.01, 0.25, 0.75, 0.99])
    assert seen.rows["Area"] == [
        *("µm²", significant(median)),
        f"{significant(first)} to {significant(third)}",
        f"{significant(low)} to {significant(high)}",
    ]
    assert seen.rows["Circularity 1 is a circle"][1] == significant(np.median(table["circularity"]))
    assert len(seen.rows) == 1 + len(MEASUREMENTS), "with the row of heads"
    for text in (
        *("slide.png", "For research use only. Not for diagnosis.", "400 × 300 pixels", "0.25 µm a pixel"),
        *("he, which saw 0.25 µm a pixel", written["versions"]["nucseg_jax"], f"median {median:.3g} µm²"),
    ):
        assert text in seen.text


def test_it_needs_no_other_file_and_runs_nothing(made):
    answer, seen = summary(made, made / "out")
    assert not seen.tags & {"script", "link", "iframe", "object", "form", "a"}
    assert not re.search(r"(?:src|href)=\"(?!data:)|url\(|@import|\son\w+=", answer.text)
    assert "default-src 'none'" in answer.text
    assert "prefers-color-scheme:dark" in answer.text and "@page{size:A4" in answer.text


def test_a_small_slide_is_shown_with_its_nuclei(made):
    _, seen = summary(made, made / "out")
    assert list(seen.pictures) == ["The slide", "The nuclei on the slide"]
    pixels = np.asarray(Image.open(made / "slide.png").convert("RGB"), float)
    picture = np.asarray(seen.pictures["The slide"], float)
    assert picture.shape == (*FRAME.size, 3) and np.abs(picture - pixels).mean() < 3
    overlay = np.asarray(Image.open(made / "out/overlay.png").convert("RGB"), float)
    assert np.abs(np.asarray(seen.pictures["The nuclei on the slide"], float) - overlay).mean() < 10


def test_a_large_slide_is_shown_with_its_density(tmp_path):
    write_slide(tmp_path / "slide.png", LARGE.size, mpp=1.0)
    write_result(tmp_path / "out", tmp_path / "slide.png", many(300, LARGE), frame=LARGE, formats=None)
    _, seen = summary(tmp_path, tmp_path / "out")
    assert list(seen.pictures) == ["The slide", "Density map"]
    density = tifffile.imread(tmp_path / "out/density.tif")
    picture = np.asarray(seen.pictures["Density map"])
    assert density.shape == (21, 35) and picture.shape == (528, 900, 3)
    (top,) = re.search(r"0 ([\d,]+) per mm²", seen.text).groups()
    end = float(top.replace(",", ""))
    assert density.max() <= end < 3 * density.max()
    # Within squares, of which the last ones reach over the edge.
    rows, columns = ((np.arange(count) + 0.15) * 50 * 900 / 1720 for count in density.shape)
    steps = np.linspace(0, 1, len(COLOURS))
    expected = np.stack([np.interp(density / end, steps, COLOURS[:, channel]) for channel in range(3)], -1)
    found = picture[np.ix_(rows.astype(int), columns.astype(int))]
    assert np.abs(found - expected).max() <= 1


def test_texts_are_escaped(tmp_path):
    write_slide(tmp_path / ODD)
    write_result(tmp_path / "out", tmp_path / ODD)
    regions = {"<i>Tumour": {"count": 1234, "area_mm2": 1.5, "tissue_mm2": 1.25, "per_mm2": 987.2}, "x": 1}
    note = "<script>alert(1)</script>\u202e"
    config = json.loads((tmp_path / "out/summary.json").read_text())["config"]
    change(tmp_path / "out", regions=regions, config={**config, "notes": [note]})
    answer, seen = summary(tmp_path, tmp_path / "out")
    assert not seen.tags & {"b>", "i>", "script"} and "<script" not in answer.text and ODD in seen.text
    assert seen.rows["<i>Tumour"] == ["1,234", "1.50", "1.25", "987"]
    assert seen.rows["x"] == ["–"] * 4
    assert "<script>alert(1)</script>\\u202e" in seen.text
    name = answer.headers["content-disposition"].partition("''")[2]
    assert name == "a%20%3Cb%3E%26amp%3B%20%22%C3%84%22_summary.html"


def test_what_is_not_known_is_said(tmp_path):
    write_slide(tmp_path / "gone.png")
    write_result(tmp_path / "out", tmp_path / "gone.png", formats=["csv"])
    (tmp_path / "gone.png").unlink()
    change(tmp_path / "out", nuclei=[], created="yesterday", versions=3, regions=[])
    _, seen = summary(tmp_path, tmp_path / "out")
    assert seen.pictures == {} and "its file was not to be had" in seen.text
    assert str(tmp_path) not in seen.text
    assert "not known of tissue were analysed" in seen.text and "on a day that is not known" in seen.text
    assert "Model not known, which saw" in seen.text and "of an unknown release" in seen.text
    assert len(seen.rows["Area"]) == 4


def test_damaged_pictures_are_left_out(tmp_path):
    write_slide(tmp_path / "slide.png")
    write_result(tmp_path / "out", tmp_path / "slide.png", formats=None)
    for name in ("overlay.png", "density.tif"):
        (tmp_path / "out" / name).write_bytes(b"no picture")
    _, seen = summary(tmp_path, tmp_path / "out")
    assert list(seen.pictures) == ["The slide"]


def test_corrections_are_told(made, tmp_path):
    library = Library()
    library.add(made / "out")
    at = f"api/results/{library.results()[0].id}"
    triangle = [[20, 20], [40, 20], [40, 40]]
    added = [{"id": "a1", "polygon": triangle, "replaces": [3, 4]}]
    document = {"version": 0, "removed": [1], "added": added, "regions": []}
    with page_of(library, tmp_path) as client:
        before = Seen(client.get(f"{at}/summary.html").text)
        client.put(f"{at}/corrections", json=document)
        after = Seen(client.get(f"{at}/summary.html").text)
    assert "corrected by hand" not in before.text
    assert "does not contain: 3 removed or replaced, 1 drawn" in after.text


def test_the_model_has_a_name(made, tmp_path):
    write_slide(tmp_path / "slide.png")
    write_result(tmp_path / "own", tmp_path / "slide.png", request={"params_sha256": "0123456789abcdef"})
    for folder, name in ((made / "out", "he"), (tmp_path / "own", "run 0123456789ab")):
        library = Library()
        library.add(folder)
        with page_of(library, tmp_path) as client:
            assert client.get(f"api/results/{library.results()[0].id}").json()["model"] == name


def test_no_nuclei(tmp_path):
    write_slide(tmp_path / "slide.png")
    write_result(tmp_path / "out", tmp_path / "slide.png", [])
    _, seen = summary(tmp_path, tmp_path / "out")
    assert "0 nuclei" in seen.text and seen.rows == {} and "svg" not in seen.tags


def test_bars_have_round_edges_and_all_nuclei():
    areas = np.array([*np.linspace(10, 60, 999), 5000.0])
    edges, counts = bars(areas)
    assert edges[0] == 0 and edges[-1] == 60 and set(np.diff(edges)) == {5.0}
    assert counts.sum() == 1000 and counts[0] == counts[1] == 0
    assert counts[-1] == (areas >= 55).sum()
    assert bars(np.zeros(3))[1].sum() == 3


def test_all_measurements_have_words():
    assert set(MEASUREMENTS) == set(COLUMNS) - {"touches_border"}
