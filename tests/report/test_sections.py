"""The sections: their pictures are in the page itself."""

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from nucseg_jax import report
from tests.metrics.square_nuclei import FLAWED, SIZE, TRUTH
from tests.report.comparisons import EXAMPLES, comparison, entry
from tests.report.documents import Document


def test_pictures_in_the_page_can_be_read(html):
    sources = Document(html).values("src")
    assert len(sources) == 3 * (2 + 5) + 3
    for source in sources:
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            assert picture.size == (4 * SIZE, 4 * SIZE)


def test_a_report_says_and_shows_what_nobody_annotated(tmp_path, html):
    """Of one of two images a half: of all pixels a quarter."""
    mask = np.arange(SIZE) >= np.full((SIZE, 1), SIZE // 2)
    first = replace(EXAMPLES[0], original_label_map=np.where(mask, 0, TRUTH), original_unannotated=mask)
    examples = (first, EXAMPLES[1])
    page = report.write(
        comparison([entry("tool", "external", [FLAWED, FLAWED], examples)], examples), tmp_path / "out"
    ).read_text()
    assert page.count("Scores are of the 75 % of all pixels that are annotated.") == 1
    shown = "Nobody annotated what is dimmed or hatched"
    assert page.count(shown) == 1 and shown not in html and "that are annotated." not in html
    with Image.open(tmp_path / "out/figures/panel_breast.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert (pixels == (60, 60, 60)).all(axis=-1).sum() > 0.2 * mask.sum() * 16, "hatches, four times as large"
