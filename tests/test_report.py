import base64
import dataclasses
import io
import re
import shutil
import subprocess
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from nucseg_jax import metrics, report, scoring
from nucseg_jax.comparison import Comparison, Entry
from nucseg_jax.dataset import Example
from nucseg_jax.errors import DataError
from nucseg_jax.report import charts, literature, markup, numbers, panels, scatter, svg
from nucseg_jax.report.outcomes import Outcome, outcomes
from nucseg_jax.statistics import paired_difference

SIZE = 96
AREA = 100  # px: a nucleus of 8×8 is small, one of 16×16 is not


def squares(*boxes, size=SIZE):
    """A label map: nucleus i + 1 is the box (top, left, height, width) i."""
    label_map = np.zeros((size, size), np.int32)
    for i, (top, left, height, width) in enumerate(boxes):
        label_map[top : top + height, left : left + width] = i + 1
    return label_map


TRUTH = squares((8, 8, 16, 16), (8, 40, 16, 16), (40, 8, 16, 16), (40, 24, 16, 16), (72, 8, 16, 32))
# Right, missed, two merged, split in two, and one false.
FLAWED = squares((8, 10, 16, 16), (40, 8, 16, 32), (72, 8, 16, 15), (72, 24, 16, 16), (72, 72, 8, 8))
EMPTY = squares()


def example(place, organ, truth=TRUTH):
    generator = np.random.default_rng(place)
    tissue = generator.integers(90, 250, (SIZE, SIZE, 3)).astype(np.uint8)
    return Example(f"TCGA-AA-000{place}-01Z-00-DX1", organ, tissue, truth, tissue, truth)


EXAMPLES = (example(0, "breast"), example(1, "liver <b>"), example(2, "colon", np.roll(TRUTH, 4, axis=1)))
CURVES = (
    *(
        {"step": 10 * i, "loss": 1 / i, "learning_rate": 0.1 / i, "images_per_second": 3.0}
        for i in range(1, 40)
    ),
    {"step": 100, "validation_aji": 0.3, "validation_dice": 0.5},
    {"step": 200, "validation_aji": 0.4, "validation_dice": 0.6},
)


def entry(name, kind, label_maps, examples=EXAMPLES, facts=None, curves=()):
    images = (scoring.score_image(e, m, AREA, 1.0) for e, m in zip(examples, label_maps, strict=True))
    return Entry(name, kind, tuple(images), facts or {}, curves)


def facts(model, width):
    return {
        "model": model,
        "parameters": 2_162_146,
        "gflops": 27.4187,
        "step": 200,
        "config": {
            "model": {"name": model, "width": width},
            "data": {"dataset": "monuseg", "validation": ["a"]},
        },
        "versions": {"nucseg_jax": "0.1.0"},
        "instances": {"method": "watershed", "h_um": 0.125},
    }


def comparison(entries, examples=EXAMPLES):
    return Comparison("monuseg/paper_vahadane", "test", examples, tuple(entries), "python -m x 'a & b'", AREA)


def whole_comparison():
    return comparison(
        [
            entry(
                "unet <i>small</i>",
                "network",
                [TRUTH, FLAWED, FLAWED],
                facts=facts("unet", 0.25),
                curves=CURVES,
            ),
            entry("psp", "network", [FLAWED, FLAWED, EMPTY], facts=facts("psp_segnet", 1.0)),
            entry("or(unet, and(psp, unet))", "ensemble", [TRUTH, TRUTH, FLAWED], facts={"expression": "or"}),
            entry("classical", "classical", [FLAWED, EMPTY, np.roll(FLAWED, 9, axis=0)]),
            entry('tool "1"', "external", [e.original_label_map for e in EXAMPLES]),
        ]
    )


@pytest.fixture(scope="module")
def compared():
    return whole_comparison()


@pytest.fixture(scope="module")
def page(compared, tmp_path_factory):
    return report.write(compared, tmp_path_factory.mktemp("report") / "new" / "folder")


@pytest.fixture(scope="module")
def html(page):
    return page.read_text()


