"""The tables hold the scores of the entries, and those that were published."""

import re

import numpy as np

from nucseg_jax.report import numbers
from tests.report.documents import Document, row


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
