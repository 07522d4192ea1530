"""The page is one file that needs no other. It can be written of little, and a browser shows it whole."""

import dataclasses
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from nucseg_jax import report
from nucseg_jax.errors import DataError
from tests.metrics.square_nuclei import EMPTY, FLAWED, TRUTH
from tests.report.comparisons import CURVES, EXAMPLES, comparison, entry, example, facts, whole_comparison
from tests.report.documents import Document


def test_names_are_escaped(html):
    assert "unet &lt;i&gt;small&lt;/i&gt;" in html.replace("<wbr>", "")
    assert "<i>small" not in html
    assert "liver <b>" not in html
    assert "python -m x &#x27;a &amp; b&#x27;" in html


def test_the_page_is_well_formed_and_needs_no_other_file(html):
    document = Document(html)
    assert {tag for tag, _ in document.tags}.isdisjoint({"script", "link", "iframe", "object"})
    assert all(value.startswith(("#", "figures/")) for value in document.values("href"))
    assert all(value.startswith("data:image/") for value in document.values("src"))
    assert "url(" not in html and "@import" not in html


def test_every_link_leads_somewhere(page, html):
    document = Document(html)
    anchors = document.values("id")
    assert len(anchors) == len(set(anchors))
    links = document.values("href")
    assert {link[1:] for link in links if link.startswith("#")} == set(anchors)
    files = {link for link in links if link.startswith("figures/")}
    assert files == {f"figures/{path.name}" for path in (page.parent / "figures").iterdir()}
    stems = {Path(file).stem for file in files}
    assert {"box_dice", "box_aji", "counts", "parameters", "aji_gflops", "masks"} < stems
    assert {"curves_unet_i_small_i", "panel_breast", "panel_liver_b", "panel_colon"} < stems


def test_writing_again_replaces_the_figures(tmp_path):
    report.write(whole_comparison(), tmp_path)
    one = comparison([entry("psp", "network", [TRUTH] * 3)])
    report.write(one, tmp_path)
    assert not (tmp_path / "figures" / "curves_unet_i_small_i.svg").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.html"]


def test_a_failure_leaves_the_older_report(tmp_path):
    page = report.write(comparison([entry("psp", "network", [TRUTH] * 3)]), tmp_path)
    before = page.read_bytes(), sorted((tmp_path / "figures").iterdir())
    packed = tuple(dataclasses.replace(e, original_image=None) for e in EXAMPLES)
    with pytest.raises(DataError, match="TCGA-AA-0000"):
        report.write(comparison([entry("unet", "network", [FLAWED] * 3)], packed), tmp_path)
    assert (page.read_bytes(), sorted((tmp_path / "figures").iterdir())) == before
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_to_report_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one entry"):
        report.write(comparison([]), tmp_path)
    with pytest.raises(ValueError, match="one image"):
        report.write(comparison([entry("unet", "network", [], ())], ()), tmp_path)


# --- reports of little ---

ONE = EXAMPLES[:1]
BARE = {
    "one network": comparison(
        [entry("unet", "network", [FLAWED] * 3, facts=facts("unet", 1.0), curves=CURVES)]
    ),
    "no facts, no curves": comparison([entry("unet", "network", [FLAWED] * 3)]),
    "no ensemble": comparison([entry("unet", "network", [TRUTH] * 3), entry("c", "classical", [FLAWED] * 3)]),
    "no network": comparison([entry("c", "classical", [FLAWED] * 3), entry("q", "external", [TRUTH] * 3)]),
    "one image": comparison(
        [
            entry("unet", "network", [FLAWED], ONE, facts("unet", 1.0)),
            entry("or", "ensemble", [TRUTH], ONE),
            entry("c", "classical", [EMPTY], ONE),
        ],
        ONE,
    ),
    "nothing found": comparison(
        [entry("unet", "network", [EMPTY] * 3), entry("or", "ensemble", [EMPTY] * 3)]
    ),
    "nothing there": comparison(
        [entry("unet", "network", [EMPTY], (example(0, "", EMPTY),))], (example(0, "", EMPTY),)
    ),
    "names alike": comparison(
        [entry(name, "network", [FLAWED] * 3, curves=CURVES) for name in ("a b", "A_b", "a\nb", "☃" * 99)]
    ),
}


@pytest.mark.parametrize("case", BARE)
def test_a_report_of_little_is_a_report(case, tmp_path):
    html = report.write(BARE[case], tmp_path).read_text()
    document = Document(html)
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<svg.*?</svg>|<[^>]+>", " ", html, flags=re.S))
    assert {v[1:] for v in document.values("href") if v.startswith("#")} == set(document.values("id"))
    curves = [one for one in BARE[case].entries if one.curves]
    assert len(list(tmp_path.glob("figures/curves*.svg"))) == len(curves)
    for path in tmp_path.glob("figures/*.svg"):
        ElementTree.parse(path)
        assert not re.search(r"\b(nan|inf)\b", path.read_text())


# --- in a browser ---

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Run in the page: how far it reaches sideways, and the texts that leave their charts or lie on others.
MEASURE = """<script>
const off = [], boxes = [...document.querySelectorAll("svg")].map(s => [s.getBoundingClientRect(),
  [...s.querySelectorAll("text")].map(t => [t.firstChild.data, t.getBoundingClientRect()])]);
for (const [s, texts] of boxes) texts.forEach(([a, p], i) => {
  const aside = p.left < s.left - 1 || p.right > s.right + 1;
  if (aside || p.top < s.top - 1 || p.bottom > s.bottom + 1) off.push(a);
  for (const [b, q] of texts.slice(i + 1)) {
    const w = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const h = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (w > 2 && h > 5) off.push(a + " / " + b);
  }
});
parent.document.title = JSON.stringify([document.documentElement.scrollWidth, off]);
</script></body>"""


def browse(folder, *arguments):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    profile = f"--user-data-dir={folder / 'profile'}"
    return subprocess.run(
        [*command, profile, *arguments], capture_output=True, text=True, timeout=60, check=True
    ).stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_a_browser_shows_the_page(page, tmp_path):
    picture = tmp_path / "page.png"
    browse(tmp_path, f"--screenshot={picture}", "--window-size=1280,2000", page.as_uri())
    with Image.open(picture) as shown:
        assert shown.size == (1280, 2000)
        assert len(shown.convert("RGB").getcolors(1 << 24)) > 100


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows_or_overlaps_in_a_browser(html, tmp_path, width):
    measured = tmp_path / "measured.html"
    # In a frame, since no window is as narrow as a phone.
    inside = escape(html.replace("</body>", MEASURE))
    measured.write_text(
        f'<title></title><iframe style="width:{width}px;border:0" srcdoc="{inside}"></iframe>'
    )
    dumped = browse(tmp_path, "--dump-dom", measured.as_uri())
    assert unescape(re.search(r"<title>(.*?)</title>", dumped)[1]) == f"[{width},[]]"