class Document(HTMLParser):
    """Checks that every tag is closed in its place; gathers attributes, and the text of tables by row."""

    VOID = {"meta", "img", "br", "wbr", "link", "hr", "input"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.tables = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("small", "br"):
            self.handle_data(" ")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def values(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def row(table, name):
    """The cells of the row whose head ends with `name`."""
    return next(cells[1:] for cells in table if cells[0].endswith(name))


# What became of each nucleus


def test_each_nucleus_is_right_missed_false_merged_or_split():
    found = outcomes(metrics.overlaps(TRUTH, FLAWED))
    right, merged, split, missed, false = Outcome
    assert found.truth.tolist() == [right, missed, merged, merged, split]
    assert found.prediction.tolist() == [right, merged, split, split, false]
    assert found.count() == {right: 1, merged: 2, split: 1, missed: 1, false: 1}


def test_exactly_half_of_a_nucleus_is_not_covered():
    truth = squares((0, 0, 10, 10), (0, 10, 10, 10))
    half_of_the_second = squares((0, 0, 10, 15))
    found = outcomes(metrics.overlaps(truth, half_of_the_second))
    assert found.truth.tolist() == [Outcome.RIGHT, Outcome.MISSED]
    half_outside = squares((0, 0, 10, 14), (0, 15, 10, 10))
    found = outcomes(metrics.overlaps(squares((0, 0, 10, 20)), half_outside))
    assert found.prediction.tolist() == [Outcome.RIGHT, Outcome.FALSE]
    more = squares((0, 0, 10, 16))
    assert outcomes(metrics.overlaps(truth, more)).truth.tolist() == [Outcome.MERGED, Outcome.MERGED]


def test_a_nucleus_too_large_is_missed_and_false():
    found = outcomes(metrics.overlaps(squares((10, 10, 10, 10)), squares((5, 5, 20, 20))))
    assert found.truth.tolist() == [Outcome.MISSED]
    assert found.prediction.tolist() == [Outcome.FALSE]


def test_outcomes_exchange_merged_and_split_with_the_maps():
    forth, back = (outcomes(metrics.overlaps(a, b)) for a, b in ((TRUTH, FLAWED), (FLAWED, TRUTH)))
    exchanged = {
        Outcome.MERGED: Outcome.SPLIT,
        Outcome.SPLIT: Outcome.MERGED,
        Outcome.MISSED: Outcome.FALSE,
        Outcome.FALSE: Outcome.MISSED,
        Outcome.RIGHT: Outcome.RIGHT,
    }
    assert [exchanged[o] for o in forth.truth] == back.prediction.tolist()
    assert [exchanged[o] for o in forth.prediction] == back.truth.tolist()


@pytest.mark.parametrize(("truth", "prediction"), [(EMPTY, EMPTY), (TRUTH, EMPTY), (EMPTY, FLAWED)])
def test_outcomes_of_empty_maps(truth, prediction):
    count = outcomes(metrics.overlaps(truth, prediction)).count()
    assert count[Outcome.MISSED] == len(np.unique(truth)) - 1
    assert count[Outcome.FALSE] == len(np.unique(prediction)) - 1
    assert sum(count.values()) == count[Outcome.MISSED] + count[Outcome.FALSE]


# The page


def test_scores_on_the_page_are_those_of_the_entries(compared, html):
    table = Document(html).tables[0]
    heads = [" ".join(head.split()) for head in table[0]]
    assert heads[1:9] == ["AJI", "AJI ≥ 100 µm²", "AJI+", "PQ", "DQ", "SQ", "Dice", "macro F1"]
    keys = ["aji", "aji_min_area", "aji_plus", "pq", "dq", "sq", "dice", "f1_macro"]
    for one in compared.entries:
        cells = row(table, one.name)
        for key, cell in zip(keys, cells, strict=False):
            values = [image.scores[key] for image in one.images]
            mean, interval = cell.split()
            low, high = (float(v) for v in interval.split("–"))
            assert mean == f"{np.mean(values):.3f}"
            assert low <= float(mean) <= high
        assert cells[8:] == [
            f"{sum(image.scores[key] for image in one.images):.0f}"
            for key in ("count_true", "count_pred", "count_min_area")
        ]


def test_the_best_of_each_column_is_bold(html):
    best = re.findall(r"<td><b>(\d\.\d{3})</b><small>", html)
    assert best == ["1.000"] * 8  # the tool's label maps are the truth


def test_outcomes_on_the_page_add_up_to_the_true_nuclei(compared, html):
    table = Document(html).tables[1]
    for one in compared.entries:
        right, merged, split, missed, false, *f1 = row(table, one.name)
        assert int(right) + int(merged) + int(split) + int(missed) == 15
        assert f1[0] == f"{numbers.mean(one, 'dq'):.3f}"
    assert row(table, "psp")[:5] == ["2", "4", "2", "7", "2"]


def test_differences_are_paired(compared, html):
    table = Document(html).tables[3]
    a, b = (numbers.values(e, "aji") for e in (compared.entries[1], compared.entries[0]))
    mean, *_ = row(table, "psp")[0].split()
    assert mean == f"−{np.mean(b - a):.3f}"
    assert f"{sum(a > b)} : {sum(a < b)}" in row(table, "psp")[0]


def test_organs_have_a_column_each(compared, html):
    table = Document(html).tables[4]
    assert [head.split(" 1 image")[0] for head in table[0][1:4]] == ["breast", "colon", "liver <b>"]
    places = {"breast": 0, "colon": 2, "liver <b>": 1}
    for one in compared.entries:
        expected = [f"{one.images[i].scores['aji']:.3f}" for i in places.values()]
        assert row(table, one.name)[:3] == expected


def test_published_numbers_stand_beside_those_of_the_same_network(compared, html):
    table = Document(html).tables[2]
    f1, aji, here, _ = row(table, "U-Net")
    assert (f1, aji) == ("0.8623", "0.6756")
    unet = compared.entries[0]
    assert here == f"{unet.name}: {numbers.mean(unet, 'dice'):.3f} / {numbers.mean(unet, 'aji'):.3f}"
    assert row(table, "FCN8")[2] == "–"
    assert row(table, "Mahmood et al.")[:2] == ["0.866", "0.721"]


def test_summary_names_the_best_and_the_paired_difference(compared, html):
    text = unescape(re.sub(r"<[^>]+>", "", re.search(r'<p class="lead">(.*?)</p>', html, re.S)[1]))
    unet, _, ensemble, classical, _ = compared.entries
    difference = numbers.mean(ensemble, "aji") - numbers.mean(unet, "aji")
    assert f"best single network, {unet.name}, reaches a mean AJI of {numbers.mean(unet, 'aji'):.3f}" in text
    assert f"{ensemble.name}, reaches a mean AJI of {numbers.mean(ensemble, 'aji'):.3f}" in text
    assert f"+{difference:.3f} AJI against {unet.name}" in text
    assert "better on 1 image, worse on 0; sign-flip test p 1.00), so that 3 images do not show" in text
    assert (
        f"classical baseline, classical, reaches a mean AJI of {numbers.mean(classical, 'aji'):.3f}" in text
    )


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


def test_figures_are_whole_files(page):
    for path in (page.parent / "figures").iterdir():
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            with Image.open(path) as picture:
                picture.load()


def test_pictures_in_the_page_can_be_read(html):
    sources = Document(html).values("src")
    assert len(sources) == 3 * (2 + 5) + 3
    for source in sources:
        with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
            assert picture.size == (4 * SIZE, 4 * SIZE)


def test_configs_are_in_the_appendix_as_aligned_text(html):
    assert "\nmodel.width:      0.25\n" in html
    assert "\ndata.validation:  [&quot;a&quot;]" in html


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


def test_charts_of_many_entries_and_images_have_all_of_them(tmp_path):
    generator = np.random.default_rng(0)
    ids = [f"image {i}" for i in range(200)]
    rows = [charts.BoxRow(f"entry {i}", "network", generator.random(200), ids) for i in range(12)]
    drawn = charts.box_plot("AJI", "AJI", rows)
    assert len(re.findall(r"<title>image \d+: ", drawn)) == 12 * 200


# Numbers


def test_few_images_show_no_difference_however_narrow_their_interval():
    better, worse = np.array([0.7, 0.71, 0.72]), np.array([0.5, 0.52, 0.51])
    few = paired_difference(better, worse)
    assert few.low > 0 and not numbers.differs(few)
    assert numbers.differs(paired_difference(np.tile(better, 3), np.tile(worse, 3)))
    assert numbers.differs(paired_difference(np.tile(worse, 3), np.tile(better, 3)))


def test_agreement_of_counts():
    generator = np.random.default_rng(0)
    true = generator.integers(100, 900, 9)
    found = true + generator.integers(-50, 50, 9)
    one = Entry("a", "network", tuple(counted(t, f) for t, f in zip(true, found, strict=True)))
    a = numbers.agreement(one)
    difference = found - true
    assert a.pearson == pytest.approx(np.corrcoef(true, found)[0, 1])
    assert a.bias == pytest.approx(difference.mean())
    assert a.limits == pytest.approx(difference.mean() + np.array([-1.96, 1.96]) * difference.std(ddof=1))
    # Lin 1989: 2 s_xy / (s_x² + s_y² + (x̄ − ȳ)²)
    covariance = np.cov(true, found, bias=True)
    assert a.concordance == pytest.approx(2 * covariance[0, 1] / (np.trace(covariance) + a.bias**2))


def counted(true, found):
    scored = scoring.score_image(EXAMPLES[0], EMPTY, AREA, 1.0)
    return dataclasses.replace(scored, scores={"count_true": float(true), "count_pred": float(found)})


def test_agreement_of_equal_counts():
    perfect = numbers.agreement(Entry("a", "network", tuple(counted(n, n) for n in (3, 5, 9))))
    assert (perfect.pearson, perfect.concordance, perfect.bias) == (pytest.approx(1), pytest.approx(1), 0)
    constant = numbers.agreement(Entry("a", "network", tuple(counted(7, 7) for _ in range(3))))
    assert (constant.pearson, constant.concordance, constant.limits) == (None, None, (0, 0))
    alone = numbers.agreement(Entry("a", "network", (counted(7, 9),)))
    assert (alone.pearson, alone.limits, alone.bias) == (None, None, 2)


def test_a_box_leaves_out_what_is_far():
    box = charts.Box.of(np.array([0.5, 0.52, 0.54, 0.56, 0.58, 0.42, 0.61]))
    assert (box.first, box.median, box.third) == pytest.approx((0.51, 0.54, 0.57))
    assert box.outliers.tolist() == [False] * 7  # 0.42 = 0.51 − 1.5 × 0.06
    box = charts.Box.of(np.array([0.5, 0.52, 0.54, 0.56, 0.58, 0.41, 0.67]))
    assert box.outliers.tolist() == [False] * 5 + [True, True]
    assert (box.low, box.high) == (0.5, 0.58)


def test_points_do_not_hide_each_other():
    places = [0.0, 1.0, 2.0, 50.0, 51.0]
    spots = np.stack([places, charts.swarm(places, apart=6, most=14)], axis=1)
    distance = np.linalg.norm(spots[:, None] - spots[None], axis=-1)
    assert distance[np.triu_indices(5, 1)].min() >= 6
    assert np.abs(charts.swarm([0.0] * 50, apart=6, most=14)).max() <= 14


def test_ids_are_short():
    assert charts.short_id("TCGA-E2-A1B5-01Z-00-DX1") == "E2-A1B5"
    assert charts.short_id("image_7") == "image_7"
    assert len(charts.short_id("a very long name of an image.tif")) == 16


@pytest.mark.parametrize(
    ("low", "high", "log", "ticks"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.13, 0.29, False, [0.15, 0.2, 0.25]),
        (0, 1389, False, [0, 500, 1000]),
        (8, 300, True, [10, 20, 50, 100, 200]),
        (0.5, 9000, True, [1, 10, 100, 1000]),
    ],
)
def test_ticks_are_round(low, high, log, ticks):
    assert svg.Scale(low, high, 0, 100, log).ticks() == pytest.approx(ticks)


def test_scales_put_the_ends_where_they_belong():
    for log in (False, True):
        scale = svg.Scale(10, 1000, 400, 40, log)
        assert (scale(10), scale(1000)) == (400, 40)
    assert svg.Scale(10, 1000, 0, 100, True)(100) == pytest.approx(50)


@pytest.mark.parametrize("values", [[0.5], [0, 0], [1, 1], [0.2, 0.9], [300.0, 1400.0]])
def test_limits_hold_the_values(values):
    low, high = svg.around(values, floor=0)
    assert 0 <= low <= min(values) and max(values) <= high and low < high


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0004, "0.000"), (-0.0004, "0.000"), (0.0126, "+0.013"), (-1.5, "−1.500")]
)
def test_differences_have_signs(value, shown):
    assert markup.signed(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.012345, "0.0123"), (27.4187, "27.4"), (433.29, "433"), (1234.5, "1,234")],
)
def test_three_digits_count(value, shown):
    assert markup.significant(value) == shown


def test_names_that_are_too_wide_are_cut_in_the_middle():
    name = "a_network_of_a_very_long_name_at_the_end_of_which_it_differs"
    cut = svg.shorten(name, 120)
    assert cut[0] == "a" and cut.endswith("differs"[-4:]) and "…" in cut
    assert svg.text_width(cut) <= 120
    lines = svg.wrap("or(unet_small, and(psp_small, self_correction_small))", 180)
    assert lines == ["or(unet_small,", "and(psp_small,", "self_correction_small))"]


def test_curves_draw_what_there_is_and_average_the_rest():
    records = [{"step": i, "loss": 1 / i} for i in range(1, 5000)] + [{"step": 5000, "loss": float("nan")}]
    drawn = scatter.curves("unet", records, None)
    assert len(re.search(r'points="([^"]*)"', drawn)[1].split()) == 400
    assert "learning rate" not in drawn and "nan" not in drawn
    drawn = scatter.curves("unet", CURVES, 200)
    assert all(name in drawn for name in ("loss", "learning rate", "validation AJI", "validation Dice"))
    assert "step 200: 0.4000" in drawn and "step 200: 0.6000" in drawn


def test_published_sizes_are_those_of_the_reference():
    sizes = {n.name: n.parameters for n in literature.NETWORKS}
    assert sizes["unet"] == 34_527_106 and sizes["psp_segnet"] == 122_925_064
    assert {n.label: n.aji for n in literature.NETWORKS}["Self-Correction"] == 0.7014


# Pictures


def test_errors_are_drawn_in_their_colours():
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    drawn = panels.errors(grey, TRUTH, FLAWED, panels.window(TRUTH.shape))

    def colour(top, left):
        return tuple(int(v) for v in drawn[top, left])

    assert colour(16, 16) == panels.COLOURS[Outcome.RIGHT]
    assert colour(16, 48) == panels.COLOURS[Outcome.MISSED]
    assert colour(48, 12) == colour(48, 36) == panels.COLOURS[Outcome.MERGED]
    assert colour(40, 12) == (255, 255, 255)  # outline of a true nucleus that was merged
    assert colour(80, 12) == panels.COLOURS[Outcome.SPLIT]
    assert colour(76, 76) == panels.COLOURS[Outcome.FALSE]
    assert colour(90, 90) == (44, 44, 44)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) <= 23


def test_nuclei_are_judged_in_the_whole_image_and_drawn_in_a_part():
    truth, prediction = squares((0, 0, 8, 40), size=64), squares((0, 0, 8, 10), size=64)
    grey = np.full((64, 64, 3), 200, np.uint8)
    drawn = panels.errors(grey, truth, prediction, (slice(0, 8), slice(0, 10)))
    assert drawn.shape == (8, 10, 3)
    # In the part alone it would be right.
    assert (drawn[3, 3] == panels.COLOURS[Outcome.FALSE]).all()


def test_a_missed_nucleus_under_a_prediction_has_an_outline():
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    truth, prediction = squares((30, 30, 10, 10)), squares((20, 20, 30, 30))
    drawn = panels.errors(grey, truth, prediction, panels.window(truth.shape))
    assert (drawn[30, 35] == panels.COLOURS[Outcome.MISSED]).all()
    assert (drawn[35, 35] == panels.COLOURS[Outcome.FALSE]).all()


def test_ids_of_nuclei_need_no_order():
    renumbered = np.array([0, 900_000_000, 7, 3, 12, 4], np.int32)[TRUTH]
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    part = panels.window(TRUTH.shape)
    np.testing.assert_array_equal(
        panels.errors(grey, TRUTH, FLAWED, part), panels.errors(grey, renumbered, FLAWED, part)
    )


def test_a_window_is_the_middle_of_the_image():
    assert panels.window((1000, 1000), 400) == (slice(300, 700), slice(300, 700))
    assert panels.window((96, 500), 400) == (slice(0, 400), slice(50, 450))


def test_masks_part_nuclei_that_touch():
    drawn = panels.mask(TRUTH)[..., 0]
    assert drawn[48, 23] == 0 and drawn[48, 22] == drawn[48, 24] == 255
    assert panels.shrunk(np.zeros((2500, 1000, 3), np.uint8)).shape == (834, 334, 3)


def test_pictures_with_few_colours_are_embedded_exactly():
    grey = np.full((SIZE, SIZE, 3), 200, np.uint8)
    drawn = panels.errors(grey, TRUTH, FLAWED, panels.window(TRUTH.shape))
    kind, _, data = panels.data_uri(drawn).partition(",")
    assert kind == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), drawn)


# Machado, Oliveira & Fernandes, IEEE TVCG 15(6), 2009: severity 1.0, of linear RGB.
BLINDNESS = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.3039],
    ],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_outcomes_are_told_apart_without_all_cones(kind):
    colours = np.array([*panels.COLOURS.values(), (60, 60, 60)]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)[None])[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distance[np.triu_indices(len(lab), 1)].min() > 25


# In a browser

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
